"""The blob store against a model in memory: random puts, reads, deletions, seals, collections and restarts, while
h5py reads the sealed packs; and uploads that break at random points. TIFFIN_SEED plays a run again."""
import glob, os, random, signal, threading, unittest

import grpc
import h5py
import numpy

from blob_support import BlobsCase, header, name_of, refer
from support import batch, caller, job, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2, jobs_pb2

ROUNDS = int(os.environ.get("TIFFIN_BLOB_ROUNDS", "150"))
BREAKS = int(os.environ.get("TIFFIN_BLOB_BREAKS", "6"))
SEED = int(os.environ.get("TIFFIN_SEED") or random.randrange(1 << 30))
DTYPES = "float64", "int16", ">i4", "|S5", "complex64", "bool", "<U3", "datetime64[ns]"


def h5_bytes(dataset):
    """The array's bytes as they lie in the file."""
    array = numpy.empty(dataset.shape, dataset.dtype)
    if array.size:
        dataset.read_direct(array)
    return array.tobytes()


class PackReader(threading.Thread):
    """Opens sealed packs with h5py, again and again, and checks that each dataset's bytes are those of the file."""

    def __init__(self, data):
        super().__init__(daemon=True)
        self.data, self.stop, self.read, self.errors = data, threading.Event(), 0, []

    def run(self):
        while not self.stop.is_set():
            for path in glob.glob(self.data + "/packs/*/*.h5"):
                try:
                    with h5py.File(path, "r") as pack:
                        for key in pack:
                            dataset = pack[key]
                            at, size = dataset.id.get_offset(), dataset.size * dataset.dtype.itemsize
                            if size == 0:
                                continue
                            with open(path, "rb") as file:
                                file.seek(at)
                                if file.read(size) != h5_bytes(dataset):
                                    self.errors.append((path, key))
                            self.read += 1
                except (FileNotFoundError, OSError) as error:
                    if os.path.exists(path):  # else removed meanwhile, as it may be
                        self.errors.append((path, error))
            self.stop.wait(0.01)


