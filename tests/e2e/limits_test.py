"""Each limit from both sides: what just fits is taken and comes back, what is one more is refused and named."""
import json, unittest

import grpc
import numpy

from blob_support import name_of, parts, refer
from support import Server, caller, get, job, record, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2, common_pb2, jobs_pb2, jobs_pb2_grpc

MIB = 1 << 20
BAD = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
INLINE = common_pb2.BULK_INLINE


def padded(head, tail, size, fill=b"x"):
    """A JSON text of that size."""
    return head + fill * (size - len(head) - len(tail)) + tail


def job_of(size):
    return padded(b'{"function":"f","arguments":["', b'"]}', size)


def value_of(size):
    return padded(b'"', b'"', size)


class LimitsCase(unittest.TestCase):
    flags = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.flags)
        cls.addClassCleanup(cls.server.close)

    def submit_text(self, text, **options):
        return self.server.jobs.Submit(jobs_pb2.SubmitRequest(
            caller=caller(), job=common_pb2.Record(json=text),
            options=jobs_pb2.SubmitOptions(can_compute=True, **options)))

    def store_text(self, text, *arguments, **members):
        """Stores it as the result of a job of the test's own; the job's key."""
        answer = submit(self.server, job(self._testMethodName, *arguments))
        return self.server.jobs.StoreResult(jobs_pb2.StoreResultRequest(
            caller=caller(), key=answer.key, lease=answer.lease.id, epoch=answer.lease.epoch,
            record=common_pb2.Record(json=text), **members)).key

    def refused(self, code, words, call):
        with self.assertRaises(grpc.RpcError) as caught:
            answer = call()
            if hasattr(answer, "__iter__"):
                list(answer)
        details = caught.exception.details()
        self.assertEqual(caught.exception.code(), code, details)
        for word in words:
            self.assertIn(word, details)
        self.server.admin.Describe(admin_pb2.DescribeRequest(caller=caller()))  # it serves on

    def both_sides(self, code, words, fits, one_more, *calls):
        for call in calls:
            with self.subTest(words=words):
                call(fits)
                self.refused(code, words, lambda: call(one_more))


class RecordLimitsTest(LimitsCase):
    def test_the_text_of_a_record(self):
        limit = 16 * MIB
        self.both_sides(BAD, ["job", "16777216"], job_of(limit), job_of(limit + 1), self.submit_text)
        self.both_sides(BAD, ["record", "16777216"], value_of(limit), value_of(limit + 1), self.store_text)
        blanks = padded(b"[", b"]", limit, b" ")
        self.both_sides(BAD, ["record", "16777216"], blanks, blanks + b" ",
                        lambda text: self.store_text(text, "blanks"))

    def test_the_largest_result_comes_back_on_each_way(self):
        value = value_of(16 * MIB)
        key = self.store_text(value, log="l" * 65536)
        self.assertEqual(get(self.server, key).record.json, value)
        self.assertEqual(get(self.server, key, bulk=INLINE).record.json, value)
        self.assertEqual(submit(self.server, job(self._testMethodName)).result.record.json, value)
        name = jobs_pb2.JobName(key=key)
        requests = (
            (self.server.jobs.BatchGetResults, jobs_pb2.BatchGetResultsRequest(jobs=[name] * 2), 2),
            (self.server.jobs.SubmitBatch,
             jobs_pb2.SubmitBatchRequest(jobs=[record(job(self._testMethodName))]), 1))
        for rpc, request, count in requests:
            request.caller.CopyFrom(caller())
            items = [item for answer in rpc(iter([request])) for item in answer.items]
            self.assertEqual(len(items), count)
            for item in items:
                result = item.result if hasattr(item, "result") else item.response.result
                self.assertEqual(result.record.json, value)
        awaited = jobs_pb2.AwaitRequest(caller=caller(), items=[jobs_pb2.AwaitRequest.Item(job=name)])
        (event,) = self.server.jobs.Await(iter([awaited]))
        self.assertEqual(event.result.record.json, value)

    def test_what_grows_in_print_must_fit_printed(self):
        # Kept as ASCII: three bytes of UTF-8 become six.
        fits = (16 * MIB - 2) // 6
        text = lambda n: b'"' + "\u65e5".encode() * n + b'"'
        key = self.store_text(text(fits))
        self.assertEqual(json.loads(get(self.server, key).record.json), "\u65e5" * fits)
        self.refused(EXHAUSTED, ["record", "printed", "16777216"],
                     lambda: self.store_text(text(fits + 1), "more"))

    def test_nesting(self):
        nested = lambda depth: b"[" * depth + b"]" * depth
        self.both_sides(BAD, ["record", "200"], nested(200), nested(201), self.store_text)
        arguments = lambda depth: b'{"function":"f","arguments":' + nested(depth - 1) + b"}"
        self.both_sides(BAD, ["job", "arguments", "200"], arguments(200), arguments(201), self.submit_text)
        objects = lambda depth: b'{"a":' * depth + b"1" + b"}" * depth
        self.both_sides(BAD, ["record", "200"], objects(200), objects(201),
                        lambda text: self.store_text(text, "objects"))

    def test_entries(self):
        items = lambda n: b"[" + b"0," * (n - 1) + b"0]"
        self.both_sides(BAD, ["record", "1000000"], items(1_000_000), items(1_000_001), self.store_text)
        members = lambda n: json.dumps(dict.fromkeys(map(str, range(n)), 0)).encode()
        self.both_sides(BAD, ["record", "1000000"], members(1_000_000), members(1_000_001),
                        lambda text: self.store_text(text, "members"))
        nested = lambda n: b'{"function":"f","arguments":[1,' + items(n) + b"]}"
        self.both_sides(BAD, ["job", "arguments[1]", "1000000"], nested(1_000_000), nested(1_000_001),
                        self.submit_text)

    def test_digits(self):
        self.both_sides(BAD, ["record", "100000"], b"1" * 100_000, b"1" * 100_001, self.store_text)


