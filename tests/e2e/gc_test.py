"""`tiffin gc`: results that were not read for long make room, and are computed again."""
import glob, json, os, subprocess, unittest

import grpc
import numpy

from blob_support import name_of, parts, refer
from support import Server, caller, get, job, store, submit
from tiffin.v1 import admin_pb2, jobs_pb2


class Gc(unittest.TestCase):
    def setUp(self):
        self.server = Server("--pin-time", "0", "--verify-rate", "0")
        self.addCleanup(self.server.close)

    def tiffin(self, *arguments, code=0):
        done = subprocess.run([os.environ["TIFFIN_CLI_BINARY"], "--server", self.server.address,
                               "--json", *arguments], capture_output=True, text=True)
        self.assertEqual(done.returncode, code, done.stderr)
        return json.loads(done.stdout)

    def made(self, n):
        array = numpy.random.default_rng(n).random(250_000)  # 2 MB, a pack of its own
        self.server.blobs.Put(parts(name_of(array), array.tobytes()))
        answer = submit(self.server, job("makes", n))
        store(self.server, answer, refer(array))
        return answer.key

    def hit(self, key):
        try:
            get(self.server, key)
            return True
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.NOT_FOUND)
            return False

    def test_the_least_recently_read_make_room(self):
        keys = [self.made(n) for n in range(5)]
        self.assertTrue(self.hit(keys[0]))
        would = self.tiffin("gc", "--max-bytes", "5MB", "--dry-run")
        self.assertEqual((would["evicted"], would["blobs"]), (3, 3))
        self.assertEqual(len(glob.glob(self.server.data + "/packs/*/*.h5")), 5)
        done = self.tiffin("gc", "--max-bytes", "5MB")
        self.assertEqual((done["evicted"], done["blobs"], done["blob_bytes"]), (3, 3, 6_000_000))
        self.assertEqual(done["packs_removed"], 3)
        self.assertGreater(done["freed_bytes"], 6_000_000)
        self.assertLess(done["kept_bytes"], 5_000_000)
        self.assertEqual(len(glob.glob(self.server.data + "/packs/*/*.h5")), 2)
        # Read last, and stored last.
        self.assertEqual([self.hit(key) for key in keys], [True, False, False, False, True])
        why = self.server.jobs.Explain(jobs_pb2.ExplainRequest(caller=caller(), key=keys[1]))
        self.assertEqual(why.cause, jobs_pb2.MISS_EVICTED)
        self.assertEqual(submit(self.server, job("makes", 1)).outcome, jobs_pb2.GRANTED)
        # Known as evicted after a restart, too.
        self.server.stop()
        self.server.start()
        why = self.server.jobs.Explain(jobs_pb2.ExplainRequest(caller=caller(), key=keys[2]))
        self.assertEqual(why.cause, jobs_pb2.MISS_EVICTED)
        self.assertTrue(self.hit(keys[0]))

    def test_without_a_size_no_result_goes(self):
        key = self.made(1)
        array = numpy.random.default_rng(99).random(250_000)
        self.server.blobs.Put(parts(name_of(array), array.tobytes()))
        done = self.tiffin("gc")
        self.assertEqual((done["evicted"], done["blobs"], done["packs_removed"]), (0, 1, 1))
        self.assertGreater(done["kept_bytes"], 2_000_000)
        self.assertTrue(self.hit(key))

    def test_what_users_named_stays_and_is_told(self):
        key = self.made(1)
        self.server.jobs.Alias(jobs_pb2.AliasRequest(caller=caller(), set=jobs_pb2.AliasRequest.Set(
            alias=jobs_pb2.AliasName(profile="mine", name="best"), key=key)))
        left = self.tiffin("gc", "--max-bytes", "1MB", code=3)
        self.assertEqual(left["evicted"], 0)
        self.assertTrue(self.hit(key))

    def test_sizes_are_written_as_people_write_them(self):
        for text in ("10MB", "10000KiB", "5 MB", "2G"):
            self.tiffin("gc", "--dry-run", "--max-bytes", text)
        bad = subprocess.run([os.environ["TIFFIN_CLI_BINARY"], "gc", "--max-bytes", "much"],
                             capture_output=True)
        self.assertEqual(bad.returncode, 2)


if __name__ == "__main__":
    unittest.main()
