"""A disk that is really full: a small file system of its own, in memory and on a file with ext4."""
import glob, os, random, shutil, subprocess, unittest

import grpc
from blob_support import name_of, ref_of
from support import caller, get, job, store, submit
from tiffin.v1 import admin_pb2, jobs_pb2

from crash_server import CrashServer
from inspect_folder import inspect
from journal import check_blob
from workload import batch_put, put_array, random_array

FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
MIB = 1 << 20


def run(*command):
    return subprocess.run(command, capture_output=True, text=True)


class DiskFull:
    """What both file systems are put to. The layer is not needed, and left out of the tape's work."""

    def setUp(self):
        self.server = CrashServer("--pin-time", "0", tape=False)
        self.addCleanup(self.server.close)
        self.mount(self.server.root)
        self.addCleanup(run, "umount", "-l", self.server.root)
        self.ballast = os.path.join(self.server.root, "ballast")
        self.server.start()
        self.rng = random.Random(1)
        self.stored = []

    # ---- parts

    def use(self, number, size):
        """A job with a blob; kept if it was acknowledged."""
        answer = submit(self.server, job("f", number, size))
        array = random_array(self.rng, size)
        if size < MIB:
            batch_put(self.server, [array])
        else:
            put_array(self.server, array, key=number % 2 == 0)
        store(self.server, answer, ref_of(name_of(array)))
        self.stored.append((answer.key, name_of(array)))

    def refused(self, what, *arguments):
        with self.assertRaises(grpc.RpcError) as caught:
            what(*arguments)
        self.assertEqual(caught.exception.code(), FULL, caught.exception.details())

    def fill(self, leave=0):
        free = shutil.disk_usage(self.server.root).free - leave
        with open(self.ballast, "ab", buffering=0) as file:
            block = bytes(MIB)
            try:
                while free > 0:
                    free -= file.write(block[:min(free, MIB)])
            except OSError:
                pass
            try:
                while not leave and file.write(bytes(4096)):
                    pass
            except OSError:
                pass

    def all_is_there(self):
        for key, name in self.stored:
            get(self.server, key)
            check_blob(self.server, name)

    # ---- promises

    def test_writes_are_refused_reads_go_on_and_all_resumes_when_there_is_space(self):
        for number in range(6):
            self.use(number, (20_000, 2 * MIB)[number % 2])
        self.fill()
        for number in range(10, 16):
            self.refused(self.use, number, (20_000, 2 * MIB)[number % 2])
        self.all_is_there()
        lease = self.server.jobs.Renew(jobs_pb2.RenewRequest(caller=caller(), leases=[b"x" * 16]))
        self.assertEqual(len(lease.outcomes), 1)
        os.unlink(self.ballast)
        for number in range(10, 16):
            self.use(number, (20_000, 2 * MIB)[number % 2])
        self.all_is_there()
        self.ends_well()

    def test_it_fills_up_by_itself_and_collecting_makes_room(self):
        put_array(self.server, random_array(self.rng, 4 * MIB))
        refused = 0
        for number in range(200):
            try:
                self.use(number, self.rng.choice((1000, 100_000, 3 * MIB)))
            except grpc.RpcError as error:
                self.assertEqual(error.code(), FULL, error.details())
                refused += 1
                if refused == 20:
                    break
        self.assertEqual(refused, 20, "it never got full")
        self.all_is_there()
        # What failed has left nothing that takes space.
        self.assertEqual(glob.glob(self.server.data + "/tmp/*"), [])
        keys = [key for key, _ in self.stored[::2]]
        self.server.jobs.Invalidate(jobs_pb2.InvalidateRequest(caller=caller(), keys=keys))
        self.stored = self.stored[1::2]
        self.server.admin.Collect(admin_pb2.CollectRequest())
        self.use(1000, 3 * MIB)
        self.use(1001, 1000)
        self.all_is_there()
        self.ends_well()

    def test_a_kill_on_a_full_disk_loses_nothing(self):
        for number in range(6):
            self.use(number, (20_000, 2 * MIB)[number % 2])
        self.fill()
        self.refused(self.use, 10, 20_000)
        self.server.kill()
        os.unlink(self.ballast)
        self.fill(leave=MIB)  # for the log's index, which SQLite keeps beside it
        self.server.start()
        self.all_is_there()
        os.unlink(self.ballast)
        self.use(11, 2 * MIB)
        self.ends_well()

    def ends_well(self):
        self.assertEqual(self.server.stop(), 0)
        inspect(self.server.data)


class InMemoryTest(DiskFull, unittest.TestCase):
    def mount(self, path):
        done = run("mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", path)
        if done.returncode != 0:
            self.skipTest("no tmpfs can be mounted here: " + done.stderr.strip())


class Ext4Test(DiskFull, unittest.TestCase):
    def mount(self, path):
        image = os.path.join(self.server.folder, "image")
        with open(image, "wb") as file:
            file.truncate(64 * MIB)
        for command in (("mkfs.ext4", "-q", "-m", "0", image), ("mount", "-o", "loop", image, path)):
            try:
                done = run(*command)
            except FileNotFoundError as missing:
                self.skipTest(f"no {missing.filename} here")
            if done.returncode != 0:
                self.skipTest("no file with ext4 can be mounted here: " + done.stderr.strip())


if __name__ == "__main__":
    unittest.main()
