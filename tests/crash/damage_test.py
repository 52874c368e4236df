"""Bytes on disk that are not what was written: in packs, open packs, the database and its log; before they are mapped and
while they are.

Damage of a range that was checked since its mapping is not looked for here: background verification finds that.
"""
import os, random, re, shutil, sqlite3, struct, unittest

import grpc
from blob_support import key_of, name_of, ref_of
from support import caller, get, job, record, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2, jobs_pb2

from crash_server import CrashServer, DidNotStart
from inspect_folder import inspect, places
from journal import Broken
from layer import Action
from workload import batch_put, put_array, random_array, read_blob

Code = grpc.StatusCode
MIB = 1 << 20
SEED = int(os.environ.get("TIFFIN_CRASH_SEED", random.randrange(1 << 32)))
DAMAGES = int(os.environ.get("TIFFIN_CRASH_DAMAGES", "10"))
DATABASES = int(os.environ.get("TIFFIN_CRASH_DATABASES", "12"))


def change(path, at, change_bytes, length):
    with open(path, "r+b") as file:
        file.seek(at)
        data = file.read(length)
        file.seek(at)
        file.write(change_bytes(data))


def one_bit(rng):
    return lambda b: bytes([b[0] ^ 1 << rng.randrange(8)])


# Each damages the blob at `place` from `first` on, and others only if it says so.
def flip(place, first, rng):
    change(place.path, rng.randrange(place.offset + first, place.offset + place.size), one_bit(rng), 1)


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
        # What has gone is known to be gone, though it was checked before. (The connection may have ended, too.)
        codes = []
        while not codes or codes[-1] == Code.UNAVAILABLE:
            with self.assertRaises(grpc.RpcError) as caught:
                read_blob(server, name_of(array))
            codes.append(caught.exception.code())
        self.assertEqual(codes[-1], Code.DATA_LOSS, caught.exception.details())
        self.assertRegex(caught.exception.details(), "the file was cut|is damaged; put it again")
        for number in range(9):
            read_blob(server, name_of(self.held[number]))
        self.assertTrue(server.running())


def use_damaged(test, server, arrays, results):
    """Whether the damage was noticed."""
    try:
        server.start()
    except DidNotStart as why:
        test.assertIn("event=start error=", str(why))
        test.assertGreater(server.process.returncode, 0, "it died of a signal")
        return True
    told = False
    for number, array in enumerate(arrays):
        try:
            answer = submit(server, job("f", number))
            if answer.outcome == jobs_pb2.RETRIEVED:
                test.assertEqual(answer.result.record.json, results[number])
            else:
                told = True
            data = read_blob(server, name_of(array))
            test.assertEqual(key_of(str(array.dtype), array.shape, data), name_of(array).key)
        except grpc.RpcError as error:
            told = True
            test.assertTrue(server.running(), f"{error.code()} {error.details()}" +
                            "".join(server.log[-3:]))
            test.assertIn(error.code(), (Code.DATA_LOSS, Code.NOT_FOUND), error.details())
    server.process.terminate()
    code = server.wait()
    test.assertGreaterEqual(code, 0, "it died of a signal")
    return told


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
        assert cls.server.stop() == 0
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
                change(path, self.rng.randrange(pages * 4096), one_bit(self.rng), 1)
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
                told += use_damaged(self, self.server, self.arrays, self.results)
        self.assertGreater(told, 0)
        print(f"{DATABASES} damaged databases, {told} of them noticed", flush=True)


def packs_below(folder):
    return {name[:-3] for _, _, names in os.walk(folder) for name in names if name.endswith(".h5")}


