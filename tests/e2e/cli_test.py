"""Each command of `tiffin`, used as its users would: what it prints and its exit code."""
import io, json, os, signal, subprocess, unittest

import numpy

from cli_support import CLI, DONE, MISS, REFUSED, UNREACHABLE, WRONG_USE, CliCase
from support import Server

RECORDING = os.path.join(os.path.dirname(__file__), "..", "data", "noodles-jobs.jsonl")
ARANGE_KEY = "4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU="


def job(name, *arguments):
    return json.dumps({"function": name, "arguments": arguments})


class CliTest(CliCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.close)

    def serve(self):
        """One server for all: a namespace a test, so that tests do not meet each other's jobs."""

    def setUp(self):
        super().setUp()
        self.env.update(TIFFIN_PATIENCE="10s", TIFFIN_NAMESPACE="cli/" + self.id().rsplit(".", 1)[1])

    def run_cli(self, *arguments, stdin="", binary=False):
        return subprocess.run([CLI, *arguments], env=self.env, capture_output=True, timeout=120,
                              input=stdin.encode() if binary else stdin, text=not binary)

    def ends(self, code, *arguments, stdin=""):
        """What the command printed; fails unless it ended with that code."""
        ran = self.run_cli(*arguments, stdin=stdin)
        self.assertEqual(ran.returncode, code, (arguments, ran.stdout, ran.stderr))
        self.assertEqual(ran.stderr == "", code == DONE or arguments[0] == "submit", ran.stderr)
        return ran.stdout if code == DONE or ran.stderr == "" else ran.stderr

    def lines(self, *arguments, stdin="", code=DONE):
        """The JSON objects that the command printed, one a line."""
        ran = self.run_cli("--json", *arguments, stdin=stdin)
        self.assertEqual(ran.returncode, code, (arguments, ran.stdout, ran.stderr))
        return [json.loads(line) for line in ran.stdout.splitlines()]

    def save(self, name, array):
        numpy.save(self.path(name), array)
        return self.path(name)

    # ---- jobs ---------------------------------------------------------------------------------

    def test_key_needs_no_server(self):
        self.env["TIFFIN_SERVER"] = "127.0.0.1:1"
        file = self.write("jobs.jsonl", job("f", 1) + "\n" + job("f", 1.0) + "\n")
        keys = self.ends(DONE, "key", file).split()
        self.assertEqual(len(set(keys)), 2)
        self.assertEqual(self.ends(DONE, "key", stdin=job("f", 1)).strip(), keys[0])
        self.assertIn("job 1: ", self.ends(REFUSED, "key", stdin="{}"))

    def test_submit_store_get(self):
        file = self.write("job.json", job("square", 7))
        self.assertTrue(self.ends(MISS, "submit", file).startswith("OPEN"))
        (granted,) = self.lines("submit", "--compute", "--term", "60s", file)
        self.assertEqual(granted["outcome"], "GRANTED")
        self.assertEqual(granted["lease"]["term"], 60.0)
        (attached,) = self.lines("submit", file, code=MISS)
        self.assertEqual((attached["outcome"], attached["holder"]["epoch"]),
                         ("ATTACHED", granted["lease"]["epoch"]))
        key = granted["key"]
        self.assertIn("NOT_FOUND", self.ends(MISS, "get", key))
        lease = ["--lease", granted["lease"]["id"], "--epoch", str(granted["lease"]["epoch"])]
        self.assertIn("stored  " + key, self.ends(DONE, "store", "--key", key, *lease, stdin="49"))
        self.assertEqual(self.ends(DONE, "get", key), "49\n")
        self.assertEqual(self.ends(DONE, "submit", file), f"RETRIEVED  {key}\n49\n")
        self.assertTrue(self.lines("store", "--key", key, stdin="49")[0]["repeated"])
        self.assertIn("tiffin: ALREADY_EXISTS: ", self.ends(REFUSED, "store", "--key", key,
                                                            stdin="50"))
        self.ends(DONE, "get", key, "-o", self.path("out.json"))
        with open(self.path("out.json"), encoding="utf-8") as out:
            self.assertEqual(out.read(), "49\n")

    def test_store_of_a_job_nobody_submitted(self):
        (stored,) = self.lines("store", "--job", job("cube", 3), stdin="27")
        self.assertEqual(self.lines("get", stored["key"])[0]["record"], 27)

    def test_a_stored_failure_is_told_and_is_no_hit(self):
        (granted,) = self.lines("submit", "--compute", stdin=job("fails"))
        epoch = str(granted["lease"]["epoch"])
        waiter = self.start("--json", "await", "--after-epoch", epoch, granted["key"])
        self.ends(DONE, "store", "--key", granted["key"], "--lease", granted["lease"]["id"],
                  "--epoch", epoch, "--error", "--exit-status", "9", stdin='"broken"')
        out, _ = waiter.communicate(timeout=60)
        self.assertEqual(waiter.returncode, REFUSED)
        self.assertEqual(json.loads(out)["event"], "FAILED")
        self.assertIn("NOT_FOUND", self.ends(MISS, "get", granted["key"]))

    def test_submit_many(self):
        self.ends(DONE, "store", "--job", job("f", 0), stdin="0")
        jobs = "\n".join(job("f", i) for i in range(3)) + '\n{"function": 1}\n'
        answers = self.lines("submit", stdin=jobs, code=REFUSED)
        self.assertEqual([a.get("outcome") for a in answers], ["RETRIEVED", "OPEN", "OPEN", None])
        self.assertEqual(answers[3]["code"], "INVALID_ARGUMENT")
        table = self.ends(MISS, "submit", stdin=jobs.rsplit("\n", 2)[0]).splitlines()
        self.assertEqual(table[0].split(), ["outcome", "key", "detail"])
        self.assertEqual(len(table), 4)

    def test_await_waits_for_all(self):
        granted = [self.lines("submit", "--compute", stdin=job("slow", i))[0] for i in range(2)]
        keys = [answer["key"] for answer in granted]
        waiter = self.start("await", *keys)
        for i, answer in enumerate(granted):
            self.ends(DONE, "store", "--key", keys[i], "--lease", answer["lease"]["id"],
                      "--epoch", str(answer["lease"]["epoch"]), stdin=str(i))
        out, err = waiter.communicate(timeout=60)
        self.assertEqual(waiter.returncode, DONE, err)
        self.assertEqual(sorted(line.split() for line in out.splitlines()),
                         sorted(["RESULT", key, str(i)] for i, key in enumerate(keys)))

    def test_await_gives_up_or_computes(self):
        key = self.ends(DONE, "key", stdin=job("never")).strip()
        self.assertIn("DEADLINE_EXCEEDED", self.ends(MISS, "await", "--timeout", "200ms", key))
        self.lines("submit", stdin=job("never"), code=MISS)
        (granted,) = self.lines("await", "--compute", key)
        self.assertEqual(granted["event"], "GRANTED")
        self.assertGreater(granted["lease"]["epoch"], 0)

    def test_alias(self):
        (stored,) = self.lines("store", "--job", job("named"), stdin='"x"')
        (other,) = self.lines("store", "--job", job("other"), stdin='"y"')
        self.ends(DONE, "alias", "set", "mine", "best", stored["key"])
        self.assertEqual(self.ends(DONE, "get", "--alias", "mine", "best"), '"x"\n')
        self.assertIn("ALREADY_EXISTS",
                      self.ends(REFUSED, "alias", "set", "mine", "best", other["key"]))
        self.ends(DONE, "alias", "set", "mine", "best", other["key"], "--replace")
        self.assertEqual(self.lines("alias", "list", "mine"),
                         [{"profile": "mine", "name": "best", "key": other["key"]}])
        self.ends(DONE, "alias", "delete", "mine", "best")
        self.assertEqual(self.ends(DONE, "alias", "list"), "")
        self.assertIn("NOT_FOUND", self.ends(MISS, "get", "--alias", "mine", "best"))
        self.assertIn("NOT_FOUND", self.ends(MISS, "alias", "delete", "mine", "best"))

    # ---- run ----------------------------------------------------------------------------------

    def test_run_computes_once(self):
        log = self.path("log")
        command = ["--", "sh", "-c", f"echo ran >> {log}; echo '{{\"a\": [1, 2.0]}}'"]
        for _ in range(2):
            self.assertEqual(self.ends(DONE, "run", job("count"), *command), '{"a":[1,2.0]}\n')
        with open(log, encoding="utf-8") as file:
            self.assertEqual(file.read(), "ran\n")
        (line,) = self.lines("run", job("count"), *command)
        self.assertEqual((line["outcome"], line["value"]), ("RETRIEVED", {"a": [1, 2.0]}))

    def test_run_prints_text_as_the_command_did(self):
        for _ in range(2):
            self.assertEqual(self.ends(DONE, "run", job("hello"), "--", "echo", "hello"), "hello\n")

    def test_run_stores_an_array_that_the_command_wrote(self):
        made = self.save("made.npy", numpy.arange(10, dtype="int64"))
        out = self.path("out.npy")
        (line,) = self.lines("run", "--output", out, job("array"), "--", "cp", made, out)
        self.assertEqual(line["value"]["data"],
                         {"hdf5_path": ARANGE_KEY, "dtype": "int64", "shape": [10]})
        self.ends(DONE, "deref", json.dumps(line["value"]), "-o", self.path("back.npy"))
        self.assertTrue((numpy.load(self.path("back.npy")) == numpy.arange(10)).all())

    def test_run_stores_a_failure_with_its_log(self):
        ran = self.run_cli("run", job("bad"), "--", "sh", "-c", "echo because >&2; exit 7")
        self.assertEqual(ran.returncode, REFUSED)
        self.assertEqual(ran.stderr.splitlines(),
                         ["because", "tiffin: ABORTED: sh failed with exit status 7"])
        # One who does not want another try is told, and runs nothing.
        ran = self.run_cli("run", "--answer-failures", "1h", job("bad"), "--", "touch", self.path("ran"))
        self.assertEqual(ran.returncode, REFUSED)
        self.assertIn("exit status 7", ran.stderr)
        self.assertFalse(os.path.exists(self.path("ran")))
        ran = self.run_cli("--json", "submit", "--answer-failures", "1h", stdin=job("bad"))
        self.assertEqual(ran.returncode, REFUSED)
        answer = json.loads(ran.stdout)
        self.assertEqual((answer["outcome"], answer["result"]["record"]["error"]), ("FAILED", "exit status 7"))
        self.assertEqual(json.loads(self.run_cli("--json", "submit", stdin=job("bad")).stdout)["outcome"], "OPEN")
        # A failure is no hit: the next one runs it.
        self.assertEqual(self.ends(DONE, "run", job("bad"), "--", "echo", "1"), "1\n")

    def test_run_unfolds_no_workflow(self):
        workflow = json.dumps({"_noodles": "0.3.0", "type": "<object>", "class": "noodles.workflow.model.Workflow",
                               "data": {"root": 0, "links": [], "nodes": [
                                   {"_noodles": "0.3.0", "type": "<object>", "class": "noodles.workflow.model.FunctionNode",
                                    "data": {"function": {"_noodles": "0.3.0", "type": "<importable>",
                                                          "class": "builtins.function", "data": "m.f"},
                                             "arguments": [], "hints": {}}}]}})
        ran = self.run_cli("run", job("unfolds"), "--", "echo", workflow)
        self.assertEqual(ran.returncode, REFUSED, ran.stderr)
        self.assertEqual(json.loads(ran.stdout), json.loads(workflow))
        self.assertIn("a workflow, which run does not unfold", ran.stderr)
        # Nobody holds the job now. Whoever unfolds it may store the workflow; run does not touch that.
        lease = json.loads(self.run_cli("--json", "submit", "--compute", stdin=job("unfolds")).stdout)
        self.assertEqual(lease["outcome"], "GRANTED")
        self.ends(DONE, "store", "--key", lease["key"], "--lease", lease["lease"]["id"], "--epoch",
                  str(lease["lease"]["epoch"]), self.write("workflow.json", workflow))
        self.ends(DONE, "leases", "release", "--force", lease["key"])
        ran = self.run_cli("run", job("unfolds"), "--", "touch", self.path("ran"))
        self.assertEqual(ran.returncode, REFUSED)
        self.assertIn("a workflow that is stored", ran.stderr)
        self.assertFalse(os.path.exists(self.path("ran")))

    def test_run_waits_for_whoever_computes(self):
        fifo = self.path("go")
        os.mkfifo(fifo)
        holder = self.start("run", job("shared"), "--", "sh", "-c",
                            f"echo started >&2; cat {fifo}")
        self.assertEqual(holder.stderr.readline(), "started\n")
        waiter = self.start("--json", "run", job("shared"), "--", "echo", "not this")
        key = self.ends(DONE, "key", stdin=job("shared")).strip()
        self.wait_for_waiters(1)
        # Who holds it, and who waits.
        (lease,) = self.lines("leases")
        (who,) = lease["waiters"]
        self.assertEqual((lease["waiting"], who["can_compute"]), (1, True))
        self.assertNotEqual(who["session"]["id"], lease["holder"]["session"])
        name = who["session"]["user"] + " on " + who["session"]["host"]
        self.assertIn("1: " + name, self.ends(DONE, "leases"))
        self.assertIn("1: " + name, self.ends(DONE, "show", key))
        with open(fifo, "w", encoding="utf-8") as go:
            go.write("5")
        self.assertEqual(holder.communicate(timeout=60)[0], "5\n")
        out, err = waiter.communicate(timeout=60)
        self.assertEqual((waiter.returncode, json.loads(out)),
                         (DONE, {"key": key, "outcome": "WAITED", "value": 5}), err)

    def wait_for_waiters(self, count):
        while self.lines("stats")[0]["waiting"] < count:
            pass

    def test_run_interrupted_gives_the_lease_back(self):
        process = self.start("run", job("endless"), "--", "sh", "-c", "echo started >&2; exec sleep 600")
        self.assertEqual(process.stderr.readline(), "started\n")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 128 + signal.SIGTERM)
        (line,) = self.lines("submit", stdin=job("endless"), code=MISS)
        self.assertEqual(line["outcome"], "OPEN")

    def test_run_gives_the_lease_back_if_the_command_is_not_there(self):
        self.assertIn("cannot run /nowhere",
                      self.ends(WRONG_USE, "run", job("nothing"), "--", "/nowhere"))
        (line,) = self.lines("submit", stdin=job("nothing"), code=MISS)
        self.assertEqual(line["outcome"], "OPEN")

    # ---- blobs --------------------------------------------------------------------------------

    def test_put_deref_stat(self):
        file = self.save("a.npy", numpy.arange(10, dtype="int64"))
        table = self.ends(DONE, "put", file)
        self.assertIn(ARANGE_KEY, table)
        self.assertIn("stored", table)
        self.assertTrue(self.lines("put", file)[0]["existed"])
        shown = self.ends(DONE, "deref", ARANGE_KEY)
        self.assertIn("values  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]", shown)
        self.assertEqual(self.lines("deref", ARANGE_KEY)[0]["values"], list(range(10)))
        npy = self.run_cli("deref", ARANGE_KEY, "-o", "-", binary=True)
        self.assertTrue((numpy.load(io.BytesIO(npy.stdout)) == numpy.arange(10)).all())
        part = self.run_cli("deref", ARANGE_KEY, "--range", "8:16", binary=True)
        self.assertEqual(part.stdout, numpy.array([1, 2], dtype="int64").tobytes())
        raw = self.run_cli("deref", ARANGE_KEY, "--raw", "-o", "-", binary=True)
        self.assertEqual(raw.stdout, numpy.arange(10, dtype="int64").tobytes())
        (stat,) = self.lines("stat", ARANGE_KEY)
        self.assertEqual((stat["size"], stat["dtype"], stat["shape"]), (80, "int64", [10]))
        self.assertIn("dtype    int64", self.ends(DONE, "stat", ARANGE_KEY))

    def test_slices_are_numpy_s(self):
        array = numpy.arange(6 * 5 * 4, dtype=">f4").reshape(6, 5, 4)
        (put,) = self.lines("put", self.save("a.npy", array))
        slices = {"2": numpy.s_[2], "1:5:2": numpy.s_[1:5:2], ":,1": numpy.s_[:, 1],
                  "...,::3": numpy.s_[..., ::3], "4:100,:2,3": numpy.s_[4:100, :2, 3],
                  "9:": numpy.s_[9:], "5,3,2": numpy.s_[5, 3, 2, ...]}
        for text, index in slices.items():
            with self.subTest(text):
                self.ends(DONE, "deref", put["key"], "--slice", text, "-o", self.path("s.npy"))
                got, expected = numpy.load(self.path("s.npy")), array[index]
                self.assertEqual((got.dtype, got.shape), (expected.dtype, expected.shape))
                self.assertTrue(numpy.array_equal(got, expected))
        self.assertIn("index 6 is beyond", self.ends(WRONG_USE, "deref", put["key"],
                                                     "--slice", "6"))

    def test_fortran_order_is_transposed(self):
        array = numpy.asfortranarray(numpy.arange(6, dtype="int16").reshape(2, 3))
        (fortran,) = self.lines("put", self.save("f.npy", array))
        (c_order,) = self.lines("put", self.save("c.npy", numpy.ascontiguousarray(array)))
        self.assertEqual(fortran["key"], c_order["key"])
        self.assertEqual(self.lines("deref", fortran["key"])[0]["values"], array.tolist())

    def test_values_of_the_second_form(self):
        data = {"rows": list(range(2000))}
        model = {"_noodles": "0.3.0", "type": "<automagic>", "class": "m.Model", "ref": True,
                 "data": data}
        (stored,) = self.lines("store", "--job", job("model"), stdin=json.dumps(model))
        ref = self.lines("get", stored["key"])[0]["record"]
        self.assertEqual(set(ref["data"]), {"value", "size"})
        self.assertEqual(self.lines("deref", json.dumps(ref))[0]["value"], data)
        self.assertEqual(self.lines("deref", "--value", ref["data"]["value"])[0]["value"], data)
        self.ends(DONE, "deref", self.write("ref.json", json.dumps(ref)), "-o", self.path("o.json"))
        with open(self.path("o.json"), encoding="utf-8") as out:
            self.assertEqual(json.load(out), data)
        whole = self.lines("get", stored["key"], "--bulk", "inline")[0]["record"]
        self.assertEqual(whole, model)

    def test_blobs_that_are_not_there(self):
        self.assertIn("NOT_FOUND", self.ends(MISS, "deref", "k" * 43 + "="))
        self.assertIn("NOT_FOUND", self.ends(MISS, "stat", "k" * 43 + "="))
        self.assertIn("cannot read", self.ends(WRONG_USE, "deref", "no-such-file"))
        self.assertIn("tiffin: ", self.ends(REFUSED, "put", self.write("x.npy", "no array")))
        self.assertIn("cannot read", self.ends(WRONG_USE, "put", self.path("absent.npy")))

    def test_a_failed_deref_leaves_the_old_file(self):
        kept = self.write("kept.npy", "old")
        self.ends(MISS, "deref", "k" * 43 + "=", "-o", kept)
        self.assertEqual(os.listdir(self.folder), ["kept.npy"])
        with open(kept, encoding="utf-8") as file:
            self.assertEqual(file.read(), "old")

    # ---- the store ----------------------------------------------------------------------------

    def test_replay_answers_as_noodles_did_and_again_from_the_store(self):
        first, second = self.lines("replay", RECORDING, "--passes", "2", "--aliases")
        self.assertEqual([first[n] for n in ("submissions", "granted", "attached", "retrieved")],
                         [317, 280, 31, 6])
        self.assertEqual([second[n] for n in ("submissions", "granted", "attached", "retrieved")],
                         [317, 4, 0, 313])
        self.assertEqual((first["differences"], second["differences"]), ([], []))
        self.assertEqual({g["workflow"] for g in second["granted_again"]},
                         {"fold_and_map", "map_any", "set_attr_error", "set_item_error"})
        # And once more, as another process that finds the results there.
        table = self.ends(DONE, "replay", "--second", RECORDING)
        self.assertIn("its workflow result was never linked", table)
        with open(RECORDING, encoding="utf-8") as lines:
            prov = json.loads(next(line for line in lines if '"capture_output"' in line))["prov"]
        self.env["TIFFIN_NAMESPACE"] = "replay/capture_output"
        self.assertEqual(self.ends(DONE, "get", "--alias", "noodles/json", prov), "42\n")

    def test_replay_says_what_differs(self):
        submit = {"workflow": "w", "seq": 1, "event": "submit", "key": 1, "prov": "p",
                  "job": json.loads(job("once")), "result": None}
        file = self.write("r.jsonl", json.dumps(dict(submit, answer="retrieved")))
        differs = self.run_cli("replay", "--prefix", "differs", file)
        self.assertEqual(differs.returncode, REFUSED)
        self.assertIn("RETRIEVED", differs.stdout)
        self.assertIn("1 answers or records differ", differs.stderr)
        (report,) = self.lines("replay", "--prefix", "differs2", file, code=REFUSED)
        self.assertEqual(report["differences"],
                         [{"workflow": "w", "seq": 1, "what": "answer", "expected": "RETRIEVED",
                           "got": "GRANTED"}])

    def test_the_store(self):
        (stats,) = self.lines("stats")
        self.assertGreater(stats["database_bytes"], 0)
        self.assertIn("uptime", self.ends(DONE, "stats"))
        (described,) = self.lines("describe")
        self.assertEqual(described["job_key_scheme"], "tiffin.job/1")
        self.assertIn("record type", self.ends(DONE, "describe"))
        self.lines("put", self.save("a.npy", numpy.arange(1000, dtype="int32")))
        (sealed,) = self.lines("seal")
        self.assertGreaterEqual(sealed["packs"], 1)
        self.assertIn("sealed 0 packs", self.ends(DONE, "seal"))
        self.assertIn("is serving", self.ends(DONE, "health"))

    def test_a_server_that_is_away(self):
        self.env.update(TIFFIN_SERVER="127.0.0.1:1", TIFFIN_PATIENCE="0")
        key = "k" * 43 + "="
        for arguments in (["health"], ["health", "--wait", "100ms"], ["stats"], ["get", key],
                          ["deref", key], ["await", key], ["alias", "list"],
                          ["run", job("f"), "--on-unavailable", "fail", "--", "true"]):
            with self.subTest(arguments):
                self.assertIn("tiffin: UNAVAILABLE: ", self.ends(UNREACHABLE, *arguments))

    def test_health_waits_for_a_server_that_starts(self):
        server = Server()
        self.addCleanup(server.close)
        address = server.address
        server.stop()
        waiter = self.start("--server", address, "health", "--wait", "60s")
        server.start(listen=address)
        self.assertEqual(waiter.communicate(timeout=60)[0], f"{address} is serving\n")
        self.assertEqual(waiter.returncode, DONE)

    def test_wrong_use(self):
        for arguments in ([], ["launder"], ["get"], ["get", "short"], ["store"], ["run", "{}"],
                          ["alias", "set", "p"], ["--patience", "soon", "stats"],
                          ["store", "--key", "k" * 43 + "=", "--error"]):
            with self.subTest(arguments):
                self.assertEqual(self.run_cli(*arguments).returncode, WRONG_USE)


if __name__ == "__main__":
    unittest.main()
