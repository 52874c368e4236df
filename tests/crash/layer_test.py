"""The file layer and the model of the disk themselves: what they say is what there is."""
import errno, os, random, struct, unittest

import grpc
from support import caller, job, store, submit
from tiffin.v1 import admin_pb2

from crash_server import CrashServer
from disk_model import Disk, File
from layer import CHANGES, Action
from workload import put_array, random_array


class LayerTest(unittest.TestCase):
    def setUp(self):
        self.server = CrashServer()
        self.addCleanup(self.server.close)

    def use(self):
        rng = random.Random(1)
        for number in range(20):
            store(self.server, submit(self.server, job("f", number)), number)
        put_array(self.server, random_array(rng, 2 << 20))
        put_array(self.server, random_array(rng, 2 << 20), key=False)
        put_array(self.server, random_array(rng, 20_000))
        self.server.admin.Seal(admin_pb2.SealRequest())

    def test_the_tape_tells_what_is_on_disk(self):
        self.server.start()
        self.use()
        self.assertTrue(self.server.tape_agrees())
        self.assertEqual(self.server.stop(), 0)
        self.assertTrue(self.server.tape_agrees())

    def test_a_stopped_server_leaves_nothing_unsynced_that_counts(self):
        self.server.start()
        self.use()
        self.assertEqual(self.server.stop(), 0)
        self.server.power_cut("none", random.Random(1))
        self.server.start()
        self.assertEqual(submit(self.server, job("f", 7)).result.record.json, b"7")

    def test_it_kills_at_the_call_that_is_told(self):
        self.server.control.set(0, Action.KILL_BEFORE, ["rename"], "data/packs/*")
        self.server.start()
        with self.assertRaises(grpc.RpcError):
            self.use()
        self.assertEqual(self.server.wait(), -9)
        self.assertEqual(self.server.control.calls()["rename"], 1)
        self.assertEqual(self.server.control.hits(0), 1)

    def test_a_record_that_a_kill_cut_off_hides_nothing_that_comes_after_it(self):
        self.server.start()
        self.use()
        self.server.kill()
        with open(self.server.tape, "rb+") as tape:
            tape.seek(0, os.SEEK_END)
            tape.write(struct.pack("<Ii", 2, 0))  # the beginning of a write
        self.server.catch_up()
        self.server.start()
        store(self.server, submit(self.server, job("g", 1)), 7)
        self.server.kill()
        self.server.power_cut("none", random.Random(1))
        self.server.start()
        self.assertEqual(submit(self.server, job("g", 1)).result.record.json, b"7")

    def test_it_fails_calls_until_told_otherwise(self):
        self.server.start()
        self.server.control.set(0, Action.FAIL, CHANGES, count=0, error=errno.ENOSPC)
        with self.assertRaises(grpc.RpcError):
            submit(self.server, job("f", 1))
        self.assertGreater(self.server.control.hits(0), 0)
        self.server.control.clear()
        submit(self.server, job("f", 1))


class DiskModelTest(unittest.TestCase):
    def test_what_a_failed_sync_covered_is_not_made_durable_by_the_next(self):
        file = File(b"aaaa")
        file.write(0, b"b")
        file.synced(1, ok=False)
        file.write(3, b"c")
        file.synced(2, ok=True)
        self.assertEqual(file.image("none", None), b"aaac")
        self.assertEqual(file.image("all", None), b"baac")

    def test_pages_reach_the_disk_one_by_one(self):
        seen = set()
        for seed in range(50):
            file = File()
            file.write(0, b"x" * 8192)
            seen.add(bytes(file.image("pages", random.Random(seed))))
        self.assertIn(bytes(4096) + b"x" * 4096, seen)
        self.assertIn(b"x" * 4096, seen)
        self.assertIn(b"", seen)

    def test_a_folder_is_loaded_as_durable(self):
        server = CrashServer()
        self.addCleanup(server.close)
        with open(os.path.join(server.root, "x"), "wb") as file:
            file.write(b"1")
        self.assertEqual(Disk(server.root).image("none", None), {"x": b"1"})


if __name__ == "__main__":
    unittest.main()
