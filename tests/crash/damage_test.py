"""Bytes on disk that are not what was written: in packs, open packs and the database; before they are mapped and while they are.

Damage of a range that was checked since its mapping is not looked for here: background verification finds that.
"""
import os, random, shutil, signal, sqlite3, subprocess, tempfile, unittest

import grpc
from blob_support import key_of, name_of, ref_of
from support import caller, get, job, record, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2, jobs_pb2

from crash_server import CrashServer, DidNotStart
from inspect_folder import inspect
from workload import batch_put, put_array, random_array, read_blob

Code = grpc.StatusCode
MIB = 1 << 20
SEED = int(os.environ.get("TIFFIN_CRASH_SEED", random.randrange(1 << 32)))
DAMAGES = int(os.environ.get("TIFFIN_CRASH_DAMAGES", "10"))
DATABASES = int(os.environ.get("TIFFIN_CRASH_DATABASES", "12"))


class Place:
    def __init__(self, path, offset, size):
        self.path, self.offset, self.size = path, offset, size


def places(server):
    """Key → where the blob lies, told from a copy of the database."""
    with tempfile.TemporaryDirectory() as copy:
        for suffix in ("", "-wal"):
            if os.path.exists(server.data + "/tiffin.db" + suffix):
                shutil.copy(server.data + "/tiffin.db" + suffix, copy)
        database = sqlite3.connect(copy + "/tiffin.db")
        out = {}
        for key, size, location in database.execute("SELECT key, size, location FROM blobs"):
            pack, kind, offset = location.split(":")
            folder = "open" if kind == "o" else "packs/" + pack[:2]
            out[key] = Place(f"{server.data}/{folder}/{pack}.h5", int(offset), size)
        database.close()
        return out


def change(path, at, change_bytes, length):
    with open(path, "r+b") as file:
        file.seek(at)
        data = file.read(length)
        file.seek(at)
        file.write(change_bytes(data))


# Each damages the blob at `place` from `first` on, and others only if it says so.
def flip(place, first, rng):
    change(place.path, rng.randrange(place.offset + first, place.offset + place.size),
           lambda b: bytes([b[0] ^ 1 << rng.randrange(8)]), 1)


def zero(place, first, rng):
    length = min(4096, place.size - first)
    change(place.path, place.offset + rng.randint(first, place.size - length),
           lambda b: bytes(len(b)), length)


