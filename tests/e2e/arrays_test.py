"""Arrays of every dtype, order and shape: stored inline, uploaded, read back by Deref and by h5py: all
equal. numpy makes the table; h5py says how it would have written each."""
import base64, glob, hashlib, io, json, os, subprocess, sys, tempfile, types, unittest

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
# What HDF5 has no compound for, or h5py no way to read it: names end at a NUL, no two are equal, two halves look like
# a complex number, too many fields for a header.
NO_COMPOUND = [
    [("a\0b", "<i4"), ("a\0c", "<i4")], [("\0x", "<i4")], [("r", "<f2"), ("i", "<f2")],
    [("f%d" % i, "<f8") for i in range(3000)],
]
MANY_FIELDS = [("f%d" % i, "<f8") for i in range(1000)]
# Elements of no bytes, and fields of none.
NOTHING = [
    "S0", "U0", ">U0", [("a", "V0")], [("a", "<i4", (2, 0))],
    [("a", "V0"), ("b", "<i4")], [("a", "S0"), ("b", "U0"), ("c", "u1")],
    [("a", "<i4", (0,)), ("b", "u1")], [("x", [("a", "V0")]), ("w", "<f4")],
    {"names": ["a"], "formats": ["V0"], "itemsize": 4},
]
SHAPES = [(), (5,), (0,), (2, 3), (3, 2, 4), (2, 0, 3), (1,) * 30 + (2, 3)]
ORDERS = ["C", "F"]
# Headers of another version than numpy would choose; the names of the last are Latin-1.
VERSIONS = [(2, 0), (3, 0)]
OF_VERSIONS = ["<i4", ">f8", "S3", ">U5", "M8[ns]", made.STRUCTURED[0], made.STRUCTURED[18]]
# A pack of its own each, and more messages than one.
BIG = ["<f8", ">i2", "c16", "M8[ns]", made.STRUCTURED[2]]
BIG_BYTES = 3 << 19
HDF5_ROOM = 64000  # what is longer than this, the server does not put into HDF5's headers


def filled(dtype, shape):
    if dtype.itemsize == 0:
        return numpy.ndarray(shape, dtype)  # numpy.zeros makes S1 of S0
    count = dtype.itemsize * int(numpy.prod(shape))
    if count < BIG_BYTES:
        return made.filled(dtype, shape)
    return numpy.frombuffer(hashlib.shake_256().digest(count), dtype).reshape(shape)


def npy(array, order, version):
    """The file that numpy writes of the array in that order; None: with the version it chooses."""
    out = io.BytesIO()
    numpy.lib.format.write_array(out, numpy.ndarray(array.shape, array.dtype, order=order), version,
                                 allow_pickle=False)
    in_order = made.npy if order == "C" or array.dtype.itemsize == 0 else made.fortran_npy
    return made.split(out.getvalue())[0] + made.split(in_order(array))[1]


class Case:
    def __init__(self, spec, shape, order, version=None):
        self.dtype = made.from_header(numpy.dtype(spec))
        self.array = filled(self.dtype, shape)
        self.order, self.version = order, version
        self.npy = npy(self.array, order, version)
        self.named = {"hdf5_path": made.key_of(self.dtype, self.array),
                      "dtype": made.name_of(self.dtype), "shape": list(shape)}
        self.sent = {"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray",
                     "data": base64.b64encode(self.npy).decode()}
        self.ref = {"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray", "ref": True,
                    "data": self.named}
        self.big = self.array.nbytes >= BIG_BYTES
        self.what = (self.named["dtype"][:100], shape, order, version)


def in_each_order(*what):
    """The case in C order and, where that is another file, in Fortran order."""
    of_c, of_fortran = [Case(*what[:2], order, *what[2:]) for order in ORDERS]
    return [of_c] if of_c.npy == of_fortran.npy else [of_c, of_fortran]