class FlagsTest(LimitsCase):
    flags = ("--max-record", "2000", "--max-nesting", "8", "--max-entries", "16")

    def test_each_is_a_flag_that_clients_are_told_of(self):
        self.both_sides(BAD, ["job", "2000"], job_of(2000), job_of(2001), self.submit_text)
        self.both_sides(BAD, ["record", "2000"], value_of(2000), value_of(2001), self.store_text)
        nested = lambda depth: b"[" * depth + b"]" * depth
        self.both_sides(BAD, ["record", "8"], nested(8), nested(9),
                        lambda text: self.store_text(text, "nested"))
        items = lambda n: json.dumps([0] * n).encode()
        self.both_sides(BAD, ["record", "16"], items(16), items(17),
                        lambda text: self.store_text(text, "items"))
        described = self.server.admin.Describe(admin_pb2.DescribeRequest(caller=caller()))
        self.assertEqual((described.max_record_bytes, described.max_nesting,
                          described.max_entries), (2000, 8, 16))


class TextLimitsTest(LimitsCase):
    def test_who_calls(self):
        def call(**members):
            return self.server.admin.Describe(admin_pb2.DescribeRequest(
                caller=common_pb2.Caller(**members)))

        def session(size, member):
            return call(session=common_pb2.Session(**{member: "s" * size}))
        self.both_sides(BAD, ["caller.namespace", "128"], 128, 129, lambda n: call(namespace="n" * n))
        self.both_sides(BAD, ["caller.request_id", "128"], 128, 129, lambda n: call(request_id="r" * n))
        for member in ("id", "name", "user", "host"):
            self.both_sides(BAD, ["caller.session", "128"], 128, 129, lambda n: session(n, member))
        self.both_sides(BAD, ["caller.session.script", "4 KiB"], 4096, 4097,
                        lambda n: session(n, "script"))

    def test_aliases(self):
        key = submit(self.server, job("named")).key

        def point(profile, name):
            return self.server.jobs.Alias(jobs_pb2.AliasRequest(
                caller=caller(), set=jobs_pb2.AliasRequest.Set(
                    alias=jobs_pb2.AliasName(profile=profile, name=name), key=key)))

        def page(size):
            return self.server.jobs.Alias(jobs_pb2.AliasRequest(
                caller=caller(), list=jobs_pb2.AliasRequest.List(page_size=size)))
        self.both_sides(BAD, ["profile", "128"], 128, 129, lambda n: point("p" * n, "n"))
        self.both_sides(BAD, ["name", "1024"], 1024, 1025, lambda n: point("p", "n" * n))
        self.both_sides(BAD, ["page_size", "1000"], 1000, 1001, page)

    def test_logs_and_small_blobs(self):
        self.both_sides(BAD, ["log", "65536"], "l" * 65536, "l" * 65537,
                        lambda log: self.store_text(b"1", log=log))

        def blob(size):
            name = common_pb2.BlobName(dtype="uint8", shape=[size])
            self.store_text(b"1", "blob", size, blobs=[jobs_pb2.SmallBlob(name=name, data=b"b" * size)])
        self.both_sides(BAD, ["blobs[0]", "1 MiB"], MIB - 1, MIB, blob)

    def test_items_of_one_call(self):
        def renew(n):
            return self.server.jobs.Renew(jobs_pb2.RenewRequest(caller=caller(), leases=[b"x"] * n))

        def release(n):
            return self.server.jobs.Release(jobs_pb2.ReleaseRequest(caller=caller(), leases=[b"x"] * n))

        def invalidate(n):
            return self.server.jobs.Invalidate(jobs_pb2.InvalidateRequest(
                caller=caller(), keys=[bytes(32)] * n))

        def jobs(n):
            return len(list(self.server.jobs.SubmitBatch(iter([jobs_pb2.SubmitBatchRequest(
                caller=caller(), jobs=[record(job("same"))] * n)]))))

        def names(n):
            return list(self.server.jobs.BatchGetResults(iter([jobs_pb2.BatchGetResultsRequest(
                caller=caller(), jobs=[jobs_pb2.JobName(key=bytes(32))] * n)])))

        def missing(n):
            return self.server.blobs.FindMissing(blobs_pb2.FindMissingRequest(
                caller=caller(), values=[bytes(32)] * n))
        self.both_sides(BAD, ["10000"], 10_000, 10_001, renew, release, invalidate, jobs, names, missing)

    def test_related_jobs_that_are_told(self):
        arrays = [numpy.full(1000, i) for i in range(2)]
        for array in arrays:
            self.server.blobs.Put(parts(name_of(array), array.tobytes()))
        made = submit(self.server, job("m.make"))
        store(self.server, made, [refer(array) for array in arrays])
        users = [record(job("m.use", refer(array), i)) for array in arrays for i in range(600)]
        list(self.server.jobs.SubmitBatch(iter([jobs_pb2.SubmitBatchRequest(
            caller=caller(), jobs=users)])))
        info = self.server.jobs.GetJob(jobs_pb2.GetJobRequest(
            caller=caller(), job=jobs_pb2.JobName(key=made.key), outputs=True)).job
        self.assertEqual(len(info.outputs), 1000)

    def test_pages_of_jobs(self):
        self.both_sides(BAD, ["page_size", "1000"], 1000, 1001, lambda n: self.server.jobs.ListJobs(
            jobs_pb2.ListJobsRequest(caller=caller(), page_size=n)))


