"""A database that is damaged or gone: told when the server starts or comes upon it, and made anew from what is left."""
import glob, json, os, re, sqlite3, subprocess, unittest

import grpc
import numpy

from blob_support import name_of, parts, refer
from support import Server, caller, get, job, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2, jobs_pb2

PAGE = 4096


class Rebuild(unittest.TestCase):
    def setUp(self):
        self.server = Server("--verify-rate", "0")
        self.addCleanup(self.server.close)
        self.database = os.path.join(self.server.data, "tiffin.db")

    def made(self, n, array):
        self.server.blobs.Put(parts(name_of(array), array.tobytes()))
        answer = submit(self.server, job("makes", n, refer(array)))
        store(self.server, answer, [n, refer(array)])
        return answer.key

    def whole(self, array):
        messages = self.server.blobs.Deref(blobs_pb2.DerefRequest(
            caller=caller(), ref=blobs_pb2.BlobRef(name=name_of(array))))
        return b"".join(m.chunk for m in messages) == array.tobytes()

    def hit(self, key):
        try:
            get(self.server, key)
            return True
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.NOT_FOUND, error.details())
            return False

    def fill(self):
        rng = numpy.random.default_rng(1)
        arrays = [rng.random(200_000 if n % 3 else 2000 + n) for n in range(9)]
        keys = [self.made(n, array) for n, array in enumerate(arrays)]
        self.server.jobs.Alias(jobs_pb2.AliasRequest(caller=caller(), set=jobs_pb2.AliasRequest.Set(
            alias=jobs_pb2.AliasName(profile="p", name="n"), key=keys[0])))
        self.server.admin.Seal(admin_pb2.SealRequest())
        return arrays, keys

    def start_fails(self, *words):
        done = subprocess.run([os.environ["TIFFIN_SERVER_BINARY"], "--data", self.server.data,
                               "--listen", "127.0.0.1:0"], capture_output=True, text=True,
                              timeout=120)
        self.assertEqual(done.returncode, 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def rebuild(self):
        done = subprocess.run([os.environ["TIFFIN_SERVER_BINARY"], "--rebuild", "--data",
                               self.server.data], capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        with sqlite3.connect(self.database) as database:
            self.assertEqual(database.execute("PRAGMA integrity_check").fetchone(), ("ok",))
            self.assertEqual(database.execute("PRAGMA foreign_key_check").fetchall(), [])
        database.close()
        return done.stdout

    def root(self, name):
        """The root page of a table or index."""
        with sqlite3.connect(self.database) as database:
            database.execute("PRAGMA journal_mode = DELETE")  # all of it is in the file
            root = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?",
                                    (name,)).fetchone()[0]
        database.close()
        return root

    def spoil(self, page):
        with open(self.database, "r+b") as file:
            file.seek((page - 1) * PAGE)
            file.write(os.urandom(PAGE))

    def sound(self, arrays, keys, results=True):
        for array in arrays:
            self.assertTrue(self.whole(array))
        if results:
            self.assertEqual([self.hit(key) for key in keys], [True] * len(keys))
        last = list(self.server.admin.Verify(
            admin_pb2.VerifyRequest(caller=caller(), keys=True)))[-1]
        self.assertEqual((last.blobs, last.damaged_blobs), (len(arrays), 0))
        stats = self.server.admin.Stats(admin_pb2.StatsRequest())
        self.assertEqual((stats.blobs, stats.blob_bytes),
                         (len(arrays), sum(a.nbytes for a in arrays)))
        for n, array in enumerate(arrays):  # known: not sent again
            put = self.server.blobs.Put(parts(name_of(array), array.tobytes()))
            self.assertTrue(put.existed)

    def test_a_lost_database_is_told_and_blobs_are_found_again(self):
        arrays, keys = self.fill()
        self.server.stop()
        os.unlink(self.database)
        self.start_fails("tiffin.db is gone", "--rebuild")
        self.assertFalse(os.path.exists(self.database))
        said = self.rebuild()
        self.assertIn("9 were found in packs only", said)
        self.server.start()
        self.sound(arrays, keys, results=False)
        self.assertEqual([self.hit(key) for key in keys], [False] * 9)
        answer = submit(self.server, job("makes", 0, refer(arrays[0])))
        self.assertEqual((answer.outcome, list(answer.missing.blobs)), (jobs_pb2.GRANTED, []))
        self.assertGreater(answer.lease.epoch, 1_000_000)  # none is given twice

    def test_a_rebuild_that_was_broken_off_is_finished(self):
        arrays, keys = self.fill()
        self.server.stop()
        # As after a kill between moving the old database away and naming the new one.
        os.rename(self.database, self.database + ".rebuilt")
        self.start_fails("was broken off", "--rebuild")
        self.assertIn("a rebuild that was broken off is finished", self.rebuild())
        self.server.start()
        self.sound(arrays, keys)

    def test_what_a_rebuild_left_half_made_is_never_taken(self):
        arrays, keys = self.fill()
        self.server.stop()
        # The whole outcome of one that replaced nothing is older than the database: gone with the next start.
        for suffix in (".rebuilding", ".rebuilt"):
            with sqlite3.connect(self.database + suffix) as half:
                half.execute("CREATE TABLE namespaces (id INTEGER)")
            half.close()
        self.server.start()
        self.assertFalse(os.path.exists(self.database + ".rebuilt"))
        self.server.stop()
        os.unlink(self.database)
        self.start_fails("tiffin.db is gone", "--rebuild")
        self.assertIn("9 were found in packs only", self.rebuild())
        self.assertFalse(os.path.exists(self.database + ".rebuilding"))
        self.server.start()
        self.sound(arrays, keys, results=False)

    def test_a_damaged_blob_index_is_told_and_nothing_is_lost(self):
        for table in ("blobs", "blob_key", "uses"):
            with self.subTest(table):
                self.server = Server("--verify-rate", "0")
                self.addCleanup(self.server.close)
                self.database = os.path.join(self.server.data, "tiffin.db")
                arrays, keys = self.fill()
                last = submit(self.server, job("leased", 1)).lease
                self.server.stop()
                self.spoil(self.root(table))
                self.start_fails("the database is damaged", "--rebuild")
                self.rebuild()
                self.server.start()
                self.sound(arrays, keys)
                found = self.server.jobs.GetResult(jobs_pb2.GetResultRequest(
                    caller=caller(), job=jobs_pb2.JobName(alias=jobs_pb2.AliasName(
                        profile="p", name="n"))))
                self.assertEqual(json.loads(found.result.record.json)[0], 0)
                again = submit(self.server, job("leased", 2)).lease
                self.assertGreater(again.epoch, last.epoch)
                kept = glob.glob(self.server.data + "/tiffin.db.damaged-*")
                self.assertEqual(len([k for k in kept if re.search(r"Z$", k)]), 1)
                self.server.stop()
                self.server.start()  # once more, as any other

    def test_rows_that_lie_are_dropped(self):
        arrays, keys = self.fill()
        self.server.stop()
        with sqlite3.connect(self.database) as database:
            database.execute("UPDATE results SET record = replace(record, '[3,', '[4,') "
                             "WHERE record LIKE '[3,%'")
            database.execute("UPDATE job_records SET record = replace(record, 'makes', 'fakes') "
                             "WHERE job = 5")
            changed = database.total_changes
        database.close()
        self.assertEqual(changed, 2)
        said = self.rebuild()
        self.assertIn("jobs 8, lost 1", said)
        self.server.start()
        self.assertEqual([self.hit(key) for key in keys],
                         [True, True, True, False, False, True, True, True, True])
        why = self.server.jobs.Explain(jobs_pb2.ExplainRequest(caller=caller(), key=keys[3]))
        self.assertEqual(why.cause, jobs_pb2.MISS_DAMAGED)

    def test_damage_found_in_use_is_told_and_stops_writing(self):
        """A page deep inside a large database: the start does not see it."""
        record = {"text": "x" * 200_000}
        keys = []
        for n in range(120):  # more than is checked when it is opened
            answer = submit(self.server, job("big", n))
            store(self.server, answer, dict(record, n=n))
            keys.append(answer.key)
        self.server.stop()
        self.root("results")
        self.assertGreater(os.path.getsize(self.database), 16 << 20)
        with sqlite3.connect(self.database) as database:
            leaf = self.leaf_of(database, "results", 60)
        database.close()
        self.spoil(leaf)
        self.server.start()
        codes = set()
        for key in keys:
            try:
                get(self.server, key)
            except grpc.RpcError as error:
                codes.add(error.code())
                self.assertIn("--rebuild", error.details())
        self.assertEqual(codes, {grpc.StatusCode.DATA_LOSS})
        self.server.stop()
        self.rebuild()
        self.server.start()
        hits = [self.hit(key) for key in keys]
        self.assertFalse(all(hits))
        self.assertGreater(sum(hits), 100)  # what is on other pages is there

    @staticmethod
    def leaf_of(database, table, rowid):
        """The number of the leaf page of a rowid, by walking the tree (SQLite's file format, 1.6)."""
        size = database.execute("PRAGMA page_size").fetchone()[0]
        page = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?",
                                (table,)).fetchone()[0]
        path = database.execute("PRAGMA database_list").fetchone()[2]

        def varint(data, at):
            value = 0
            for i in range(9):
                byte = data[at + i]
                if i == 8:
                    return value << 8 | byte
                value = value << 7 | byte & 0x7f
                if byte < 0x80:
                    return value
        with open(path, "rb") as file:
            while True:
                file.seek((page - 1) * size)
                data = file.read(size)
                if data[0] == 13:
                    return page
                count = int.from_bytes(data[3:5], "big")
                child = int.from_bytes(data[8:12], "big")
                for i in range(count):
                    cell = int.from_bytes(data[12 + 2 * i:14 + 2 * i], "big")
                    if rowid <= varint(data, cell + 4):
                        child = int.from_bytes(data[cell:cell + 4], "big")
                        break
                page = child

    def test_a_server_that_runs_is_not_disturbed(self):
        done = subprocess.run([os.environ["TIFFIN_SERVER_BINARY"], "--rebuild", "--data",
                               self.server.data], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 1)
        self.assertIn("another server owns", done.stderr)
        done = self.verify_rebuild(self.server.data)
        self.assertEqual(done.returncode, 1)
        self.assertIn("another server owns", done.stderr)

    def verify_rebuild(self, *folder, **environment):
        """`tiffin verify --rebuild`, with a server's program in PATH."""
        programs = os.path.dirname(os.environ["TIFFIN_SERVER_BINARY"])
        environment = dict(os.environ, PATH=programs + ":" + os.environ["PATH"], **environment)
        return subprocess.run([os.environ["TIFFIN_CLI_BINARY"], "verify", "--rebuild", *folder],
                              capture_output=True, text=True, timeout=120, env=environment)

    def test_verify_of_the_command_line_rebuilds_too(self):
        arrays, keys = self.fill()
        self.server.stop()
        for arguments in ([self.server.data], []):
            os.unlink(self.database)
            done = self.verify_rebuild(*arguments, TIFFIN_DATA=self.server.data)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("9 were found in packs only", done.stdout)
        done = self.verify_rebuild()
        self.assertEqual(done.returncode, 2)
        self.assertIn("--rebuild DIR", done.stderr)
        self.server.start()
        self.sound(arrays, keys, results=False)

    def test_a_folder_without_packs_is_refused(self):
        done = subprocess.run([os.environ["TIFFIN_SERVER_BINARY"], "--rebuild", "--data", "/tmp"],
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no data folder of tiffin", done.stderr)


if __name__ == "__main__":
    unittest.main()