class LogTest(unittest.TestCase):
    """SQLite gives each frame of its log a checksum over all frames up to it, and takes the log to end before the first
    that does not fit; if its head does not fit, there is no log. So damage takes back every transaction from there on,
    also those that were acknowledged; and since nobody can tell such a log from one whose end a power cut kept from
    the disk, the server says nothing. No promise covers that. What holds: what was committed before the damage is
    there, nothing is served that was not stored, and the folder is in order again. The packs are newer than the
    rows then: a blob that was sealed or rewritten since is told as damaged, and a pack that no row tells of stays.
    """

    FRAME = 24 + 4096
    HEAD = 32
    WAYS = ("flip", "zero", "cut", "swap", "head", "lose")
    JOBS = 16  # of which the first few are in the database's file

    def setUp(self):
        self.rng = random.Random(SEED)
        self.server = CrashServer("--pin-time", "0", "--verify-rate", "0", tape=False)
        self.addCleanup(self.server.close)
        self.log = self.server.data + "/tiffin.db-wal"

    # ---- what there is

    def fill(self, seals):
        """`stored`, `taken_back`: number of a job → frames of the log when that was acknowledged. Ends with a kill."""
        self.arrays, self.results, self.stored, self.taken_back = [], [], {}, {}
        self.server.start()
        for number in range(4):
            self.make(number)
        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        self.assertEqual(os.path.getsize(self.log), 0)
        for number in range(4, 10):
            self.make(number)
        self.sealed = 0
        if seals:
            self.server.admin.Seal(admin_pb2.SealRequest())
            self.sealed = self.frames()
        for number in (1, 5):
            self.take_back(number)
        if seals:
            self.server.admin.Collect(admin_pb2.CollectRequest())
            self.sealed = self.frames()
        for number in range(10, self.JOBS):
            self.make(number)
        self.server.kill()
        with open(self.log, "rb") as log:
            self.assertEqual(struct.unpack_from(">I", log.read(self.HEAD), 8), (4096,))
        self.kept = self.server.folder + "/kept"
        shutil.copytree(self.server.data, self.kept)
        self.packs = packs_below(self.kept)

    def restore(self):
        """As it was when it was killed."""
        if self.server.running():  # after a failure
            self.server.kill()
        shutil.rmtree(self.server.data)
        shutil.copytree(self.kept, self.server.data)

    def frames(self):
        return (os.path.getsize(self.log) - self.HEAD) // self.FRAME

    def lease(self, number):
        return submit(self.server, job("f", number), request_id=f"r{number}")

    def make(self, number):
        array = random_array(self.rng, 2 * MIB if number % 5 == 4 else 5000)
        self.arrays.append(array)
        self.results.append(self.put(number).record.json)
        self.stored[number] = self.frames() if number >= 4 else 0

    def put(self, number):
        """The job is computed."""
        array, answer = self.arrays[number], self.lease(number)
        self.assertEqual(answer.outcome, jobs_pb2.GRANTED)
        batch_put(self.server, [array]) if array.nbytes < MIB else put_array(self.server, array)
        store(self.server, answer, {"number": number, "array": ref_of(name_of(array))})
        return get(self.server, answer.key)

    def take_back(self, number):
        key = submit(self.server, job("f", number), compute=False).key
        self.server.jobs.Invalidate(jobs_pb2.InvalidateRequest(caller=caller(), keys=[key]))
        self.taken_back[number] = self.frames()

    # ---- damage: the first frame that does not fit any more

    def hurt(self, way):
        size, frame = os.path.getsize(self.log), self.rng.randrange(self.frames() - 1)
        at = self.HEAD + frame * self.FRAME
        if way == "flip":
            change(self.log, at + self.rng.randrange(self.FRAME), one_bit(self.rng), 1)
        elif way == "zero":
            change(self.log, at, lambda b: bytes(len(b)), 4096)
        elif way == "swap":
            change(self.log, at, lambda b: b[self.FRAME:] + b[:self.FRAME], 2 * self.FRAME)
        elif way == "cut":
            os.truncate(self.log, self.rng.randrange(at, min(at + self.FRAME, size)))
        elif way == "head":
            change(self.log, self.rng.randrange(self.HEAD), one_bit(self.rng), 1)
        elif way == "lose":
            os.unlink(self.log)
        return 0 if way in ("head", "lose") else frame

    def test_what_was_committed_before_the_damage_is_there(self):
        self.damage_the_log_of(seals=False)

    def test_also_when_packs_were_sealed_and_collected_since(self):
        self.damage_the_log_of(seals=True)

    def damage_the_log_of(self, seals):
        self.fill(seals)
        lost = told = 0
        for number in range(DATABASES):
            way = self.WAYS[number % len(self.WAYS)]
            self.restore()
            frame = self.hurt(way)
            with self.subTest(number=number, way=way, frame=frame, of=self.stored[self.JOBS - 1], seed=SEED):
                self.server.start()
                for number in range(self.JOBS):
                    there, damaged = self.look(number, frame)
                    lost += not there
                    told += damaged
                self.heal()
        print(f"{DATABASES} damaged logs: {lost} results lost, {told} blobs told as damaged", flush=True)
        self.assertGreater(lost, 0)
        self.assertEqual(told > 0, seals)

    def look(self, number, frame):
        """Whether the result is there, and its blob told as damaged. Frames from `frame` on are lost."""
        taken_back = self.taken_back.get(number, 1 << 40) <= frame
        must = self.stored[number] <= frame and number not in self.taken_back
        damaged = False
        try:
            data = read_blob(self.server, name_of(self.arrays[number]))
            self.assertEqual(data, self.arrays[number].tobytes())
        except grpc.RpcError as error:
            damaged = error.code() == Code.DATA_LOSS
            if damaged:
                self.assertLess(frame, self.sealed, error.details())
            else:
                self.assertEqual(error.code(), Code.NOT_FOUND, error.details())
                self.assertFalse(must, error.details())
        answer = submit(self.server, job("f", number), compute=False)
        if answer.outcome == jobs_pb2.RETRIEVED:
            self.assertFalse(taken_back)
            self.assertFalse(damaged)
            self.assertEqual(answer.result.record.json, self.results[number])
            return True, False
        self.assertFalse(must and not damaged, jobs_pb2.SubmitOutcome.Name(answer.outcome))
        return number in self.taken_back, damaged

    def heal(self):
        for number in range(self.JOBS):
            if self.lease(number).outcome != jobs_pb2.RETRIEVED:
                self.assertEqual(self.put(number).record.json, self.results[number])
            array = self.arrays[number]
            self.assertEqual(read_blob(self.server, name_of(array)), array.tobytes())
        self.assertEqual(self.server.stop(), 0)
        inspect(self.server.data, hurt=self.packs_without_file(), unknown=self.packs)

    def packs_without_file(self):
        with sqlite3.connect(f"file:{self.server.data}/tiffin.db?mode=ro", uri=True) as database:
            known = {name for name, in database.execute("SELECT name FROM packs")}
        database.close()
        return known - packs_below(self.server.data)

    def test_a_log_that_is_damaged_while_it_was_copied_into_the_database(self):
        """Then the database's file holds pages of two times, and nothing makes them one again: such a folder is not
        started, but rebuilt.
        """
        self.fill(seals=False)
        writes = self.writes_of_a_start()
        said = unsaid = 0
        for number in range(DATABASES):
            way = self.WAYS[number % len(self.WAYS)]
            write = self.rng.randint(1, writes)
            with self.subTest(number=number, way=way, write=write, of=writes, seed=SEED):
                self.start_and_kill_at(write)
                self.hurt(way)
                use_damaged(self, self.server, self.arrays, self.results)
                if re.search("event=damaged|event=start error", "".join(self.server.log)):
                    said += 1
                elif not self.in_order():
                    unsaid += 1
        print(f"{DATABASES} logs damaged while they were copied: {said} noticed", flush=True)
        self.assertEqual((said, unsaid), (DATABASES, 0))

    def in_order(self):
        try:
            inspect(self.server.data, hurt=self.packs_without_file(), unknown=self.packs)
            return True
        except Broken:
            return False

    def writes_of_a_start(self):
        """How many pages are copied."""
        self.restore()
        self.server.control.set(0, Action.KILL_BEFORE, ["write"], "data/tiffin.db", first=1 << 40)
        self.server.start()
        self.server.kill()
        return self.server.control.seen(0)

    def start_and_kill_at(self, write):
        self.restore()
        self.server.control.set(0, Action.KILL_BEFORE, ["write"], "data/tiffin.db", first=write)
        with self.assertRaises(DidNotStart):
            self.server.start()
        self.assertEqual(self.server.control.hits(0), 1)
        self.server.control.clear()


if __name__ == "__main__":
    unittest.main()
