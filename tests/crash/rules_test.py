"""The rules of DESIGN 7 one by one, where one call fails or one kill comes at the wrong moment."""
import errno, glob, os, random, unittest

import grpc
import h5py
import numpy
from blob_support import name_of
from support import get, job, store, submit
from tiffin.v1 import admin_pb2

from crash_server import CrashServer, DidNotStart
from inspect_folder import inspect
from journal import check_blob
from layer import Action, read_tape
from workload import batch_put, break_off_upload, put_array, random_array, received

Code = grpc.StatusCode
LOG = "data/tiffin.db-wal"
MIB = 1 << 20


class RulesTest(unittest.TestCase):
    def setUp(self):
        self.server = CrashServer("--pin-time", "0").start()
        self.addCleanup(self.server.close)
        self.rng = random.Random(1)

    def array(self, size=2 * MIB):
        return random_array(self.rng, size)

    def fails(self, code, what, *arguments, **members):
        with self.assertRaises(grpc.RpcError) as caught:
            what(*arguments, **members)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())

    def fail_once(self, kinds, path, error=errno.EIO, first=1):
        self.server.control.set(0, Action.FAIL, kinds, path, first=first, error=error)

    def begun_upload(self):
        """Its first half has come, and the server was restarted since."""
        array = self.array(3 * MIB)
        break_off_upload(self.server, array)
        self.assertGreater(received(self.server, array), 0)
        self.server.kill()
        return array

    def test_after_a_failed_sync_of_a_pack_nothing_more_is_written_to_it(self):
        batch_put(self.server, [self.array(1000)])
        self.server.catch_up()
        self.fail_once(["sync"], "data/open/*")
        self.fails(Code.UNAVAILABLE, batch_put, self.server, [self.array(1000)])
        failed, = {c.path for c in read_tape(self.server.tape) if c.kind == "sync" and c.result}
        after = self.server.catch_up() and self.server.played
        batch_put(self.server, [self.array(1000)])
        written = {c.path for c in read_tape(self.server.tape, after) if c.kind in ("write", "sync")}
        self.assertNotIn(failed, written)

    def test_after_a_failed_sync_of_the_database_the_server_ends_and_says_so(self):
        answer = submit(self.server, job("f", 1))
        self.fail_once(["sync"], LOG)
        self.fails(Code.UNAVAILABLE, store, self.server, answer, 7)
        self.assertEqual(self.server.wait(), 70)
        self.assertIn("event=fatal", "".join(self.server.log))

    def test_a_log_whose_copying_cannot_be_marked_stays(self):
        answer = submit(self.server, job("first", 0))
        store(self.server, answer, 0)
        number = 0
        for kind in ("write", "sync"):
            for error in (errno.EIO, errno.ENOSPC):
                for first in (1, 2):  # when the copying begins and when it has ended
                    for when in ("start", "stop"):
                        number += 1
                        with self.subTest(kind=kind, error=errno.errorcode[error], first=first, when=when):
                            answer = submit(self.server, job("f", number))
                            store(self.server, answer, number)
                            if when == "start":
                                self.server.kill()
                            self.fail_once([kind], "data/tiffin.db-copying", error, first)
                            try:
                                if when == "start":
                                    self.server.start()
                                self.server.stop()
                            except DidNotStart:
                                pass
                            self.assertEqual(self.server.control.hits(0), 1)
                            self.server.control.clear()
                            self.server.start()
                            self.assertEqual(get(self.server, answer.key).record.json, b"%d" % number)

    def test_a_server_that_could_only_read_its_database_does_not_start(self):
        # SQLite opens read-only what it cannot open otherwise.
        number = 0
        for path, end in (("data/tiffin.db", "stop"), (LOG, "kill")):
            refused = 0
            for first in range(1, 4):
                number += 1
                with self.subTest(path=path, end=end, first=first):
                    answer = submit(self.server, job("f", number))  # which leaves a log after a kill
                    getattr(self.server, end)()
                    self.fail_once(["open", "create"], path, first=first)
                    try:
                        self.server.start()
                    except DidNotStart as why:
                        self.assertRegex(str(why), "event=start error=")
                        refused += 1
                        self.server.control.clear()
                        self.server.start()
                    store(self.server, answer, number)
            self.assertGreater(refused, 0, path)

    def test_sealing_keeps_the_new_pack_when_it_is_not_known_whether_the_rows_moved(self):
        arrays = [self.array(1000) for _ in range(10)]
        batch_put(self.server, arrays)
        self.fail_once(["sync"], LOG, first=2)  # the first tells of the new pack
        self.fails(Code.UNAVAILABLE, self.server.admin.Seal, admin_pb2.SealRequest())
        self.assertEqual(self.server.wait(), 70)
        self.server.start()
        for array in arrays:
            check_blob(self.server, name_of(array))

    def test_an_upload_whose_sync_failed_is_not_synced_again(self):
        array = self.array()
        self.fail_once(["sync"], "data/uploads/*")
        self.fails(Code.UNAVAILABLE, put_array, self.server, array)
        self.assertEqual(received(self.server, array), 0)
        put_array(self.server, array)

    def test_an_upload_whose_hdf5_part_is_damaged_begins_anew(self):
        array = self.begun_upload()
        path, = glob.glob(self.server.data + "/uploads/*.h5")
        with open(path, "rb+") as file:
            file.write(bytes(512))
        self.server.start()
        self.fails(Code.FAILED_PRECONDITION, put_array, self.server, array,
                   offset=received(self.server, array))
        self.assertEqual(received(self.server, array), 0)
        put_array(self.server, array)
        pack, = glob.glob(self.server.data + "/packs/*/*.h5")
        with h5py.File(pack) as file:
            dataset, = file.values()
            numpy.testing.assert_array_equal(dataset[...], array)

    def test_an_upload_that_is_shorter_than_it_was_counted_begins_anew(self):
        array = self.begun_upload()
        path, = glob.glob(self.server.data + "/uploads/*.h5")
        os.truncate(path, 100_000)
        self.server.start()
        self.fails(Code.FAILED_PRECONDITION, put_array, self.server, array,
                   offset=received(self.server, array))
        put_array(self.server, array)

    def test_a_folder_that_was_there_is_made_durable_all_the_same(self):
        self.assertEqual(self.server.stop(), 0)
        for number in range(256):
            os.makedirs(f"{self.server.data}/packs/{number:02x}", exist_ok=True)
        self.server.begin_tape()
        self.server.start()
        put_array(self.server, self.array())
        calls = [(c.kind, c.path2 or c.path) for c in read_tape(self.server.tape)]
        renamed = next(i for i, c in enumerate(calls) if c[0] == "rename" and "packs" in c[1])
        self.assertIn(("sync_folder", "data/packs"), calls[:renamed])
        self.assertNotIn("mkdir", {kind for kind, _ in calls})

    def test_a_full_quota_is_a_full_disk(self):
        self.server.control.set(0, Action.FAIL, ["write"], count=0, error=errno.EDQUOT)
        self.fails(Code.RESOURCE_EXHAUSTED, submit, self.server, job("f", 1))
        self.fails(Code.RESOURCE_EXHAUSTED, batch_put, self.server, [self.array(1000)])
        self.fails(Code.RESOURCE_EXHAUSTED, put_array, self.server, self.array())
        self.server.control.clear()
        submit(self.server, job("f", 1))
        put_array(self.server, self.array())

    def test_it_ends_well_after_hdf5_could_not_close_a_file(self):
        self.fail_once(["truncate"], "data/tmp/*")
        self.fails(Code.UNAVAILABLE, put_array, self.server, self.array(), key=False)
        put_array(self.server, self.array(), key=False)
        self.assertEqual(self.server.stop(), 0)
        inspect(self.server.data)

    def test_what_fails_leaves_nothing_behind(self):
        for kinds, path in ((["allocate"], "data/tmp/*"), (["allocate"], "data/uploads/*"),
                            (["sync"], "data/tmp/*"), (["rename"], "data/packs/*"),
                            (["sync_folder"], "data/packs/??"), (["sync_folder"], "data/open")):
            for size in (1000, 2 * MIB):
                for key in (True, False):
                    self.fail_once(kinds, path)
                    try:
                        put_array(self.server, self.array(size), key=key)
                        self.server.admin.Seal(admin_pb2.SealRequest())
                    except grpc.RpcError:
                        pass
                    self.server.control.clear()
            self.assertEqual(glob.glob(self.server.data + "/tmp/*"), [])
            self.assertEqual([f for f in glob.glob(self.server.data + "/uploads/*.h5")
                              if not os.path.exists(f[:-3] + ".at")], [])

    def test_an_open_pack_holds_a_limited_number_of_blobs(self):
        for batch in range(2):
            batch_put(self.server, [numpy.array([batch, i], "int16") for i in range(9000)])
        made = [c for c in read_tape(self.server.tape)
                if c.kind == "rename" and c.path2.startswith("data/open/")]
        self.assertEqual(len(made), 2)


if __name__ == "__main__":
    unittest.main()
