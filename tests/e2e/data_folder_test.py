"""Folders that a server must not, or cannot, take: refused with what to do; and a clock that was set back."""
import contextlib, ctypes, os, sqlite3, subprocess, tempfile, unittest

import grpc
import numpy

from blob_support import name_of, parts, refer
from support import Server, caller, get, job, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2, jobs_pb2

NOBODY = 65534
libc = ctypes.CDLL(None, use_errno=True)


class Refused(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tiffin-folder-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        os.chmod(self.folder, 0o755)
        self.data = os.path.join(self.folder, "data")

    def refused(self, *words, user=None):
        done = subprocess.run(
            [os.environ["TIFFIN_SERVER_BINARY"], "--data", self.data, "--listen", "127.0.0.1:0"],
            capture_output=True, text=True, timeout=120, user=user, group=user)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stderr.count("level=critical"), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def used(self):
        """Makes it a data folder with something in it."""
        server = Server("--verify-rate", "0")
        array = numpy.arange(200_000)
        server.blobs.Put(parts(name_of(array), array.tobytes()))
        server.stop()
        os.rename(server.data, self.data)
        server.close()

    def test_a_newer_schema(self):
        self.used()
        with sqlite3.connect(self.data + "/tiffin.db") as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
        self.refused("newer tiffin", "version 99")

    def test_a_database_that_another_process_has_open(self):
        self.used()
        with contextlib.closing(sqlite3.connect(self.data + "/tiffin.db")) as other:
            other.execute("SELECT count(*) FROM jobs").fetchall()
            self.refused("tiffin.db", "another process has the database open")

    def test_a_database_of_a_running_server_is_closed_to_others(self):
        server = Server()
        self.addCleanup(server.close)
        path = server.data + "/tiffin.db"
        with contextlib.closing(sqlite3.connect(path, timeout=0)) as other:
            with self.assertRaisesRegex(sqlite3.OperationalError, "locked"):
                other.execute("SELECT count(*) FROM jobs").fetchall()
        # What is mapped could be cut, and reading it then would end the server.
        with open(f"/proc/{server.process.pid}/maps") as maps:
            self.assertNotIn(path, maps.read())
        self.assertEqual(submit(server, job("f", 1)).outcome, jobs_pb2.GRANTED)

    def test_a_folder_of_something_else(self):
        os.mkdir(self.data)
        with open(self.data + "/letter.txt", "w") as file:
            file.write("dear")
        self.refused("no data folder of tiffin", "letter.txt")
        self.assertEqual(os.listdir(self.data), ["letter.txt"])

    def test_a_folder_that_only_has_names_of_a_data_folder(self):
        """What it has there would be swept."""
        for name in ("tmp", "uploads"):
            os.makedirs(os.path.join(self.data, name))
            with open(os.path.join(self.data, name, "thesis.txt"), "w") as file:
                file.write("five years")
            self.refused("no data folder of tiffin", "but no tiffin.db")
            self.assertEqual(os.listdir(os.path.join(self.data, name)), ["thesis.txt"])

    def test_a_database_of_something_else(self):
        os.mkdir(self.data)
        with sqlite3.connect(self.data + "/tiffin.db") as database:
            database.execute("CREATE TABLE t (a)")
        database.close()
        self.refused("not a database of tiffin")

    @unittest.skipUnless(os.geteuid() == 0, "root is needed to be another user")
    def test_a_folder_of_another_user(self):
        self.used()
        self.refused("cannot write to", "belong to the user", user=NOBODY)

    @unittest.skipUnless(os.geteuid() == 0, "root is needed to be another user")
    def test_a_part_of_another_user(self):
        self.used()
        for path in (self.data, *(os.path.join(self.data, n) for n in os.listdir(self.data))):
            os.chown(path, NOBODY, NOBODY)
        os.chown(self.data + "/open", 0, 0)
        self.refused("cannot write to", "data/open", user=NOBODY)
        os.chown(self.data + "/open", NOBODY, NOBODY)
        self.refused("cannot write to", "data/packs/", user=NOBODY)

    def test_a_read_only_file_system(self):
        self.used()
        if libc.mount(self.folder.encode(), self.folder.encode(), None, 4096, None) != 0:  # MS_BIND
            self.skipTest("mounting is not permitted here (root is needed)")
        self.addCleanup(lambda: libc.umount2(self.folder.encode(), 2))
        read_only = 4096 | 32 | 1  # MS_BIND, MS_REMOUNT, MS_RDONLY
        if libc.mount(None, self.folder.encode(), None, read_only, None) != 0:
            self.skipTest("mounting read-only is not permitted here")
        self.refused("Read-only file system", "cannot write to")


class Clock(unittest.TestCase):
    def test_a_clock_that_was_set_back_changes_nothing_but_times(self):
        """What is stored is from next year, as it would be had the clock been set back by one."""
        server = Server("--verify-rate", "0", "--pin-time", "0", "--term", "600")
        self.addCleanup(server.close)
        arrays = [numpy.random.default_rng(n).random(200_000) for n in range(3)]
        keys = []
        for n, array in enumerate(arrays):
            server.blobs.Put(parts(name_of(array), array.tobytes()))
            answer = submit(server, job("makes", n))
            store(server, answer, refer(array))
            keys.append(answer.key)
        held = submit(server, job("held", 1), request_id="r")
        server.stop()
        year = 365 * 86400 * 1_000_000
        path = server.data + "/tiffin.db"
        with sqlite3.connect(path) as database:
            for table, column in (("results", "stored"), ("jobs", "created"), ("blobs", "created"),
                                  ("leases", "granted"), ("sessions", "since"), ("hits", "last")):
                database.execute(f"UPDATE {table} SET {column} = {column} + {year}")
            for table in ("results", "jobs"):  # as written without checksums
                database.execute(f"UPDATE {table} SET checksum = 0")
        database.close()
        ahead = os.stat(path).st_mtime + year / 1_000_000
        os.utime(path, (ahead, ahead))
        server.start()
        self.assertIn("event=clock", "".join(server.before))
        for key, array in zip(keys, arrays):
            get(server, key)
            messages = server.blobs.Deref(blobs_pb2.DerefRequest(
                caller=caller(), ref=blobs_pb2.BlobRef(name=name_of(array))))
            self.assertEqual(b"".join(m.chunk for m in messages), array.tobytes())
        # The lease has a full term, neither more nor less: its holder goes on.
        self.assertEqual(server.jobs.Renew(jobs_pb2.RenewRequest(
            caller=caller(), leases=[held.lease.id])).outcomes[0], jobs_pb2.RenewResponse.RENEWED)
        self.assertEqual(submit(server, job("held", 1), host="elsewhere").outcome,
                         jobs_pb2.ATTACHED)
        store(server, held, "done")
        # New epochs still grow, new results are older than the old ones, and eviction copes.
        again = submit(server, job("new", 1))
        self.assertGreater(again.lease.epoch, held.lease.epoch)
        store(server, again, 1)
        done = server.admin.Collect(admin_pb2.CollectRequest(caller=caller(), max_bytes=2_500_000))
        self.assertGreater(done.evicted, 1)
        listed = server.jobs.ListJobs(jobs_pb2.ListJobsRequest(caller=caller())).jobs
        self.assertEqual(len(listed), 5)


if __name__ == "__main__":
    unittest.main()
