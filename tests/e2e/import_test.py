"""`tiffin import`: databases that Noodles made, and worse ones, brought to a real server."""
import contextlib, hashlib, json, os, sqlite3, subprocess, tempfile, unittest

from support import Server, caller, submit
from tiffin.v1 import common_pb2, jobs_pb2

CLI = os.environ["TIFFIN_CLI_BINARY"]
DATA = os.path.join(os.path.dirname(__file__), "..", "data")
DONE, MISS, WRONG_USE, REFUSED, UNREACHABLE = range(5)
# Of the 28 rows in noodles-database-*.sql.
FIRST = {"stored": 15, "known": 1, "duplicate": 2, "final": 2, "unfinished": 2, "failed": 5,
         "unversioned": 1, "differs": 0, "refused": 0, "unreadable": 0}
SECOND = dict(FIRST, stored=0, known=16)


def function_node(row):
    """The job record of a row whose version is a string."""
    data = {"function": json.loads(row["function"]), "arguments": json.loads(row["arguments"]),
            "hints": {"version": row["version"]}}
    return {"_noodles": "0.3.0", "type": "<object>",
            "class": "noodles.workflow.model.FunctionNode", "data": data}


class ImportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.close)

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tiffin-import-")
        self.addCleanup(folder.cleanup)
        self.file = os.path.join(folder.name, "jobs.db")
        self.namespace = "import/" + self.id().rsplit(".", 1)[1]
        self.env = dict(os.environ, TIFFIN_SERVER=self.server.address, TIFFIN_PATIENCE="10s",
                        TIFFIN_NAMESPACE=self.namespace)

    def database(self, printer="json", changes=""):
        with open(os.path.join(DATA, "noodles-database-%s.sql" % printer), encoding="utf-8") as dump:
            sql = dump.read()
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            connection.executescript(sql + changes)

    def row(self, row):
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute("SELECT * FROM jobs WHERE id = ?", (row,)).fetchone()

    def cli(self, *arguments):
        return subprocess.run([CLI, *arguments], env=self.env, capture_output=True, text=True,
                              timeout=240)

    def imported(self, *flags, code=DONE):
        """The counts that the import printed, and the rows it told of."""
        ran = self.cli("--json", "import", self.file, *flags)
        self.assertEqual(ran.returncode, code, (ran.stdout, ran.stderr))
        *rows, counts = map(json.loads, ran.stdout.splitlines())
        return counts, {row["row"]: row for row in rows}

    def counted(self, expected, *flags, code=DONE):
        counts, rows = self.imported(*flags, code=code)
        self.assertEqual({name: counts[name] for name in expected}, expected, rows)
        return counts, rows

    def by_alias(self, profile, row):
        ran = self.cli("get", "--alias", profile, self.row(row)["prov"])
        self.assertEqual(ran.returncode, DONE, ran.stderr)
        return json.loads(ran.stdout)

    def key(self, row):
        job = subprocess.run([CLI, "key"], input=json.dumps(function_node(self.row(row))), text=True,
                             env=self.env, capture_output=True, check=True)
        return job.stdout.strip()

    def shown(self, row):
        ran = self.cli("--json", "show", self.key(row))
        self.assertEqual(ran.returncode, DONE, ran.stderr)
        return json.loads(ran.stdout)

    def stored_jobs(self):
        ran = self.cli("--json", "ls", "--limit", "10000")
        self.assertEqual(ran.returncode, DONE, ran.stderr)
        return len(ran.stdout.splitlines())

    def test_once_stores_and_twice_knows(self):
        for printer in ("json", "ujson"):
            with self.subTest(printer):
                self.env["TIFFIN_NAMESPACE"] = self.namespace + printer
                self.file = self.file + printer
                self.database(printer)
                with open(self.file, "rb") as file:
                    before = file.read()
                counts, rows = self.counted(FIRST)
                self.assertEqual((counts["links"], counts["aliases"]), (2, 15))
                self.assertIn("__main__", rows[28]["reason"])
                profile = "noodles/" + printer
                self.assertEqual(self.by_alias(profile, 3), 12)
                self.assertEqual(self.by_alias(profile, 6), 6)    # factorial(3), by its link
                self.assertEqual(self.by_alias(profile, 22), 101)  # its final job was not stored
                ran = self.cli("get", self.key(3))
                self.assertEqual(json.loads(ran.stdout), 12)
                counts, _ = self.counted(SECOND)
                self.assertEqual((counts["links"], counts["aliases"]), (0, 0))
                with open(self.file, "rb") as file:
                    self.assertEqual(file.read(), before)
                self.assertFalse(os.path.exists(self.file + "-journal"))

    def test_workflows_follow_the_job_with_their_result(self):
        self.database()
        self.counted(FIRST)
        workflow = self.shown(6)
        self.assertEqual(workflow["state"].lower().removeprefix("job_"), "linked")
        self.assertEqual(workflow["linked_to"], self.key(10))
        self.assertEqual(self.shown(22)["state"].lower().removeprefix("job_"), "done")

    def test_the_job_of_a_row_is_the_job_that_was_submitted(self):
        self.database()
        self.counted(FIRST)
        for row in (1, 6, 12, 15, 27):
            answer = submit(self.server, function_node(self.row(row)), self.namespace)
            self.assertEqual(answer.outcome, jobs_pb2.RETRIEVED, row)

    def test_arrays_leave_the_records(self):
        self.database()
        self.counted(FIRST)
        array = self.by_alias("noodles/json", 12)
        self.assertEqual((array["ref"], array["data"]["shape"]), (True, [2, 300]))

    def test_dry_run_stores_nothing(self):
        self.database()
        counts, _ = self.counted(FIRST, "--dry-run")
        self.assertEqual((counts["dry_run"], counts["links"], counts["aliases"]), (True, 2, 15))
        self.assertEqual(self.stored_jobs(), 0)
        self.counted(FIRST)
        self.counted(SECOND, "--dry-run")

    def test_nulls_are_results_if_told(self):
        self.database()
        counts, _ = self.counted({"stored": 20, "failed": 0}, "--nulls")
        self.assertEqual(counts["links"], 3)
        self.counted({"stored": 0, "known": 21}, "--nulls")

    def test_another_result_stays_and_is_told(self):
        self.database()
        self.counted(FIRST)
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            connection.execute("UPDATE jobs SET result = '13' WHERE id = 3")
            connection.execute("UPDATE jobs SET result = '7' WHERE id = 10")  # of workflows 6 and 7
            connection.commit()
        _, rows = self.counted({"stored": 0, "differs": 3, "known": 13}, code=REFUSED)
        self.assertEqual(rows[3]["outcome"], "differs")
        self.assertEqual(self.by_alias("noodles/json", 3), 12)
        self.assertEqual(self.by_alias("noodles/json", 6), 6)
        ran = self.cli("import", self.file)
        self.assertEqual(ran.returncode, REFUSED)
        self.assertIn("another result is stored", ran.stdout)

    def test_a_name_that_points_elsewhere_stays(self):
        self.database()
        self.counted(FIRST)
        prov = self.row(3)["prov"]
        ran = self.cli("alias", "set", "--replace", "noodles/json", prov, self.key(1))
        self.assertEqual(ran.returncode, DONE, ran.stderr)
        counts, rows = self.counted(SECOND, code=REFUSED)
        self.assertEqual(counts["aliases_refused"], 1)
        self.assertIn(prov, rows[3]["reason"])
        self.assertEqual(self.by_alias("noodles/json", 3), 6)

    def test_a_job_that_somebody_computes_is_left_to_them(self):
        self.database()
        value = submit(self.server, function_node(self.row(3)), self.namespace)
        workflow = submit(self.server, function_node(self.row(6)), self.namespace)
        self.assertEqual({value.outcome, workflow.outcome}, {jobs_pb2.GRANTED})
        _, rows = self.counted({"stored": 13, "refused": 3}, code=REFUSED)  # 6, and its copy 11
        self.assertIn("computes it now", rows[3]["reason"])
        self.server.jobs.Release(jobs_pb2.ReleaseRequest(
            caller=caller(self.namespace), leases=[value.lease.id, workflow.lease.id]))
        self.counted(dict(SECOND, stored=2, known=14))

    def test_an_unfolding_workflow_is_linked(self):
        self.database()
        granted = submit(self.server, function_node(self.row(6)), self.namespace)
        self.server.jobs.StoreResult(jobs_pb2.StoreResultRequest(
            caller=caller(self.namespace), key=granted.key, lease=granted.lease.id,
            epoch=granted.lease.epoch, record=common_pb2.Record(json=self.row(6)["result"].encode())))
        self.server.jobs.Release(jobs_pb2.ReleaseRequest(
            caller=caller(self.namespace), leases=[granted.lease.id]))
        self.counted(FIRST)
        self.assertEqual(self.by_alias("noodles/json", 6), 6)

    def test_each_row_that_is_wrong_is_named_and_the_rest_imported(self):
        self.database(changes="""
            UPDATE jobs SET result = '[1' WHERE id = 1;
            UPDATE jobs SET arguments = NULL WHERE id = 3;
            UPDATE jobs SET status = 9 WHERE id = 5;
            UPDATE jobs SET function = x'00' WHERE id = 9;
            UPDATE jobs SET arguments = replace(arguments, '600', '602') WHERE id = 12;
            UPDATE jobs SET link = 77 WHERE id = 6;
            UPDATE jobs SET link = 7 WHERE id = 7;
            """)
        _, rows = self.counted({"stored": 9, "unreadable": 7}, code=REFUSED)
        for row, column in ((1, "result"), (3, "arguments"), (5, "status"), (9, "function"),
                            (12, "prov"), (6, "link"), (7, "link")):
            self.assertIn("%s: row %d, column %s: " % (self.file, row, column), rows[row]["reason"])
        _, rows = self.counted({"stored": 1, "unreadable": 6}, "--any-prov", code=REFUSED)
        self.assertNotIn(12, rows)

    def test_a_damaged_file_hides_nothing(self):
        self.database(changes="""
            WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
            INSERT INTO jobs (id, session, status, function) SELECT i, 1, 1, hex(zeroblob(100)) FROM n;
            """)
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            page_size, = connection.execute("PRAGMA page_size").fetchone()
        with open(self.file, "r+b") as file:
            whole = file.read()
            page = whole.index(b"00000000", whole.rindex(b"builtins")) // page_size
            file.seek(page * page_size)
            file.write(b"\xa5" * page_size)
        counts, rows = self.imported(code=REFUSED)
        self.assertGreaterEqual(counts["unreadable"], 1)
        self.assertTrue(any("all rows behind it: is damaged" in row["reason"] for row in rows.values()),
                        rows)
        self.assertGreaterEqual(counts["stored"], 1)

    def test_what_is_no_database_of_noodles_is_refused(self):
        with open(self.file, "w") as file:
            file.write("nothing of the kind " * 100)
        self.assert_refused("is no SQLite database")
        os.remove(self.file)
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            connection.execute("CREATE TABLE other (id)")
        self.assert_refused("has no table jobs")
        self.assertEqual(self.cli("import", self.file + ".not").returncode, WRONG_USE)
        self.assertEqual(self.cli("import", os.path.dirname(self.file)).returncode, WRONG_USE)

    def assert_refused(self, why):
        ran = self.cli("import", self.file)
        self.assertEqual(ran.returncode, REFUSED, (ran.stdout, ran.stderr))
        self.assertIn(self.file, ran.stderr)
        self.assertIn(why, ran.stderr)

    def test_a_run_that_was_cut_short_is_left_as_it_is(self):
        self.database()
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            connection.execute("PRAGMA cache_size = 1")  # so that it writes before it commits
            connection.execute("UPDATE jobs SET result = result || ' '")
            copies = {}
            for name in (self.file, self.file + "-journal"):
                with open(name, "rb") as file:
                    copies[name] = file.read()
        for name, copy in copies.items():
            with open(name, "wb") as file:
                file.write(copy)
        self.assert_refused("cut short")
        for name, copy in copies.items():
            with open(name, "rb") as file:
                self.assertEqual(file.read(), copy)

    def test_thousands_in_batches(self):
        self.database()
        row = self.row(8)
        function, arguments = json.loads(row["function"]), json.loads(row["arguments"])
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            connection.execute("DELETE FROM jobs")
            for i in range(2500):
                arguments[0]["data"][1] = i
                printed = "".join(json.dumps(part, sort_keys=True) for part in (function, arguments, "1"))
                connection.execute(
                    "INSERT INTO jobs (session, status, prov, version, function, arguments, result) "
                    "VALUES (1, 2, ?, '1', ?, ?, ?)",
                    (hashlib.md5(printed.encode()).hexdigest(), json.dumps(function),
                     json.dumps(arguments), json.dumps(i * i)))
            connection.commit()
        counts, _ = self.counted({"stored": 2500})
        self.assertEqual(counts["aliases"], 2500)
        self.assertEqual(self.by_alias("noodles/json", 2000), 1999 ** 2)
        counts, _ = self.counted({"stored": 0, "known": 2500})
        self.assertEqual((counts["aliases"], counts["aliases_known"]), (0, 2500))

    def test_people_get_a_table(self):
        self.database()
        ran = self.cli("import", self.file)
        self.assertEqual(ran.returncode, DONE, ran.stderr)
        self.assertRegex(ran.stdout, r"15 +stored")
        self.assertRegex(ran.stdout, r"28 +unversioned +function __main__\.in_script")
        self.assertIn("nothing new", self.cli("import", self.file).stdout)

    def test_without_a_server_it_says_so(self):
        self.database()
        self.env.update(TIFFIN_SERVER="127.0.0.1:1", TIFFIN_PATIENCE="0")
        ran = self.cli("import", self.file)
        self.assertEqual(ran.returncode, UNREACHABLE)
        self.assertIn("import again", ran.stderr)


if __name__ == "__main__":
    unittest.main()
