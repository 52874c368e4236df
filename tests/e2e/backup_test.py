"""Copies made while others write: a server that is started on one has all that was acknowledged before."""
import ctypes, glob, json, os, signal, subprocess, tempfile, threading, unittest, uuid

import grpc
import numpy

from blob_support import name_of, parts, refer
from support import Server, caller, get, job, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2, jobs_pb2

libc = ctypes.CDLL(None, use_errno=True)


class CopiedServer(Server):
    """On a data folder that is there already."""

    def __init__(self, data, *flags):
        self.copy = data
        super().__init__("--verify-rate", "0", *flags)

    def start(self, listen="127.0.0.1:0"):
        self.data = self.copy
        super().start(listen)


class Backup(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tiffin-backups-")
        self.addCleanup(folder.cleanup)
        self.backups = folder.name
        self.server = Server("--verify-rate", "0", "--backups", self.backups,
                             "--open-pack", str(4 << 20))
        self.addCleanup(self.server.close)

    def made(self, server, n, array):
        server.blobs.Put(parts(name_of(array), array.tobytes()))
        answer = submit(server, job("makes", n))
        store(server, answer, [n, refer(array)])
        return answer.key

    def backup(self, name):
        return list(self.server.admin.Backup(admin_pb2.BackupRequest(
            caller=caller(), name=name)))[-1]

    def fails(self, code, words, name):
        with self.assertRaises(grpc.RpcError) as caught:
            self.backup(name)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assertIn(words, caught.exception.details())

    def check(self, path, stored):
        server = CopiedServer(path)
        self.addCleanup(server.close)
        for key, array in stored:
            self.assertEqual(json.loads(get(server, key).record.json)[1], refer(array))
            messages = server.blobs.Deref(blobs_pb2.DerefRequest(
                caller=caller(), ref=blobs_pb2.BlobRef(name=name_of(array))))
            self.assertEqual(b"".join(m.chunk for m in messages), array.tobytes())
        last = list(server.admin.Verify(admin_pb2.VerifyRequest(caller=caller(), keys=True)))[-1]
        self.assertEqual(last.damaged_blobs, 0)
        # It takes new work, too, and gives nobody's epoch again.
        answer = submit(server, job("new", uuid.uuid4().hex))
        store(server, answer, 1)
        self.assertGreater(answer.lease.epoch, len(stored))
        return server

    def test_a_copy_made_while_others_write_is_whole(self):
        rng = numpy.random.default_rng(1)
        stored = []
        for n in range(6):  # large: packs of their own; small: an open pack
            array = rng.random(200_000 if n % 2 else 2000)
            stored.append((self.made(self.server, n, array), array))
        self.server.admin.Seal(admin_pb2.SealRequest())
        for n in range(6, 9):
            array = rng.random(1000 + n)
            stored.append((self.made(self.server, n, array), array))
        stop = threading.Event()
        writers = []

        def write(first):
            mine = numpy.random.default_rng(first)
            n = first
            while not stop.is_set():
                n += 1
                self.made(self.server, n, mine.random(1500 if n % 5 else 140_000))
        for first in (1000, 2000):
            writers.append(threading.Thread(target=write, args=(first,)))
            writers[-1].start()
        paths = [self.backup(f"copy{i}").path for i in range(3)]
        stop.set()
        for writer in writers:
            writer.join()
        self.assertEqual(paths[0], os.path.join(self.backups, "copy0"))
        for path in paths:
            self.check(path, stored).close()
        self.assertEqual(sorted(os.listdir(self.backups)), ["copy0", "copy1", "copy2"])
        # The copy does not need the original.
        self.server.stop()
        for pack in glob.glob(self.server.data + "/packs/*/*.h5"):
            os.unlink(pack)
        self.check(paths[0], stored)

    def test_sealed_packs_cost_nothing_and_the_command_line_tells_the_place(self):
        array = numpy.random.default_rng(2).random(300_000)
        stored = [(self.made(self.server, 1, array), array)]
        done = subprocess.run([os.environ["TIFFIN_CLI_BINARY"], "--server", self.server.address,
                               "backup", "by-hand"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(os.path.join(self.backups, "by-hand"), done.stdout)
        packs = glob.glob(self.backups + "/by-hand/packs/*/*.h5")
        self.assertEqual([os.stat(pack).st_nlink for pack in packs], [2])
        self.check(self.backups + "/by-hand", stored)

    def test_names_that_are_taken_or_no_names_are_refused(self):
        self.backup("first")
        self.fails(grpc.StatusCode.ALREADY_EXISTS, "first", "first")
        for name in ("", ".", "..", ".hidden", "a/b", "/etc", "../up", "a\0b", "x" * 300):
            self.fails(grpc.StatusCode.INVALID_ARGUMENT, "name", name)
        self.assertEqual(os.listdir(self.backups), ["first"])

    def test_what_a_killed_server_left_unfinished_goes_at_the_next_start(self):
        os.makedirs(self.backups + "/.half.partial/packs")
        os.mkdir(self.backups + "/others")
        self.server.stop(signal.SIGKILL)
        self.server.start()
        self.assertEqual(os.listdir(self.backups), ["others"])
        self.backup("half")

    def test_without_a_folder_it_is_refused(self):
        server = Server("--verify-rate", "0")
        self.addCleanup(server.close)
        with self.assertRaises(grpc.RpcError) as caught:
            list(server.admin.Backup(admin_pb2.BackupRequest(name="x")))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
        self.assertIn("--backups", caught.exception.details())

    def test_another_disk_gets_copies_and_a_full_one_keeps_nothing(self):
        small = tempfile.mkdtemp(prefix="tiffin-disk-")
        if libc.mount(b"tmpfs", small.encode(), b"tmpfs", 0, b"size=16M") != 0:
            os.rmdir(small)
            self.skipTest("mounting a tmpfs is not permitted here (root is needed)")
        self.addCleanup(lambda: (libc.umount2(small.encode(), 2), os.rmdir(small)))
        self.server.stop()
        self.server.flags = ("--verify-rate", "0", "--backups", small, "--open-pack", str(2 << 20))
        self.server.start()
        rng = numpy.random.default_rng(3)
        stored = []
        for n in range(2):
            array = rng.random(200_000)
            stored.append((self.made(self.server, n, array), array))
        path = self.backup("fits").path
        self.assertEqual({os.stat(p).st_nlink for p in glob.glob(path + "/packs/*/*.h5")}, {1})
        for n in range(2, 14):
            self.made(self.server, n, rng.random(200_000))
        self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "copying", "too-large")
        self.assertEqual(os.listdir(small), ["fits"])
        get(self.server, stored[0][0])  # the server goes on
        self.server.stop()
        # Room for the copy's own server: its database and packs stay, the rest of the disk is free.
        other = tempfile.TemporaryDirectory(prefix="tiffin-copy-")
        self.addCleanup(other.cleanup)
        subprocess.run(["cp", "-r", path, other.name + "/data"], check=True)
        self.check(other.name + "/data", stored)


if __name__ == "__main__":
    unittest.main()
