"""Jobs that fail: told to all who wait, run again by who asks next, answered for a while if that is wanted."""
import json, unittest

import grpc

from cli_support import CliCase, MISS, REFUSED
from support import Server, batch, caller, get, job, record, store, submit
from tiffin.v1 import jobs_pb2

ERROR = {"error": "no convergence"}
HOUR = 3600


def fail(server, answer, error=ERROR, **members):
    return store(server, answer, error, kind=jobs_pb2.RESULT_KIND_ERROR, **members)


def ask(server, one, seconds=None, nanos=0, compute=True):
    """Submits; a failure of the last so many seconds is an answer."""
    options = jobs_pb2.SubmitOptions(can_compute=compute)
    if seconds is not None:
        options.answer_failures.seconds = seconds
        options.answer_failures.nanos = nanos
    return server.jobs.Submit(jobs_pb2.SubmitRequest(caller=caller(), job=record(one), options=options))


class Waiter:
    """Who awaits a job on a stream that is open when this returns."""

    def __init__(self, server, key, capacity=0, after_epoch=0):
        request = jobs_pb2.AwaitRequest(caller=caller(), can_compute=capacity > 0, capacity=capacity)
        request.items.add(after_epoch=after_epoch).job.key = key
        self.stream = server.jobs.Await(iter([request]))
        self.first = next(self.stream)

    def end(self):
        """The event that ended the wait."""
        return list(self.stream)[-1]


class FailuresTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--min-term", "0.5")
        cls.addClassCleanup(cls.server.close)

    def setUp(self):
        self.job = job(self._testMethodName)

    def failed(self, **members):
        """The job, failed."""
        answer = submit(self.server, self.job)
        fail(self.server, answer, **members)
        return answer

    def check(self, result, retryable):
        self.assertEqual(result.kind, jobs_pb2.RESULT_KIND_ERROR)
        self.assertEqual(json.loads(result.record.json), ERROR)
        self.assertEqual((result.retryable, result.exit_status, result.log, result.host),
                         (retryable, 9, "it ran\n", "here"))

    def test_all_who_wait_are_told_whether_a_retry_can_help(self):
        for retryable in (True, False):
            with self.subTest(retryable=retryable):
                answer = submit(self.server, self.job)
                waiters = [Waiter(self.server, answer.key, capacity) for capacity in (0, 0, 1)]
                for waiter in waiters:
                    self.assertEqual(waiter.first.event, jobs_pb2.AWAIT_ATTACHED)
                fail(self.server, answer, retryable=retryable, exit_status=9, log="it ran\n")
                for waiter in waiters:
                    event = waiter.end()
                    self.assertEqual(event.event, jobs_pb2.AWAIT_FAILED)
                    self.check(event.result, retryable)

    def test_who_asks_next_may_run_it_again_even_if_a_retry_cannot_help(self):
        for retryable in (True, False):
            with self.subTest(retryable=retryable):
                before = self.failed(retryable=retryable)
                self.assertEqual(submit(self.server, self.job, compute=False).outcome, jobs_pb2.OPEN)
                again = submit(self.server, self.job)
                self.assertEqual(again.outcome, jobs_pb2.GRANTED)
                self.assertGreater(again.lease.epoch, before.lease.epoch)
                fail(self.server, again)
        store(self.server, submit(self.server, self.job), 1)
        self.assertEqual(submit(self.server, self.job).outcome, jobs_pb2.RETRIEVED)

    def test_a_failure_is_no_result(self):
        answer = self.failed()
        with self.assertRaises(grpc.RpcError) as caught:
            get(self.server, answer.key)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
        self.assertIn("it failed; submit it to run it again", caught.exception.details())
        (item,) = batch(self.server.jobs.BatchGetResults, jobs_pb2.BatchGetResultsRequest(
            caller=caller(), jobs=[jobs_pb2.JobName(key=answer.key)]))
        self.assertEqual(item.status.code, grpc.StatusCode.NOT_FOUND.value[0])
        why = self.server.jobs.Explain(jobs_pb2.ExplainRequest(caller=caller(), key=answer.key))
        self.assertEqual(why.cause, jobs_pb2.MISS_FAILED)

    def test_it_is_answered_for_the_time_that_the_asker_says(self):
        for retryable in (True, False):
            with self.subTest(retryable=retryable):
                self.failed(retryable=retryable, exit_status=9, log="it ran\n")
                for compute in (True, False):
                    told = ask(self.server, self.job, HOUR, compute=compute)
                    self.assertEqual(told.outcome, jobs_pb2.FAILED)
                    self.check(told.result, retryable)
                    self.assertFalse(told.HasField("lease"))
                # Too long ago for this one; none at all for those who say nothing.
                self.assertEqual(ask(self.server, self.job, 0, nanos=1, compute=False).outcome,
                                 jobs_pb2.OPEN)
                self.assertEqual(ask(self.server, self.job, 0, nanos=1).outcome, jobs_pb2.GRANTED)
                # It runs again: the failure is the past's.
                self.assertEqual(ask(self.server, self.job, HOUR).outcome, jobs_pb2.ATTACHED)
                self.server.jobs.Release(jobs_pb2.ReleaseRequest(
                    caller=caller(), keys=[ask(self.server, self.job).key]))

    def test_a_batch_answers_failures_too(self):
        self.failed(retryable=True)
        request = jobs_pb2.SubmitBatchRequest(caller=caller(), jobs=[record(self.job), record(job("new"))])
        request.options.can_compute = True
        request.options.answer_failures.seconds = HOUR
        items = batch(self.server.jobs.SubmitBatch, request)
        self.assertEqual([item.response.outcome for item in items], [jobs_pb2.FAILED, jobs_pb2.GRANTED])
        self.assertEqual(json.loads(items[0].response.result.record.json), ERROR)
        self.assertTrue(items[0].response.result.retryable)

    def test_a_time_below_zero_is_refused(self):
        with self.assertRaises(grpc.RpcError) as caught:
            ask(self.server, self.job, -1)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertIn("options.answer_failures", caught.exception.details())

    def test_who_comes_late_hears_of_failures_from_the_epoch_it_names(self):
        answer = self.failed()
        epoch = answer.lease.epoch
        self.assertEqual(Waiter(self.server, answer.key, after_epoch=epoch).first.event,
                         jobs_pb2.AWAIT_FAILED)
        for deaf in (0, epoch + 1):
            waiter = Waiter(self.server, answer.key, after_epoch=deaf)
            self.assertEqual(waiter.first.event, jobs_pb2.AWAIT_OPEN)
            waiter.stream.cancel()

    def test_who_could_compute_is_granted_what_had_failed_before(self):
        answer = self.failed()
        event = Waiter(self.server, answer.key, capacity=1).end()
        self.assertEqual(event.event, jobs_pb2.AWAIT_GRANTED)
        self.assertGreater(event.lease.epoch, answer.lease.epoch)

    def test_the_same_failure_again_is_ok_and_a_late_value_wins(self):
        answer = self.failed()
        self.assertTrue(fail(self.server, answer).repeated_store)
        with self.assertRaises(grpc.RpcError) as caught:
            fail(self.server, answer, error="another")
        self.assertEqual(caught.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
        store(self.server, answer, 7)
        self.assertEqual(get(self.server, answer.key).record.json, b"7")
        with self.assertRaises(grpc.RpcError) as caught:
            fail(self.server, answer)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.ALREADY_EXISTS)

    def test_holders_that_were_lost_are_a_failure_that_a_retry_can_help(self):
        server = Server("--min-term", "0.5", "--max-lost", "1")
        self.addCleanup(server.close)
        answer = submit(server, self.job, term=1, host="vanished")
        event = Waiter(server, answer.key).end()
        self.assertEqual(event.event, jobs_pb2.AWAIT_FAILED)
        self.assertTrue(event.result.retryable)
        self.assertIn(b"vanished", event.result.record.json)
        self.assertEqual(ask(server, self.job, HOUR).outcome, jobs_pb2.FAILED)
        self.assertEqual(submit(server, self.job).outcome, jobs_pb2.GRANTED)

    def test_a_failure_outlives_a_restart(self):
        server = Server()
        self.addCleanup(server.close)
        fail(server, submit(server, self.job), retryable=False, exit_status=9, log="it ran\n")
        server.stop()
        server.start()
        told = ask(server, self.job, HOUR)
        self.assertEqual(told.outcome, jobs_pb2.FAILED)
        self.check(told.result, False)
        self.assertEqual(submit(server, self.job).outcome, jobs_pb2.GRANTED)