class MessageLimitsTest(LimitsCase):
    def channel(self):
        channel = grpc.insecure_channel(self.server.address, options=[
            ("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", 20 * MIB)])
        self.addCleanup(channel.close)
        return channel

    def test_messages_up_to_twenty_mebibytes(self):
        channel = self.channel()

        def unknown(size):
            """A message of that size: one member that the server does not know."""
            head = bytes([99 << 3 & 0x7f | 2 | 0x80, 99 >> 4])
            length = size - len(head) - 4
            return head + bytes([length & 0x7f | 0x80, length >> 7 & 0x7f | 0x80, length >> 14 & 0x7f | 0x80,
                                 length >> 21]) + bytes(length)
        for size in (20 * MIB, 20 * MIB + 1):
            self.assertEqual(len(unknown(size)), size)
        self.both_sides(EXHAUSTED, ["20971521", "20971520"], unknown(20 * MIB), unknown(20 * MIB + 1),
                        channel.unary_unary("/tiffin.v1.Jobs/Renew"),
                        lambda message: list(channel.stream_stream("/tiffin.v1.Jobs/SubmitBatch")(
                            iter([message]))))

    def test_two_large_jobs_fit_into_one_message_of_a_batch(self):
        request = lambda size: jobs_pb2.SubmitBatchRequest(
            caller=caller(), jobs=[common_pb2.Record(json=job_of(size + i)) for i in range(2)])
        items = [item for answer in self.server.jobs.SubmitBatch(iter([request(10 * MIB - 1000)]))
                 for item in answer.items]
        self.assertEqual([item.status.code for item in items], [0, 0])
        jobs = jobs_pb2_grpc.JobsStub(self.channel())
        self.refused(EXHAUSTED, ["20971520"], lambda: jobs.SubmitBatch(iter([request(10 * MIB)])))

    def test_a_job_is_shown_however_large_it_and_its_result_are(self):
        text = job_of(16 * MIB)
        answer = self.submit_text(text)
        store(self.server, answer, "x" * (16 * MIB - 2))
        name = jobs_pb2.JobName(key=answer.key)
        info = self.server.jobs.GetJob(jobs_pb2.GetJobRequest(caller=caller(), job=name)).job
        self.assertEqual(info.state, jobs_pb2.JOB_DONE)
        self.assertEqual(info.result.digest, get(self.server, answer.key).digest)

    def test_a_job_is_shown_however_many_other_results_it_had(self):
        who = caller(namespace="evidence", host="elsewhere")
        who.session.script = "s" * 4096  # told with each of them
        answer = submit(self.server, job(self._testMethodName), namespace="evidence")
        store(self.server, answer, 0, namespace="evidence")
        others = [self.server.jobs.StoreResult.future(jobs_pb2.StoreResultRequest(
            caller=who, key=answer.key, epoch=answer.lease.epoch, record=record(i)))
            for i in range(1, 5201)]
        self.assertEqual({other.code() for other in others}, {grpc.StatusCode.ALREADY_EXISTS})
        info = self.server.jobs.GetJob(jobs_pb2.GetJobRequest(
            caller=who, job=jobs_pb2.JobName(key=answer.key))).job
        self.assertGreater(len(info.evidence), 0)
        request = jobs_pb2.ListJobsRequest(caller=who)
        request.filter.nondeterministic = True
        self.assertEqual([each.key for each in self.server.jobs.ListJobs(request).jobs], [answer.key])

    def test_explanations_fit_a_message_however_long_the_paths_are(self):
        one = lambda i: record(job("m.long", {"member" * 200_000: i}))
        for i in range(20):
            self.server.jobs.StoreResult(jobs_pb2.StoreResultRequest(
                caller=caller(), job=one(i), record=record(i)))
        why = self.server.jobs.Explain(jobs_pb2.ExplainRequest(caller=caller(), job=one(-1), neighbours=100))
        self.assertEqual(why.cause, jobs_pb2.MISS_OTHER_ARGUMENTS)
        self.assertEqual(len(why.neighbours), 20)
        for neighbour in why.neighbours:
            self.assertIn("member", neighbour.paths[0])
            self.assertLess(len(neighbour.paths[0]), 4096)

    def test_bulk_that_does_not_fit_inline_is_told(self):
        array = numpy.zeros(13 * MIB, dtype="uint8")  # as base64 it has more than 16 MiB
        self.server.blobs.Put(parts(name_of(array), array.tobytes()))
        one = job(self._testMethodName)
        answer = submit(self.server, one)
        store(self.server, answer, [1, refer(array)])
        words = ["16777216"]
        self.refused(EXHAUSTED, words, lambda: get(self.server, answer.key, bulk=INLINE))
        self.refused(EXHAUSTED, words, lambda: submit(self.server, one, bulk=INLINE))
        name = jobs_pb2.JobName(key=answer.key)
        (got,) = self.server.jobs.BatchGetResults(iter([jobs_pb2.BatchGetResultsRequest(
            caller=caller(), bulk=INLINE, jobs=[name])]))
        (event,) = self.server.jobs.Await(iter([jobs_pb2.AwaitRequest(
            caller=caller(), bulk=INLINE, items=[jobs_pb2.AwaitRequest.Item(job=name)])]))
        self.assertEqual(event.event, jobs_pb2.AWAIT_ERROR)
        for status in (got.items[0].status, event.status):
            self.assertEqual(status.code, EXHAUSTED.value[0])
            self.assertIn(words[0], status.message)
        self.assertEqual(json.loads(get(self.server, answer.key).record.json), [1, refer(array)])