def table():
    specs = made.SIMPLE + made.STRUCTURED + NESTED + NOTHING + NO_COMPOUND + [MANY_FIELDS]
    what = [(spec, shape) for spec in specs for shape in SHAPES]
    what += [(spec, shape, version) for spec in OF_VERSIONS for shape in SHAPES[::2]
             for version in VERSIONS]
    return [case for one in what for case in in_each_order(*one)]


def big_table():
    def shape(spec):
        return 2, 3, BIG_BYTES // (6 * numpy.dtype(spec).itemsize) + 1

    return [case for spec in BIG for case in in_each_order(spec, shape(spec))]


def chunks(cases, size):
    return [cases[start:start + size] for start in range(0, len(cases), size)]


def h5py_type(dtype, shape):
    """How h5py itself would store it: the HDF5 type; None where it cannot."""
    if dtype.kind in "mM":
        dtype = h5py.opaque_dtype(dtype)  # what its documentation says to do with times
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        try:
            return file.create_dataset("x", shape, dtype).id.get_type()
        except (TypeError, ValueError, KeyError, RuntimeError):
            return None


def has_part_of_no_bytes(dtype):
    parts = [field[0] for field in dtype.fields.values()] if dtype.fields else []
    if dtype.names is not None and not parts:
        return True
    return dtype.itemsize == 0 or any(has_part_of_no_bytes(part.base) or part.itemsize == 0 for part in parts)


def read_dtype(case):
    """The dtype in which h5py gives the array: its own, but for what HDF5 has no way to say."""
    if has_part_of_no_bytes(case.dtype) or case.dtype in map(numpy.dtype, NO_COMPOUND):
        return numpy.dtype("V%d" % case.dtype.itemsize)
    written = h5py_type(case.dtype, case.array.shape)
    titles_or_nul = "(('" in str(case.dtype) or "\\x00" in str(case.dtype)
    return written.dtype if titles_or_nul and written is not None else case.dtype


class ArraysTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--inline-limit", "64")
        cls.addClassCleanup(cls.server.close)
        cls.cases = table()
        big = big_table()
        # Inline, many to a result.
        for number, chunk in enumerate(chunks(cls.cases, 100) + chunks(big, 4)):
            answer = submit(cls.server, job("m.arrays", number))
            store(cls.server, answer, [case.sent for case in chunk])
            refs = json.loads(get(cls.server, answer.key).record.json)
            inline = json.loads(get(cls.server, answer.key, bulk=2).record.json)
            for case, kept, back in zip(chunk, refs, inline, strict=True):
                case.kept, case.back = kept, back
        cls.cases += big
        cls.packs = cls.sealed(cls.server, cls.addClassCleanup)

    @staticmethod
    def sealed(server, add_cleanup):
        """The server's packs, complete."""
        server.admin.Seal(admin_pb2.SealRequest())
        packs = [h5py.File(path) for path in glob.glob(server.data + "/packs/*/*.h5")]
        for pack in packs:
            add_cleanup(pack.close)
        return packs

    def each(self, check, cases=None):
        for case in self.cases if cases is None else cases:
            with self.subTest(case.what):
                check(case)

    def test_inline_comes_back_as_numpy_writes_it_in_c_order(self):
        self.each(lambda case: self.assertEqual(
            case.back, dict(case.sent, data=base64.b64encode(made.npy(case.array)).decode())))

    def test_refs_are_named_by_the_key_of_the_contract(self):
        self.each(lambda case: self.assertEqual(case.kept, case.ref))

    def check_deref(self, server, case, form, expected):
        """What Deref brings of the case's blob is named and made as expected."""
        messages = list(server.blobs.Deref(blobs_pb2.DerefRequest(
            caller=caller(), ref=blobs_pb2.BlobRef(record=record(case.ref)), format=form)))
        header = messages[0].header
        self.assertEqual(
            (header.name.dtype, list(header.name.shape), list(header.shape), header.length),
            (case.named["dtype"], case.named["shape"], case.named["shape"], len(expected)))
        self.assertEqual(b"".join(m.chunk for m in messages[1:]), expected)
        if case.big:
            self.assertGreater(len(messages), 2)

    def test_deref_brings_the_bytes_in_c_order(self):
        self.each(lambda case: self.check_deref(
            self.server, case, blobs_pb2.DEREF_RAW, made.c_bytes(case.array)))

    def put(self, server, cases):
        """What the client tells of each, uploaded from its file."""
        with tempfile.TemporaryDirectory(prefix="tiffin-arrays-") as folder:
            files = [os.path.join(folder, "%d.npy" % number) for number in range(len(cases))]
            for file, case in zip(files, cases):
                with open(file, "wb") as out:
                    out.write(case.npy)
            put = subprocess.run(
                [os.environ["TIFFIN_CLI_BINARY"], "--server", server.address, "--json", "put",
                 *files], capture_output=True, text=True, timeout=280)
        self.assertEqual(put.returncode, 0, put.stderr)
        return [json.loads(line) for line in put.stdout.splitlines()]

    def check_uploads(self, order, version):
        # To a server that has none of them: what another order or version left would not be sent.
        server = Server()
        self.addCleanup(server.close)
        cases = [case for case in self.cases if (case.order, case.version) == (order, version)]
        seen = []
        for case, told in zip(cases, self.put(server, cases), strict=True):
            name = [told["key"], told["dtype"], told["shape"]]
            self.assertEqual(name, list(case.named.values()), case.what)
            self.assertEqual((told["size"], told["existed"]), (case.array.nbytes, name in seen),
                             case.what)
            seen.append(name)
        self.each(lambda case: self.check_deref(
            server, case, blobs_pb2.DEREF_NPY, made.npy(case.array)), cases)
        packs = self.sealed(server, self.addCleanup)
        self.each(lambda case: self.check_h5py(packs, case), cases)

    def test_uploads_by_the_client_are_the_same_blobs(self):
        for order in ORDERS:
            for version in [None] + VERSIONS:
                with self.subTest(order, version=version):
                    self.check_uploads(order, version)

    def test_deref_of_the_client_writes_what_numpy_would(self):
        with tempfile.TemporaryDirectory(prefix="tiffin-arrays-") as folder:
            back = os.path.join(folder, "back.npy")

            def check(case):
                got = subprocess.run(
                    [os.environ["TIFFIN_CLI_BINARY"], "--server", self.server.address, "deref",
                     "-o", back, json.dumps(case.ref)], capture_output=True, text=True, timeout=60)
                self.assertEqual(got.returncode, 0, got.stderr)
                with open(back, "rb") as file:
                    self.assertEqual(file.read(), made.npy(case.array))

            # Each is a process: a few.
            cases = [case for case in self.cases if case.order == "F" and case.version is None]
            self.each(check, [case for case in cases if case.big] +
                      [case for case in cases if case.array.shape == (2, 3)][::6])

    def dataset(self, packs, case):
        """The dataset, with the attribute that tells its dtype."""
        key, name = case.named["hdf5_path"], case.named["dtype"]
        for pack in packs:
            for path in [key, key + "#2", key + "#3", key + "#4"]:
                if path in pack and pack[path].shape == case.array.shape:
                    told = pack[path].attrs.get("dtype", b"")
                    told = told.decode() if isinstance(told, bytes) else str(told)
                    if told == (name if len(name) <= HDF5_ROOM else ""):
                        return pack[path]
        self.fail("in no pack")

    def check_h5py(self, packs, case):
        dataset = self.dataset(packs, case)
        if case.dtype.itemsize == 0:
            # HDF5 has no such elements: what they are, the attribute tells.
            self.assertEqual(dataset.id.get_type().get_size(), 1)
            self.assertEqual(dataset[...].tobytes(), bytes(case.array.size))
            return
        read = dataset[...]
        self.assertEqual((read.shape, read.dtype), (case.array.shape, read_dtype(case)))
        self.assertEqual(read.tobytes(), made.c_bytes(case.array))
        if case.big:
            self.assertEqual(len(dataset.file), 1)

    def test_h5py_reads_an_equal_array(self):
        self.each(lambda case: self.check_h5py(self.packs, case))

    # ---- from HDF5 files, to a server that has none of them ------------------------------------

    def check_put_of_datasets(self, write, expected, cases):
        """`write` makes the dataset `a` of a case in a file; `expected` tells its name."""
        server = Server()
        self.addCleanup(server.close)
        with tempfile.TemporaryDirectory(prefix="tiffin-arrays-") as folder:
            files, names = [], []
            for number, case in enumerate(cases):
                path = os.path.join(folder, "%d.h5" % number)
                with h5py.File(path, "w") as out:
                    try:
                        write(out, case)
                    except (TypeError, ValueError, KeyError, RuntimeError):  # h5py cannot
                        continue
                    names.append((case.what, expected(out["a"], case)))
                files.append(path)
            put = subprocess.run([os.environ["TIFFIN_CLI_BINARY"], "--server", server.address, "--json", "put",
                                  "--dataset", "a", *files], capture_output=True, text=True, timeout=280)
        self.assertEqual(put.returncode, 0, put.stderr)
        for (what, name), told in zip(names, map(json.loads, put.stdout.splitlines()), strict=True):
            with self.subTest(what):
                self.assertEqual({"hdf5_path": told["key"], "dtype": told["dtype"], "shape": told["shape"]}, name)
        return len(names)

    def test_datasets_of_h5py_are_uploaded_as_h5py_reads_them(self):
        def write(out, case):
            dtype = h5py.opaque_dtype(case.dtype) if case.dtype.kind in "mM" else case.dtype
            out.create_dataset("a", case.array.shape, dtype)[...] = case.array

        def expected(dataset, case):
            read = dataset[...]
            dtype = case.dtype if read.dtype == case.dtype else read.dtype  # without h5py's metadata
            return {"hdf5_path": made.key_of(dtype, read), "dtype": made.name_of(dtype), "shape": list(read.shape)}
        cases = [case for case in self.cases if (case.order, case.version) == ("C", None)
                 and case.dtype != numpy.dtype(">c32") and not has_part_of_no_bytes(case.dtype)]
        self.assertGreater(self.check_put_of_datasets(write, expected, cases), 300)

    def test_two_half_floats_are_no_complex_number(self):
        case = types.SimpleNamespace(what="r and i of float16",
                                     array=numpy.zeros(3, numpy.dtype([("r", "<f2"), ("i", "<f2")])))

        def expected(dataset, case):
            dtype = case.array.dtype
            return {"hdf5_path": made.key_of(dtype, case.array), "dtype": made.name_of(dtype), "shape": [3]}
        self.assertEqual(self.check_put_of_datasets(
            lambda out, case: out.create_dataset("a", data=case.array), expected, [case]), 1)

    def test_datasets_of_packs_are_uploaded_as_what_they_were(self):
        cases = [case for case in self.cases if (case.order, case.version) == ("C", None)
                 and len(case.named["dtype"]) < HDF5_ROOM]
        self.assertEqual(self.check_put_of_datasets(
            lambda out, case: out.copy(self.dataset(self.packs, case), "a"), lambda _, case: case.named, cases),
            len(cases))

    def test_the_type_in_hdf5_is_the_one_h5py_would_have_written(self):
        self.compared = 0

        def check(case):
            expected = h5py_type(case.dtype, case.array.shape)
            # h5py stores this one with its bytes swapped; ours stay as they came.
            comparable = case.dtype != numpy.dtype(">c32")
            # Nor are types described whose description would hardly fit into HDF5's headers.
            comparable = comparable and len(case.named["dtype"]) < HDF5_ROOM
            # Written by h5py, but not read.
            comparable = comparable and case.dtype not in map(numpy.dtype, NO_COMPOUND)
            if expected is not None and comparable:
                self.compared += 1
                self.assertTrue(self.dataset(self.packs, case).id.get_type().equal(expected))

        self.each(check)
        self.assertGreater(self.compared, 700)


if __name__ == "__main__":
    unittest.main()
