"""A data folder of an earlier schema, and a server that is killed while it migrates it: before each call in turn that
changes the database's files; half of the time the power fails as well.
"""
import base64, json, os, random, re, shutil, sqlite3, unittest

import grpc
from support import caller, get, job, record, store, submit
from tiffin.v1 import common_pb2, jobs_pb2

from clients import Client
from crash_server import CrashServer, DidNotStart
from disk_model import VARIANTS
from inspect_folder import inspect
from journal import Journal
from layer import CHANGES, Action

SEED = int(os.environ.get("TIFFIN_CRASH_SEED", random.randrange(1 << 32)))
STEPS = ["inline", "inline", "inline", "inline", "small_blobs", "inside_the_record", "batch", "large",
         "failure", "workflow", "workflow", "alias", "alias", "invalidate", "left_half_way", "inline"]
HERE = os.path.dirname(os.path.abspath(__file__))
DATABASE = "data/tiffin.db*"  # and its log


def migrations():
    """What each schema adds to the one before. Those that were released never change."""
    with open(os.path.join(HERE, "../../server/jobs/sqlite_schema.cc"), encoding="utf-8") as file:
        return re.findall(r'R"sql\((.*?)\)sql"', file.read(), re.DOTALL)


def schema_of(path):
    """Its version, and the text of its tables and indices."""
    database = sqlite3.connect(path)
    try:
        (version,), = database.execute("PRAGMA user_version")
        return version, sorted(database.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
    finally:
        database.close()


def make_older(path, version):
    """The database as the server of that schema would have written it: all in its log, as a kill leaves it."""
    newer = path + ".newer"
    os.rename(path, newer)
    with sqlite3.connect(newer) as database:
        (application,), = database.execute("PRAGMA application_id")
    database.close()
    older = sqlite3.connect(path, isolation_level=None)
    older.execute("PRAGMA journal_mode = WAL")
    older.execute("PRAGMA wal_autocheckpoint = 0")
    for sql in migrations()[:version]:
        older.executescript(sql)
    older.execute("DELETE FROM counters")
    older.execute("ATTACH ? AS newer", (newer,))
    older.execute("BEGIN")
    for table, in older.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall():
        copy_rows(older, table)
    older.execute("COMMIT")
    older.execute("DETACH newer")
    older.execute(f"PRAGMA application_id = {application}")
    older.execute(f"PRAGMA user_version = {version}")
    for suffix in ("", "-wal"):
        shutil.copy(path + suffix, path + suffix + ".kept")
    older.close()
    for suffix in ("", "-wal"):
        os.replace(path + suffix + ".kept", path + suffix)
    os.unlink(newer)


def copy_rows(database, table):
    def columns(schema):
        return [name for _, name, *_ in database.execute(f"PRAGMA {schema}.table_info({table})")]
    values = {name: name for name in columns("main") if name in columns("newer")}
    if "keep" in columns("main") and table == "leases":
        values["keep"] = "(SELECT keep FROM newer.jobs WHERE id = job)"
    database.execute(f"INSERT INTO main.{table} ({', '.join(values)}) "
                     f"SELECT {', '.join(values.values())} FROM newer.{table}")


class MigrationTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"TIFFIN_CRASH_SEED={SEED}", flush=True)
        cls.rng = random.Random(SEED)
        cls.server = CrashServer("--pin-time", "0", "--verify-rate", "0").start()
        cls.addClassCleanup(cls.server.close)
        cls.fill()
        assert cls.server.stop() == 0
        cls.newest = schema_of(cls.server.data + "/tiffin.db")
        cls.kept = cls.server.folder + "/kept"
        shutil.copytree(cls.server.data, cls.kept)

    @classmethod
    def fill(cls):
        """With a bit of everything, by a client that keeps what it was told."""
        cls.journal = Journal()
        client = Client(cls.journal, 0, SEED)
        client.use(cls.server)
        for step in STEPS:
            client.take(step)
        # A record that became a value, which the database knows by its digest.
        cls.opaque = {"_noodles": "0.3.0", "type": "<object>", "class": "m.Opaque",
                      "data": base64.b64encode(cls.rng.randbytes(6000)).decode()}
        answer = submit(cls.server, job("opaque", 1))
        store(cls.server, answer, cls.opaque)
        cls.value = answer.key
        # A result that is not to be kept, which earlier schemas said of the lease.
        cls.discarded = cls.lease_discarded()

    @classmethod
    def lease_discarded(cls):
        options = jobs_pb2.SubmitOptions(can_compute=True, discard_result=True)
        options.term.seconds = 3600
        return cls.server.jobs.Submit(jobs_pb2.SubmitRequest(
            caller=caller(request_id="discarded"), job=record(job("discarded", 1)), options=options))

    def older(self, version):
        """A folder of that schema; how many calls migrating it makes on the database's files."""
        folder = f"{self.server.folder}/version{version}"
        shutil.copytree(self.kept, folder)
        make_older(folder + "/tiffin.db", version)
        self.server.take(folder)
        self.assertGreater(os.path.getsize(self.server.data + "/tiffin.db-wal"), 32)
        self.server.control.set(0, Action.KILL_BEFORE, CHANGES, DATABASE, first=1 << 40)
        self.server.start()
        calls = self.server.control.seen(0)
        self.server.kill()
        self.assertNotEqual(version, self.newest[0])
        return folder, calls

    def test_schema_1(self):
        self.kill_at_each_call(1)

    def test_schema_2(self):
        self.kill_at_each_call(2)

    def test_schema_3(self):
        self.kill_at_each_call(3)

    def kill_at_each_call(self, version):
        folder, calls = self.older(version)
        self.assertGreater(calls, 5)
        for call in range(1, calls + 1):
            variant = self.rng.choice(VARIANTS) if self.rng.random() < 0.5 else "kept"
            with self.subTest(version=version, call=call, of=calls, variant=variant, seed=SEED):
                self.server.take(folder)
                self.kill_at(call)
                if variant != "kept":
                    self.server.power_cut(variant, self.rng)
                self.server.start()
                self.check()
        print(f"killed at each of {calls} calls of the migration from schema {version}", flush=True)

    def kill_at(self, call):
        self.server.control.set(0, Action.KILL_BEFORE, CHANGES, DATABASE, first=call)
        with self.assertRaises(DidNotStart):
            self.server.start()
        self.assertEqual(self.server.process.returncode, -9)
        self.assertEqual(self.server.control.hits(0), 1)
        self.server.control.clear()

    def check(self):
        """All that was stored is there, in the newest schema."""
        self.journal.check(self.server)
        result = self.server.jobs.GetResult(jobs_pb2.GetResultRequest(
            caller=caller(), job=jobs_pb2.JobName(key=self.value), bulk=common_pb2.BULK_INLINE)).result
        self.assertEqual(json.loads(result.record.json), self.opaque)
        again = self.lease_discarded()
        self.assertEqual((again.lease.id, again.lease.epoch),
                         (self.discarded.lease.id, self.discarded.lease.epoch))
        store(self.server, again, 7)
        with self.assertRaises(grpc.RpcError) as caught:
            get(self.server, again.key)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
        # It takes new work.
        answer = submit(self.server, job("new", 1))
        self.assertNotIn(answer.lease.epoch, self.journal.epochs)
        store(self.server, answer, 1)
        self.assertEqual(self.server.stop(), 0)
        inspect(self.server.data)
        self.assertEqual(schema_of(self.server.data + "/tiffin.db"), self.newest)


if __name__ == "__main__":
    unittest.main()
