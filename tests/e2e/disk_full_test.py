"""A disk that fills up, a real one: writes are refused, reads go on, space freed is writes again."""
import ctypes, os, subprocess, tempfile, unittest

import grpc
import numpy

from blob_support import name_of, parts, refer
from support import Server, caller, get, job, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2, jobs_pb2

MIB = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)


def mount_tmpfs(path, size):
    """False if this user may not."""
    return libc.mount(b"tmpfs", path.encode(), b"tmpfs", 0, f"size={size}".encode()) == 0


class SmallDisk(Server):
    """A server whose data folder is a file system of 48 MiB."""

    def __init__(self, *flags):
        self.mounted = tempfile.mkdtemp(prefix="tiffin-disk-")
        if not mount_tmpfs(self.mounted, 48 * MIB):
            os.rmdir(self.mounted)
            raise unittest.SkipTest("mounting a tmpfs is not permitted here (root is needed)")
        super().__init__("--reserve", str(8 * MIB), "--open-pack", str(2 * MIB),
                         "--pin-time", "0", "--verify-rate", "0", *flags)

    def start(self, listen="127.0.0.1:0"):
        self.data = os.path.join(self.mounted, "data")
        super().start(listen)

    def close(self):
        super().close()
        libc.umount2(self.mounted.encode(), 0)
        os.rmdir(self.mounted)


class DiskFull(unittest.TestCase):
    def setUp(self):
        self.server = SmallDisk()
        self.addCleanup(self.server.close)
        self.reserve = os.path.join(self.server.data, "reserve")

    def put(self, array):
        return self.server.blobs.Put(parts(name_of(array), array.tobytes())).name

    def refused(self, call):
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED,
                         caught.exception.details())

    def stats(self):
        return self.server.admin.Stats(admin_pb2.StatsRequest())

    def fill(self):
        """Stores arrays of 1 MiB until the disk is full; gives those that were acknowledged."""
        stored = []
        while True:
            array = numpy.random.default_rng(len(stored)).random(MIB // 8)
            try:
                self.put(array)
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
                return stored
            stored.append(array)

    def fill_rest(self):
        """Takes the last bytes, which no blob fits into; the file."""
        path = os.path.join(self.server.mounted, "filler")
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(file, b"x" * 4096):
                pass
        except OSError:
            pass
        os.close(file)
        return path

    def whole(self, array):
        request = blobs_pb2.DerefRequest(caller=caller(), ref=blobs_pb2.BlobRef(name=name_of(array)))
        return b"".join(m.chunk for m in self.server.blobs.Deref(request)) == array.tobytes()

    def write(self, n):
        store(self.server, submit(self.server, job("f", n)), n)

    def test_full_refuses_reads_and_collects_without_a_restart(self):
        self.assertEqual(os.path.getsize(self.reserve), 8 * MIB)
        kept = numpy.random.default_rng(77).random(200_000)
        self.put(kept)
        done = submit(self.server, job("kept", 1))
        store(self.server, done, [refer(kept)])
        open_lease = submit(self.server, job("open", 1))
        stored = self.fill()
        self.fill_rest()
        while not self.stats().disk_full:
            pass
        self.assertEqual(os.path.getsize(self.reserve), 0)
        # Writes are refused, all kinds of them.
        self.refused(lambda: submit(self.server, job("new", 1)))
        self.refused(lambda: store(self.server, open_lease, "value"))
        self.refused(lambda: self.put(numpy.arange(200_000)))
        self.refused(lambda: self.put(numpy.arange(10)))
        # Reads go on, of the cache and of the disk; so do leases.
        self.assertEqual(submit(self.server, job("kept", 1)).outcome, jobs_pb2.RETRIEVED)
        self.assertTrue(get(self.server, done.key))
        self.assertTrue(self.whole(kept))
        self.assertTrue(all(self.whole(array) for array in stored))
        self.assertEqual(self.server.jobs.Renew(jobs_pb2.RenewRequest(
            caller=caller(), leases=[open_lease.lease.id])).outcomes[0],
            jobs_pb2.RenewResponse.RENEWED)
        # Collect can commit, as the reserve was given up, and makes room.
        freed = self.server.admin.Collect(admin_pb2.CollectRequest(caller=caller()))
        self.assertEqual(freed.blobs, len(stored))
        self.assertGreater(freed.freed_bytes, len(stored) * MIB)
        self.assertFalse(self.stats().disk_full)
        self.assertEqual(os.path.getsize(self.reserve), 8 * MIB)
        store(self.server, open_lease, "value")
        self.write(1)
        self.put(numpy.arange(200_000))
        self.assertTrue(self.whole(kept))

    def test_space_freed_by_others_is_noticed(self):
        filler = os.path.join(self.server.mounted, "filler")
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.stats().free_bytes - 4 * MIB)
        while not self.stats().disk_full:
            pass
        self.refused(lambda: self.write(1))
        os.unlink(filler)
        while self.stats().disk_full:
            pass
        self.write(1)
        self.assertEqual(os.path.getsize(self.reserve), 8 * MIB)

    def test_a_server_starts_on_a_full_disk_and_answers(self):
        self.write(1)
        self.server.stop()
        filler = self.fill_rest()
        self.server.start()
        self.assertEqual(submit(self.server, job("f", 1)).outcome, jobs_pb2.RETRIEVED)
        self.refused(lambda: self.write(2))
        os.unlink(filler)
        while self.stats().disk_full:
            pass
        self.write(2)


if __name__ == "__main__":
    unittest.main()
