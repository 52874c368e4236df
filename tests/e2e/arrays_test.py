"""Arrays of every dtype, order and shape: stored inline, uploaded, read back by Deref and by h5py: all
equal. numpy makes the table; h5py says how it would have written each."""
import base64, glob, io, json, os, subprocess, sys, tempfile, unittest

import h5py
import numpy

from support import Server, caller, get, job, record, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data"))
import make_numpy_dtypes as made  # also turns numpy's warnings off

# Beyond those of make_numpy_dtypes: four levels of subarrays, around a structured dtype too.
NESTED = [
    [("a", (((("<i2", (2,)), (3,)), (2, 2)), (1,)))],
    [("a", ([("x", "<f4"), ("y", ">u2", (2,))], (2,)), (3, 1)), ("b", "c16")],
]
SHAPES = [(), (5,), (0,), (2, 3), (3, 2, 4), (2, 0, 3), (1,) * 30 + (2, 3)]
ORDERS = {"C": made.npy, "F": made.fortran_npy}


class Case:
    def __init__(self, spec, shape, order):
        self.dtype = made.from_header(numpy.dtype(spec))
        self.array = made.filled(self.dtype, shape)
        self.npy = ORDERS[order](self.array)
        self.sent = {"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray",
                     "data": base64.b64encode(self.npy).decode()}
        self.what = (made.name_of(self.dtype)[:100], shape, order)


def table():
    specs = made.SIMPLE + made.STRUCTURED + NESTED
    return [Case(spec, shape, order) for spec in specs for shape in SHAPES for order in ORDERS]


def h5py_type(dtype, shape):
    """How h5py itself would store it: the HDF5 type; None where it cannot."""
    if dtype.kind in "mM":
        dtype = h5py.opaque_dtype(dtype)  # what its documentation says to do with times
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        try:
            return file.create_dataset("x", shape, dtype).id.get_type()
        except (TypeError, ValueError, KeyError, RuntimeError):
            return None


class ArraysTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--inline-limit", "64")
        cls.addClassCleanup(cls.server.close)
        cls.cases = table()
        # Inline, a hundred to a result.
        for start in range(0, len(cls.cases), 100):
            chunk = cls.cases[start:start + 100]
            answer = submit(cls.server, job("m.arrays", start))
            store(cls.server, answer, [case.sent for case in chunk])
            refs = json.loads(get(cls.server, answer.key).record.json)
            inline = json.loads(get(cls.server, answer.key, bulk=2).record.json)
            for case, ref, back in zip(chunk, refs, inline):
                case.ref, case.back = ref, back
        cls.server.admin.Seal(admin_pb2.SealRequest())
        cls.packs = [h5py.File(path) for path in glob.glob(cls.server.data + "/packs/*/*.h5")]
        for pack in cls.packs:
            cls.addClassCleanup(pack.close)

    def each(self, check, cases=None):
        for case in self.cases if cases is None else cases:
            with self.subTest(case.what):
                check(case)

    def test_inline_comes_back_as_numpy_writes_it_in_c_order(self):
        self.each(lambda case: self.assertEqual(
            case.back, dict(case.sent, data=base64.b64encode(made.npy(case.array)).decode())))

    def test_refs_are_named_by_the_key_of_the_contract(self):
        self.each(lambda case: self.assertEqual(
            (case.ref["data"]["hdf5_path"], case.ref["data"]["dtype"], case.ref["data"]["shape"]),
            (made.key_of(case.dtype, case.array), made.name_of(case.dtype),
             list(case.array.shape))))

    def test_deref_brings_the_bytes_in_c_order(self):
        def check(case):
            messages = list(self.server.blobs.Deref(blobs_pb2.DerefRequest(
                caller=caller(), ref=blobs_pb2.BlobRef(record=record(case.ref)))))
            self.assertEqual(b"".join(m.chunk for m in messages[1:]), made.c_bytes(case.array))

        self.each(check)

    def test_uploads_by_the_client_are_the_same_blobs(self):
        # To a server that has none of them, and back with `deref`.
        server = Server()
        self.addCleanup(server.close)
        client = [os.environ["TIFFIN_CLI_BINARY"], "--server", server.address]
        with tempfile.TemporaryDirectory(prefix="tiffin-arrays-") as folder:
            def file(number):
                return os.path.join(folder, "%d.npy" % number)

            for number, case in enumerate(self.cases):
                with open(file(number), "wb") as out:
                    out.write(case.npy)
            put = subprocess.run(client + ["--json", "put", *map(file, range(len(self.cases)))],
                                 capture_output=True, text=True, timeout=280)
            self.assertEqual(put.returncode, 0, put.stderr)
            uploaded = [json.loads(line) for line in put.stdout.splitlines()]
            self.assertEqual(len(uploaded), len(self.cases))
            for case, line in zip(self.cases, uploaded):
                self.assertIn(case.ref["data"]["hdf5_path"], json.dumps(line), case.what)
            back = os.path.join(folder, "back.npy")

            def check(case):
                got = subprocess.run(client + ["deref", "-o", back, json.dumps(case.ref)],
                                     capture_output=True, text=True, timeout=60)
                self.assertEqual(got.returncode, 0, got.stderr)
                with open(back, "rb") as file:
                    self.assertEqual(file.read(), made.npy(case.array))

            self.each(check, [c for c in self.cases if c.what[1:] == ((2, 3), "F")])

    def dataset(self, case):
        """The dataset, with the attribute that tells its dtype."""
        key, name = case.ref["data"]["hdf5_path"], case.ref["data"]["dtype"]
        for pack in self.packs:
            for path in [key, key + "#2", key + "#3", key + "#4"]:
                if path in pack and pack[path].shape == case.array.shape:
                    # HDF5 has no room for the longest dtypes.
                    told = pack[path].attrs.get("dtype", name)
                    told = told.decode() if isinstance(told, bytes) else str(told)
                    if told == name or name.startswith("["):
                        return pack[path]
        self.fail("in no pack")

    def test_h5py_reads_an_equal_array(self):
        def check(case):
            dataset = self.dataset(case)
            read = dataset[...]
            self.assertEqual((read.shape, read.dtype.itemsize),
                             (case.array.shape, max(case.dtype.itemsize, 1)))
            self.assertEqual(read.tobytes(), numpy.ascontiguousarray(case.array).tobytes())

        self.each(check)

    def test_the_type_in_hdf5_is_the_one_h5py_would_have_written(self):
        self.compared = 0

        def check(case):
            expected = h5py_type(case.dtype, case.array.shape)
            # h5py stores this one with its bytes swapped; ours stay as they came.
            comparable = case.dtype != numpy.dtype(">c32")
            # Nor are types described whose description would hardly fit into HDF5's headers.
            comparable = comparable and len(made.name_of(case.dtype)) < 30000
            if expected is not None and comparable:
                self.compared += 1
                self.assertTrue(self.dataset(case).id.get_type().equal(expected))

        self.each(check)
        self.assertGreater(self.compared, 900)


if __name__ == "__main__":
    unittest.main()