class StreamLimitsTest(LimitsCase):
    flags = ("--max-streams", "4")

    def until(self, condition):
        while not condition():
            pass

    def await_job(self, jobs, key):
        item = jobs_pb2.AwaitRequest.Item(job=jobs_pb2.JobName(key=key))
        return jobs.Await(iter([jobs_pb2.AwaitRequest(caller=caller(), items=[item])]))

    def waiting(self):
        return self.server.admin.Stats(admin_pb2.StatsRequest()).waiting

    def test_calls_beyond_those_of_a_connection_wait_for_their_turn(self):
        with grpc.insecure_channel(self.server.address,
                                   options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            jobs = jobs_pb2_grpc.JobsStub(channel)
            answer = submit(self.server, job("streams"))
            streams = [self.await_job(jobs, answer.key) for _ in range(4)]
            for stream in streams:
                self.assertEqual(next(stream).event, jobs_pb2.AWAIT_ATTACHED)
            fifth = self.await_job(jobs, answer.key)
            renewing = jobs.Renew.future(jobs_pb2.RenewRequest(caller=caller()))
            # Other connections have streams of their own.
            for _ in range(20):
                submit(self.server, job("streams"))
            self.assertEqual(self.waiting(), 4)
            self.assertFalse(renewing.done())
            streams[0].cancel()
            self.assertEqual(next(fifth).event, jobs_pb2.AWAIT_ATTACHED)
            self.until(lambda: self.waiting() == 4)
            streams[1].cancel()
            renewing.result()
            store(self.server, answer, 7)
            for stream in (*streams[2:], fifth):
                self.assertEqual(list(stream)[-1].event, jobs_pb2.AWAIT_RESULT)


if __name__ == "__main__":
    unittest.main()