class BlobModelTest(BlobsCase):
    def setUp(self):
        super().setUp()
        print("seed", SEED)
        self.rng = random.Random(SEED)
        self.arrays = {}   # name as bytes: the array
        self.used_by = {}  # job key: names of the blobs its result refers to
        self.number = 0

    def fresh(self, mebibytes=None):
        """An array of any dtype, rank and size; mostly small."""
        dtype = numpy.dtype(self.rng.choice(DTYPES))
        items = self.rng.choice([0, 1, 10, 1000, 20_000, 200_000, 400_000])
        if mebibytes:
            items = (mebibytes << 20) // dtype.itemsize
        shape = [items]
        while len(shape) < 5 and self.rng.random() < 0.5:
            part = self.rng.choice([1, 2, 5])
            if shape[0] % part:
                break
            shape = [shape[0] // part, *shape[1:], part]
        if dtype.kind == "U":
            bytes_ = numpy.array([chr(self.rng.randrange(32, 500)) for _ in range(50)], dtype)
            array = numpy.resize(bytes_, shape)
        elif dtype.kind == "b":
            array = numpy.frombuffer(self.rng.randbytes(items), "uint8").reshape(shape) % 2 == 1
        else:
            array = numpy.frombuffer(self.rng.randbytes(items * dtype.itemsize), dtype).reshape(shape)
        return array

    def known(self):
        return self.rng.choice(list(self.arrays)) if self.arrays else None

    def learn(self, array):
        key = name_of(array).SerializeToString()
        self.arrays[key] = array
        return key

    def name(self, key):
        return name_of(self.arrays[key])

    # ---- operations ----------------------------------------------------------------------------

    def op_put(self):
        array = self.fresh()
        self.put(array)
        self.learn(array)

    def op_batch(self):
        arrays = [a for a in (self.fresh() for _ in range(8)) if a.nbytes < 1 << 20]
        items = [blobs_pb2.BatchPutRequest.Item(name=name_of(a), data=a.tobytes()) for a in arrays]
        for item in batch(self.server.blobs.BatchPut,
                          blobs_pb2.BatchPutRequest(caller=caller(), items=items)):
            self.assertEqual(item.status.code, 0, item.status.message)
        for array in arrays:
            self.learn(array)

    def op_store(self):
        """A result that refers to some of the blobs."""
        keys = {self.known() for _ in range(3)} - {None}
        self.number += 1
        answer = submit(self.server, job("made", self.number))
        store(self.server, answer, [refer(self.arrays[key]) for key in sorted(keys)])
        self.used_by[answer.key] = keys

    def op_read(self):
        key = self.known()
        if key is None:
            return
        data = self.arrays[key].tobytes()
        at = self.rng.randint(0, len(data))
        limit = self.rng.randint(0, len(data))
        self.assertEqual(self.deref(self.name(key), offset=at, limit=limit)[1], data[at:at + limit])

    def op_slab(self):
        key = self.known()
        if key is None:
            return
        array, slab, index = self.arrays[key], [], []
        for extent in array.shape:
            start = self.rng.randint(0, max(extent - 1, 0))
            stride = self.rng.randint(1, 5)
            most = (extent - 1 - start) // stride + 1 if extent else 0
            count = self.rng.randint(0, most)
            slab.append((start if count else 0, count, stride))
            index.append(slice(start, start + count * stride, stride))
        self.assertEqual(self.deref(self.name(key), slab)[1], array[tuple(index)].tobytes())

    def op_delete(self):
        if not self.used_by:
            return
        key = self.rng.choice(list(self.used_by))
        self.server.jobs.Invalidate(jobs_pb2.InvalidateRequest(caller=caller(), keys=[key]))
        del self.used_by[key]

    def op_collect(self):
        self.server.admin.Collect(admin_pb2.CollectRequest())
        used = set().union(*self.used_by.values()) if self.used_by else set()
        for key in set(self.arrays) - used:
            name = self.name(key)
            del self.arrays[key]
            self.fails(grpc.StatusCode.NOT_FOUND, ["no blob"], lambda: self.deref(name))

    def op_seal(self):
        self.server.admin.Seal(admin_pb2.SealRequest())
        self.assertEqual(glob.glob(self.server.data + "/open/*.h5"), [])

    def op_restart(self):
        self.server.stop(self.rng.choice([signal.SIGTERM, signal.SIGKILL]))
        self.server.start()
        self.check_all()

    def check_all(self):
        keys = list(self.arrays)
        refs = [blobs_pb2.BlobRef(name=self.name(key)) for key in keys]
        items = batch(self.server.blobs.BatchDeref,
                      blobs_pb2.BatchDerefRequest(caller=caller(), refs=refs)) if refs else []
        for key, item in zip(keys, items, strict=True):
            self.assertEqual(item.status.code, 0, item.status.message)
            data = self.deref(self.name(key))[1] if item.present else item.data
            self.assertTrue(data == self.arrays[key].tobytes(), self.name(key))

    def test_random_rounds(self):
        reader = PackReader(self.server.data)
        reader.start()
        ops = [(self.op_put, 20), (self.op_batch, 10), (self.op_store, 20), (self.op_read, 20),
               (self.op_slab, 15), (self.op_delete, 8), (self.op_collect, 4), (self.op_seal, 3),
               (self.op_restart, 3)]
        for number in range(ROUNDS):
            op = self.rng.choices([op for op, _ in ops], [weight for _, weight in ops])[0]
            with self.subTest(round=number, op=op.__name__, seed=SEED):
                op()
        self.op_seal()
        self.check_all()
        reader.stop.set()
        reader.join()
        self.assertEqual(reader.errors, [])
        print("h5py read", reader.read, "datasets")
        self.packs_hold_what_is_there()

    def packs_hold_what_is_there(self):
        """Each blob of the model, straight from the packs, by the Catalogue."""
        places = {}
        for answer in self.server.admin.Catalogue(admin_pb2.CatalogueRequest(caller=caller())):
            for entry in answer.entries:
                places[entry.name.SerializeToString()] = (entry.pack, entry.offset)
        for key, array in self.arrays.items():
            path, offset = places[key]
            with h5py.File(path, "r") as pack:
                found = [d for d in pack.values() if d.id.get_offset() == offset or not d.size]
                self.assertTrue(any(h5_bytes(d) == array.tobytes() and d.shape == array.shape
                                    for d in found), self.name(key))

    def test_uploads_broken_at_random_points(self):
        for number in range(BREAKS):
            array = self.fresh(mebibytes=self.rng.randint(2, 12))
            name, data = name_of(array), array.tobytes()
            came = 0
            for _ in range(self.rng.randint(1, 3)):
                came = self.broken(name, data, came)
                if self.rng.random() < 0.5:
                    self.server.stop(self.rng.choice([signal.SIGKILL, signal.SIGTERM]))
                    self.server.start()
                    kept = self.query(name).received
                    self.assertGreaterEqual(kept, came, "what was told to have come is not sent again")
                    came = kept
            with self.subTest(number=number, seed=SEED, size=len(data), came=came):
                self.assertEqual(self.put(array, name, came).size, len(data))
                self.assertTrue(self.deref(name)[1] == data)
        self.assertEqual(glob.glob(self.server.data + "/uploads/*"), [])

    def broken(self, name, data, came):
        """Sends up to some byte, then breaks off; returns what the server says has come."""
        stop = self.rng.randint(came, len(data) - 1)
        step = self.rng.choice([1000, 65_536, 1 << 20])
        sent = threading.Event()

        def some():
            yield header(name, came)
            for at in range(came, stop, step):
                yield blobs_pb2.PutRequest(chunk=data[at:min(at + step, stop)])
            sent.set()
            threading.Event().wait(self.rng.random() / 20)
        call = self.server.blobs.Put.future(some())
        sent.wait(60)
        call.cancel()
        while True:  # until the call is over on the server's side, too
            first = self.query(name).received
            threading.Event().wait(0.05)
            if self.query(name).received == first:
                return first


if __name__ == "__main__":
    unittest.main()