def swap(place, first, rng):
    half = min(512, (place.size - first) // 2)
    change(place.path, place.offset + rng.randint(first, place.size - 2 * half),
           lambda b: b[half:] + b[:half], 2 * half)


def cut(place, first, rng):
    """All that follows in the file is gone, too."""
    os.truncate(place.path, rng.randrange(place.offset + first, place.offset + place.size))


def lose(place, first, rng):
    os.unlink(place.path)


class PacksTest(unittest.TestCase):
    def setUp(self):
        self.rng = random.Random(SEED)

    def fill(self, sealed):
        """Eight small blobs and two large ones, each in the result of a job of its own."""
        server = CrashServer("--pin-time", "0", tape=False).start()
        self.addCleanup(server.close)
        self.held = {}
        for number in range(10):
            array = random_array(self.rng, 40_000 if number < 8 else 3 * MIB)
            answer = submit(server, job("f", number))
            if number < 8:
                batch_put(server, [array])
            else:
                put_array(server, array)
            store(server, answer, ref_of(name_of(array)))
            self.held[number] = array
        if sealed:
            server.admin.Seal(admin_pb2.SealRequest())
        return server

    def check(self, server, hurt, place):
        """Never a wrong byte; what is hurt is told, missed and healed, the rest is served."""
        told = set()
        for number, array in self.held.items():
            try:
                data = read_blob(server, name_of(array))
                self.assertEqual(key_of(str(array.dtype), array.shape, data), name_of(array).key)
            except grpc.RpcError as error:
                self.assertEqual(error.code(), Code.DATA_LOSS, error.details())
                told.add(number)
        self.assertLessEqual({hurt}, told)
        for number, array in self.held.items():
            answer = submit(server, job("f", number))
            self.assertEqual(answer.outcome,
                             jobs_pb2.GRANTED if number in told else jobs_pb2.RETRIEVED)
            if number in told:
                self.heal(server, answer, array)
        for number, array in self.held.items():
            self.assertEqual(read_blob(server, name_of(array)), array.tobytes())
            self.assertEqual(submit(server, job("f", number)).outcome, jobs_pb2.RETRIEVED)
        self.assertEqual(server.stop(), 0)
        inspect(server.data, hurt={os.path.basename(place.path)[:-3]})
        return told

    def heal(self, server, answer, array):
        missing = server.blobs.FindMissing(blobs_pb2.FindMissingRequest(
            caller=caller(), blobs=[name_of(array)]))
        self.assertEqual(len(missing.blobs), 1)
        if array.nbytes < MIB:
            batch_put(server, [array])
        else:
            put_array(server, array)
        store(server, answer, ref_of(name_of(array)))

    def cases(self, *ways):
        """In packs and open packs, a small blob and a large one; some of all."""
        cases = [(s, h, w) for s in (True, False) for h in (3, 9) for w in ways]
        return self.rng.sample(cases, min(DAMAGES, len(cases)))

    def test_damage_before_it_is_mapped(self):
        for sealed, hurt, way in self.cases(flip, zero, swap, cut, lose):
            with self.subTest(sealed=sealed, hurt=hurt, way=way.__name__, seed=SEED):
                server = self.fill(sealed)
                server.kill()
                place = places(server)[name_of(self.held[hurt]).key]
                way(place, 0, self.rng)
                server.start()
                told = self.check(server, hurt, place)
                if way in (flip, zero, swap):
                    self.assertEqual(told, {hurt})

    def test_damage_while_it_is_mapped(self):
        for sealed, hurt, way in self.cases(flip, zero, swap, cut):
            with self.subTest(sealed=sealed, hurt=hurt, way=way.__name__, seed=SEED):
                server = self.fill(sealed)
                array = self.held[hurt]
                place = places(server)[name_of(array).key]
                if hurt == 9:  # its first MiB is in use
                    first = MIB
                    list(server.blobs.Deref(blobs_pb2.DerefRequest(
                        caller=caller(), ref=blobs_pb2.BlobRef(name=name_of(array)), limit=10)))
                else:          # another blob of its pack is
                    first = 0
                    read_blob(server, name_of(self.held[1]))
                way(place, first, self.rng)
                told = self.check(server, hurt, place)
                if way is not cut:
                    self.assertEqual(told, {hurt})

    def test_a_pack_cut_while_it_is_sent_ends_the_call_only(self):
        server = self.fill(True)
        array = random_array(self.rng, 24 * MIB)
        put_array(server, array)
        place = places(server)[name_of(array).key]
        read_blob(server, name_of(array))  # checked now
        stream = server.blobs.Deref(blobs_pb2.DerefRequest(
            caller=caller(), ref=blobs_pb2.BlobRef(name=name_of(array))))
        next(stream)
        os.truncate(place.path, place.offset + 4 * MIB)
        with self.assertRaises(grpc.RpcError):
            for _ in stream:
                pass
        for number in range(9):
            read_blob(server, name_of(self.held[number]))
        self.assertTrue(server.running())


class DatabaseTest(unittest.TestCase):
    """SQLite tells damage of its own structure; rows of jobs and results have checksums."""

    @classmethod
    def setUpClass(cls):
        print(f"TIFFIN_CRASH_SEED={SEED}", flush=True)
        cls.rng = random.Random(SEED)
        cls.server = CrashServer("--pin-time", "0", tape=False).start()
        cls.arrays = [random_array(cls.rng, 5000) for _ in range(100)]
        cls.results = []
        for number, array in enumerate(cls.arrays):
            answer = submit(cls.server, job("f", number))
            batch_put(cls.server, [array])
            store(cls.server, answer, {"number": number, "array": ref_of(name_of(array))})
            cls.results.append(get(cls.server, answer.key).record.json)
        cls.server.stop()
        cls.kept = cls.server.folder + "/kept"
        shutil.copytree(cls.server.data, cls.kept)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()

    def damage(self, way):
        path = self.server.data + "/tiffin.db"
        pages = os.path.getsize(path) // 4096
        page = self.rng.randrange(pages) * 4096
        if way == "flip":
            for _ in range(20):
                change(path, self.rng.randrange(pages * 4096), lambda b: bytes([b[0] ^ 1 << self.rng.randrange(8)]), 1)
        elif way == "zero":
            change(path, page, lambda b: bytes(len(b)), 4096)
        elif way == "swap":
            change(path, min(page, (pages - 2) * 4096), lambda b: b[4096:] + b[:4096], 8192)
        elif way == "cut":
            os.truncate(path, self.rng.randrange(1, pages * 4096))

    def test_damaged_pages_are_told_and_kill_nobody(self):
        told = 0
        for number in range(DATABASES):
            way = ("flip", "zero", "swap", "cut")[number % 4]
            with self.subTest(number=number, way=way, seed=SEED):
                shutil.rmtree(self.server.data)
                shutil.copytree(self.kept, self.server.data)
                self.damage(way)
                told += self.use()
        self.assertGreater(told, 0)
        print(f"{DATABASES} damaged databases, {told} of them noticed", flush=True)

    def use(self):
        """Whether the damage was noticed."""
        try:
            self.server.start()
        except DidNotStart as why:
            self.assertIn("event=start error=", str(why))
            self.assertGreater(self.server.process.returncode, 0, "it died of a signal")
            return True
        told = False
        for number, array in enumerate(self.arrays):
            try:
                answer = submit(self.server, job("f", number))
                if answer.outcome == jobs_pb2.RETRIEVED:
                    self.assertEqual(answer.result.record.json, self.results[number])
                else:
                    told = True
                data = read_blob(self.server, name_of(array))
                self.assertEqual(key_of(str(array.dtype), array.shape, data), name_of(array).key)
            except grpc.RpcError as error:
                told = True
                self.assertTrue(self.server.running(), f"{error.code()} {error.details()}" +
                                "".join(self.server.log[-3:]))
                self.assertIn(error.code(), (Code.DATA_LOSS, Code.NOT_FOUND), error.details())
        self.server.process.terminate()
        code = self.server.wait()
        self.assertGreaterEqual(code, 0, "it died of a signal")
        return told


if __name__ == "__main__":
    unittest.main()
