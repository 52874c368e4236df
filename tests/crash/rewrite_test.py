"""Collect rewrites sealed packs that little is left of. The server is killed before each call in turn that changes the
disk meanwhile; half the time the power fails as well.
"""
import os, random, shutil, unittest

import grpc
from blob_support import name_of, ref_of
from support import caller, get, job, store, submit
from tiffin.v1 import admin_pb2, jobs_pb2

from crash_server import CrashServer
from disk_model import VARIANTS
from inspect_folder import inspect, places
from journal import check_blob
from layer import CHANGES, Action
from workload import batch_put, random_array

SEED = int(os.environ.get("TIFFIN_CRASH_SEED", random.randrange(1 << 32)))
PACKS, KEPT, GONE = 2, 3, 8  # packs, and jobs of each


class RewriteTest(unittest.TestCase):
    def setUp(self):
        print(f"TIFFIN_CRASH_SEED={SEED}", flush=True)
        self.rng = random.Random(SEED)
        self.server = CrashServer("--pin-time", "0", "--verify-rate", "0").start()
        self.addCleanup(self.server.close)
        self.kept, self.gone = {}, {}  # job's key → name of its blob
        for _ in range(PACKS):
            self.fill_a_pack()
        self.server.jobs.Invalidate(jobs_pb2.InvalidateRequest(caller=caller(), keys=list(self.gone)))
        self.assertEqual(self.server.stop(), 0)
        self.before = self.packs()
        self.assertEqual(len(set(self.before.values())), PACKS)
        self.folder = self.server.folder + "/kept"
        shutil.copytree(self.server.data, self.folder)

    def fill_a_pack(self):
        for number in range(KEPT + GONE):
            array = random_array(self.rng, 20_000)
            answer = submit(self.server, job("f", len(self.kept), len(self.gone)))
            batch_put(self.server, [array])
            store(self.server, answer, ref_of(name_of(array)))
            (self.kept if number < KEPT else self.gone)[answer.key] = name_of(array)
        self.server.admin.Seal(admin_pb2.SealRequest())

    def packs(self):
        """Key of each blob that is to stay → the pack that it is in."""
        there = places(self.server)
        return {name.key: os.path.basename(there[name.key].path) for name in self.kept.values()}

    def test_a_kill_at_any_call_of_a_rewrite_loses_nothing(self):
        calls = self.rewrite()
        self.assertGreater(calls, 10 * PACKS)
        for call in range(1, calls + 1):
            variant = self.rng.choice(VARIANTS) if self.rng.random() < 0.5 else "kept"
            with self.subTest(call=call, of=calls, variant=variant, seed=SEED):
                self.kill_at(call)
                if variant != "kept":
                    self.server.power_cut(variant, self.rng)
                self.server.start()
                self.all_is_there()
                self.server.admin.Collect(admin_pb2.CollectRequest())
                self.is_rewritten()
        print(f"killed at each of {calls} calls of a rewrite", flush=True)

    def rewrite(self):
        """Without a kill: how many calls it makes."""
        self.server.take(self.folder)
        self.server.start()
        self.server.control.set(0, Action.KILL_BEFORE, CHANGES, first=1 << 40)
        done = self.server.admin.Collect(admin_pb2.CollectRequest())
        calls = self.server.control.seen(0)
        self.assertEqual((done.packs_rewritten, done.blobs), (PACKS, PACKS * GONE))
        self.is_rewritten()
        return calls

    def kill_at(self, call):
        self.server.take(self.folder)
        self.server.start()
        self.server.control.set(0, Action.KILL_BEFORE, CHANGES, first=call)
        with self.assertRaises(grpc.RpcError):
            self.server.admin.Collect(admin_pb2.CollectRequest())
        self.assertEqual(self.server.wait(), -9)
        self.assertEqual(self.server.control.hits(0), 1)
        self.server.control.clear()

    def all_is_there(self):
        for key, name in self.kept.items():
            get(self.server, key)
            check_blob(self.server, name)
        for key in self.gone:
            with self.assertRaises(grpc.RpcError) as caught:
                get(self.server, key)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

    def is_rewritten(self):
        """All is there, in other packs, and the old ones are gone."""
        self.all_is_there()
        *_, last = self.server.admin.Verify(admin_pb2.VerifyRequest(keys=True))
        self.assertEqual((last.blobs, last.damaged_blobs), (len(self.kept), 0))
        self.assertEqual(self.server.stop(), 0)
        inspect(self.server.data)
        now = self.packs()
        self.assertEqual([key for key in now if now[key] in self.before.values()], [])
        left = {name for _, _, names in os.walk(self.server.data + "/packs") for name in names}
        self.assertEqual(left, set(now.values()))


if __name__ == "__main__":
    unittest.main()
