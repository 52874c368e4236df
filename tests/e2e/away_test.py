"""The server goes away in the middle and comes back: the job is executed once, and its result gets there."""
import json, os, signal, unittest

import numpy

from cli_support import CliCase, MISS, REFUSED, UNREACHABLE
from support import caller, job, submit
from tiffin.v1 import admin_pb2, jobs_pb2

ONE, OTHER = job("m.away", 1), job("m.other")


class AwayTest(CliCase):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("started"))

    # ---- a command that says that it runs, and runs until it is told to end --------------------

    def run_job(self, one=ONE, value="7", name="go", patience="60s", options=()):
        script = f"mktemp '{self.path('started')}/XXXXXX' >&2; cat '{self.path(name)}' >&2; echo '{value}'"
        if not os.path.exists(self.path(name)):
            os.mkfifo(self.path(name))
        running = self.start("run", json.dumps(one), *options, "--", "sh", "-c", script,
                             TIFFIN_PATIENCE=patience)
        before = self.executions()
        self.until(lambda: self.executions() > before)
        return running

    def executions(self):
        return len(os.listdir(self.path("started")))

    def go_on(self, name="go"):
        with open(self.path(name), "w", encoding="utf-8"):
            pass

    # ---- the server ----------------------------------------------------------------------------

    def away(self, how=signal.SIGKILL):
        self.server.stop(how)

    def back(self):
        self.server.start(listen=self.server.address)

    def spooled(self):
        """How many files of each kind wait to be delivered, or to be looked at."""
        names = os.listdir(self.path("spool")) if os.path.exists(self.path("spool")) else []
        return sorted(name.rsplit(".", 1)[1] for name in names)

    def info(self, one):
        (key,) = self.cli("key", self.write("job.json", json.dumps(one))).split()
        (shown,) = self.lines("show", key)
        return shown

    def check_stored(self, one=ONE, value=7):
        info = self.info(one)
        self.assertEqual((info["state"], info["result"]["record"], info["evidence"]), ("done", value, []))

    def ends_alone(self, running, printed="7\n"):
        """It could not deliver, said so, and printed what it computed all the same."""
        out, err = self.finish(running)
        self.assertEqual(out, printed)
        self.assertRegex(err, rf"tiffin: not stored \(.+\); the result waits in {self.path('spool')}\n")

    # ---- tests ---------------------------------------------------------------------------------

    def test_the_next_run_of_any_job_delivers_what_waits(self):
        running = self.run_job(patience="0")
        self.away()
        self.go_on()
        self.ends_alone(running)
        self.assertEqual(self.spooled(), ["result"])
        self.back()
        self.cli("run", json.dumps(OTHER), "--", "echo", "8")
        self.assertEqual(self.spooled(), [])
        self.check_stored()
        self.check_stored(OTHER, 8)
        # Under the lease it was computed under.
        self.assertEqual(self.lines("leases"), [])
        self.assertEqual(self.cli("run", json.dumps(ONE), "--", "false"), "7\n")
        self.assertEqual(self.executions(), 1)

    def test_flush_delivers_what_waits(self):
        for how in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(how):
                one = job("m.away", how.name)
                running = self.run_job(one, patience="0")
                self.away(how)
                self.go_on()
                self.ends_alone(running)
                self.assertIn("tiffin: UNAVAILABLE: 1 results stay in " + self.path("spool"),
                              self.finish(self.start("flush", TIFFIN_PATIENCE="0"), UNREACHABLE)[1])
                self.back()
                self.assertEqual(self.cli("flush"), "delivered 1, refused 0, left 0\n")
                self.assertEqual(self.cli("flush"), "delivered 0, refused 0, left 0\n")
                self.check_stored(one)
        self.assertEqual(self.executions(), 2)

    def test_flush_waits_for_the_server(self):
        running = self.run_job(patience="0")
        self.away()
        self.go_on()
        self.ends_alone(running)
        flushing = self.start("flush", TIFFIN_PATIENCE="60s")
        self.back()
        self.assertEqual(self.finish(flushing)[0], "delivered 1, refused 0, left 0\n")
        self.check_stored()

    def test_a_server_that_is_back_before_the_end_grants_nobody_else(self):
        running = self.run_job()
        for how in (signal.SIGTERM, signal.SIGKILL):
            self.away(how)
            self.back()
            self.assertEqual(submit(self.server, ONE).outcome, jobs_pb2.ATTACHED)
        waiting = self.start("--json", "run", json.dumps(ONE), "--", "false")
        self.until(lambda: self.server.admin.Stats(admin_pb2.StatsRequest()).waiting == 1)
        self.go_on()
        self.assertEqual(self.finish(running)[0], "7\n")
        self.assertEqual(json.loads(self.finish(waiting)[0])["outcome"], "WAITED")
        self.assertEqual((self.executions(), self.spooled()), (1, []))
        self.check_stored()

    def test_run_itself_delivers_to_a_server_that_comes_back_within_its_patience(self):
        running = self.run_job(patience="60s")
        self.away()
        self.go_on()
        self.back()
        out, err = self.finish(running)
        self.assertEqual(out, "7\n")
        self.assertNotIn("tiffin: ", err)
        self.assertEqual((self.executions(), self.spooled()), (1, []))
        self.check_stored()

    def test_who_waits_meanwhile_hears_of_what_is_delivered_later(self):
        running = self.run_job(patience="0")
        waiting = self.start("await", self.info(ONE)["key"])
        self.until(lambda: self.server.admin.Stats(admin_pb2.StatsRequest()).waiting == 1)
        self.away()
        self.go_on()
        self.ends_alone(running)
        self.back()
        self.cli("flush")
        self.assertEqual(self.finish(waiting)[0].split()[::2], ["RESULT", "7"])

    def test_two_that_computed_alone_leave_one_result_and_evidence_if_they_differ(self):
        for value, evidence in (("7", 0), ("8", 1)):
            with self.subTest(value):
                one = job("m.away", value)
                self.away()
                for name, each in (("first", "7"), ("second", value)):
                    running = self.run_job(one, each, name, patience="0")
                    self.go_on(name)
                    self.ends_alone(running, each + "\n")
                self.assertEqual(self.spooled(), ["result", "result"])
                self.back()
                self.assertEqual(self.cli("flush"), "delivered 2, refused 0, left 0\n")
                self.assertEqual(len(self.info(one)["evidence"]), evidence)

    def test_what_the_server_refuses_is_kept_with_the_reason(self):
        running = self.run_job(patience="0")
        self.away()
        self.go_on()
        self.ends_alone(running)
        self.back()
        self.cli("invalidate", self.info(ONE)["key"])
        out, err = self.finish(self.start("flush"), REFUSED)
        self.assertEqual(out, "delivered 0, refused 1, left 0\n")
        self.assertIn("the reasons are in " + self.path("spool"), err)
        self.assertEqual(self.spooled(), ["refused", "why"])
        (why,) = [name for name in os.listdir(self.path("spool")) if name.endswith(".why")]
        with open(os.path.join(self.path("spool"), why), encoding="utf-8") as file:
            self.assertIn("invalidated", file.read())
        # It is in nobody's way.
        self.assertEqual(self.cli("flush"), "delivered 0, refused 0, left 0\n")

    def test_what_cannot_be_stored_while_somebody_computes_waits_on(self):
        self.away()
        running = self.run_job(patience="0")  # without a lease
        self.go_on()
        self.ends_alone(running)
        self.back()
        other = submit(self.server, ONE)
        out, err = self.finish(self.start("flush", TIFFIN_PATIENCE="0"), UNREACHABLE)
        self.assertEqual(out, "delivered 0, refused 0, left 1\n")
        self.server.jobs.Release(jobs_pb2.ReleaseRequest(caller=caller(), leases=[other.lease.id]))
        self.assertEqual(self.cli("flush"), "delivered 1, refused 0, left 0\n")
        self.check_stored()

    def test_a_folder_that_takes_no_results_does_not_stop_anybody_s_work(self):
        self.away()
        spool = self.write("file", "") + "/spool"
        out, err = self.finish(self.start("run", json.dumps(ONE), "--", "echo", "7", TIFFIN_PATIENCE="0",
                                          TIFFIN_SPOOL=spool))
        self.assertEqual(out, "7\n")
        self.assertIn(spool, err)

    def test_an_array_waits_in_the_spool_and_becomes_a_ref(self):
        array = numpy.random.default_rng(1).random(10_000)
        numpy.save(self.path("made.npy"), array)
        self.away()
        self.cli("run", json.dumps(ONE), "--output", self.path("out.npy"), "--", "cp",
                 self.path("made.npy"), self.path("out.npy"), TIFFIN_PATIENCE="0")
        self.back()
        self.cli("flush")
        (ref,) = [line["record"] for line in self.lines("get", self.info(ONE)["key"])]
        self.assertTrue(ref["ref"])
        self.cli("deref", json.dumps(ref), "-o", self.path("back.npy"))
        self.assertTrue(numpy.array_equal(numpy.load(self.path("back.npy")), array))

    def test_a_result_goes_to_the_namespace_it_was_computed_in(self):
        running = self.run_job(patience="0", options=("--namespace", "mine"))
        self.away()
        self.go_on()
        self.ends_alone(running)
        self.back()
        self.cli("flush", "--namespace", "theirs")
        key = self.cli("key", self.write("job.json", json.dumps(ONE))).strip()
        self.assertEqual(self.cli("get", "--namespace", "mine", key), "7\n")
        self.cli("get", "--namespace", "theirs", key, code=MISS)

    def test_a_failure_alone_is_not_spooled(self):
        self.away()
        err = self.finish(self.start("run", json.dumps(ONE), "--", "false", TIFFIN_PATIENCE="0"), REFUSED)[1]
        self.assertEqual(err, "tiffin: ABORTED: false failed with exit status 1\n")
        self.assertEqual(self.spooled(), [])

    def test_a_failure_that_cannot_be_told_is_not_run_again(self):
        running = self.run_job(value="'; exit 3; echo '", patience="0")
        self.away()
        self.go_on()
        err = self.finish(running, REFUSED)[1]
        self.assertIn("tiffin: ABORTED: sh failed with exit status 3\n", err)
        self.assertEqual((self.executions(), self.spooled()), (1, []))

    def test_output_that_was_cut_is_no_result_without_a_server_either(self):
        self.away()
        err = self.finish(self.start("run", json.dumps(ONE), "--", "head", "-c", "17M", "/dev/zero",
                                     TIFFIN_PATIENCE="0"), REFUSED)[1]
        self.assertIn("the command printed more than 16.0 MiB", err)
        self.assertEqual(self.spooled(), [])

    def test_what_is_too_large_for_a_message_is_printed_and_told(self):
        self.away()
        out, err = self.finish(self.start("run", json.dumps(ONE), "--", "sh", "-c",
                                          r"head -c 15M /dev/zero | tr '\0' '\377'", TIFFIN_PATIENCE="0"))
        self.assertGreater(len(out), 15 << 20)
        self.assertIn("and the result cannot wait: spool: a result of", err)
        self.assertEqual(self.spooled(), [])


if __name__ == "__main__":
    unittest.main()