class FailuresCliTest(CliCase):
    def failed(self, *options, name="m.fails"):
        """A job that failed by `tiffin store --error`; its key and epoch."""
        (granted,) = self.lines("submit", "--compute", self.write("job.json", json.dumps(job(name))))
        self.cli("store", "--key", granted["key"], "--lease", granted["lease"]["id"], "--epoch",
                 str(granted["lease"]["epoch"]), "--error", "--exit-status", "9", "--log",
                 self.write("log", "it ran\n"), *options, self.write("error.json", json.dumps(ERROR)))
        return granted["key"], str(granted["lease"]["epoch"])

    def test_who_waits_is_told_whether_a_retry_can_help(self):
        for options, retryable in ((), True), (("--no-retry",), False):
            with self.subTest(options):
                key, epoch = self.failed(*options)
                (told,) = self.lines("await", "--after-epoch", epoch, key, code=REFUSED)
                self.assertEqual(told["event"], "FAILED")
                result = told["result"]
                self.assertEqual((result["kind"], result["record"], result["retryable"],
                                  result["exit_status"], result["log"]),
                                 ("error", ERROR, retryable, 9, "it ran\n"))
                out = self.cli("await", "--after-epoch", epoch, key, code=REFUSED)
                self.assertEqual(out.split(None, 2), ["FAILED", key, json.dumps(ERROR) + "\n"])

    def test_it_is_listed_shown_and_explained(self):
        key, _ = self.failed("--no-retry")
        self.assertEqual([line["key"] for line in self.lines("ls", "--state", "failed")], [key])
        self.assertEqual(self.lines("ls", "--state", "done"), [])
        (shown,) = self.lines("show", key)
        self.assertEqual((shown["state"], shown["result"]["kind"], shown["result"]["record"],
                          shown["result"]["retryable"]), ("failed", "RESULT_KIND_ERROR", ERROR, False))
        self.assertIn("no convergence", self.cli("show", key))
        self.assertEqual(self.lines("explain", "--key", key)[0]["cause"], "failed")
        self.cli("get", key, code=MISS)

    def test_run_runs_it_again(self):
        key, _ = self.failed("--no-retry")
        one = json.dumps(job("m.fails"))
        self.assertEqual(self.cli("run", one, "--", "echo", "7"), "7\n")
        self.assertEqual(self.cli("run", one, "--", "false"), "7\n")
        self.assertEqual(self.lines("show", key)[0]["state"], "done")

    def test_run_that_waits_fails_with_the_holder_and_says_why(self):
        answer = submit(self.server, job("m.shared"), host="node7")
        waiting = self.start("run", json.dumps(job("m.shared")), "--", "echo", "not this")
        self.until(lambda: self.lines("stats")[0]["waiting"] == 1)
        store(self.server, answer, ERROR, kind=jobs_pb2.RESULT_KIND_ERROR)
        out, err = self.finish(waiting, REFUSED)
        self.assertEqual(out, "")
        # The session that stored it.
        self.assertEqual(err, "tiffin: ABORTED: the job failed on here: " + json.dumps(ERROR) + "\n")

    def test_a_command_that_fails_is_told_with_its_status_and_log(self):
        one = json.dumps(job("m.bad"))
        self.cli("run", one, "--", "sh", "-c", "echo because >&2; exit 7", code=REFUSED)
        (key,) = self.cli("key", self.write("job.json", one)).split()
        (shown,) = self.lines("show", key)
        self.assertEqual((shown["state"], shown["result"]["exit_status"], shown["result"]["log"],
                          shown["result"]["retryable"]), ("failed", 7, "because\n", True))
        self.assertEqual(shown["result"]["record"]["error"], "exit status 7")


if __name__ == "__main__":
    unittest.main()
