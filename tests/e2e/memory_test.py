"""What the server's memory grows by, at most: each test has a server of its own, whose cap is small."""
import itertools, json, os, socket, struct, threading, unittest

import grpc
import numpy

from blob_support import header, key_of, name_of, parts
from support import Server, batch, caller, get, job, record, store, submit, until
from tiffin.v1 import admin_pb2, blobs_pb2, blobs_pb2_grpc, common_pb2, jobs_pb2

MIB = 1 << 20
CAP = 128 * MIB


def http2_frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def unary_call(stream, path, request):
    """The frames of a call as they go over the wire: what no gRPC library sends without reading the answer."""
    headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers"),
               ("content-type", "application/grpc")]
    block = b"".join(b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in header) for header in headers)
    message = request.SerializeToString()
    return (http2_frame(1, 4, stream, block) +
            http2_frame(0, 1, stream, b"\0" + struct.pack(">I", len(message)) + message))


def unread_gets(test, server, key, count):
    """A connection with so many calls of GetResult, of whose answers not a byte may be sent."""
    host, port = server.address.rsplit(":", 1)
    end = socket.create_connection((host, int(port)), 20)
    test.addCleanup(end.close)
    request = jobs_pb2.GetResultRequest(caller=caller(), job=jobs_pb2.JobName(key=key))
    nothing = struct.pack(">HI", 4, 0)  # SETTINGS_INITIAL_WINDOW_SIZE
    end.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + http2_frame(4, 0, 0, nothing) + b"".join(
        unary_call(2 * i + 1, "/tiffin.v1.Jobs/GetResult", request) for i in range(count)))
    return end


class MemoryTest(unittest.TestCase):
    def setUp(self):
        # AddressSanitizer keeps what was freed for a while: not here, where memory is looked at.
        options = os.environ.get("ASAN_OPTIONS", "")
        os.environ["ASAN_OPTIONS"] = options + ":quarantine_size_mb=1"
        # However long a test takes, its idle streams do not give way: the one about that has its own server.
        self.server = Server("--max-memory", str(CAP), "--idle-time", "3600", "--result-cache", str(64 * MIB))
        os.environ["ASAN_OPTIONS"] = options
        self.addCleanup(self.server.close)
        self.numbers = itertools.count()
        self.serves_at_all()

    def serves_at_all(self):
        answer = submit(self.server, job("served", next(self.numbers)))
        store(self.server, answer, 7)
        self.assertEqual(get(self.server, answer.key).record.json, b"7")

    def status(self, name):
        """Bytes that the system tells of the server."""
        with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))

    def sanitized(self):
        with open(f"/proc/{self.server.process.pid}/maps", encoding="utf-8") as maps:
            return "libasan" in maps.read()

    def grows(self, call):
        """Bytes by which the server's memory grew, at most, while this was done."""
        with open(f"/proc/{self.server.process.pid}/clear_refs", "w", encoding="ascii") as refs:
            refs.write("5")  # its peak is its memory of now
        before = self.status("VmHWM")
        call()
        self.serves_at_all()
        return self.status("VmHWM") - before

    until = staticmethod(until)

    def burst(self):
        """More and larger jobs at a time than there is room for."""
        big = json.dumps({"function": "big", "arguments": ["x" * (15 * MIB)]}).encode()
        request = jobs_pb2.SubmitRequest(caller=caller(), job=common_pb2.Record(json=big))
        codes = {call.code() for call in [self.server.jobs.Submit.future(request) for _ in range(24)]}
        self.assertLessEqual(codes, {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED})
        self.assertIn(grpc.StatusCode.OK, codes)

    def test_more_in_flight_than_the_cap(self):
        # Beside the cap: what gRPC holds of messages that are on their way.
        self.assertLess(self.grows(self.burst), (4 if self.sanitized() else 3) * CAP)

    def test_memory_goes_back_after_bursts(self):
        if self.sanitized():
            self.skipTest("AddressSanitizer keeps what was freed")
        before = self.status("RssAnon")
        for _ in range(6):
            self.burst()
        self.until(lambda: self.status("RssAnon") - before < 2 * CAP)

    def test_trees_count_as_what_they_take(self):
        # A number of one digit takes many times its text.
        numbers = b"[" + b"0," * 750_000 + b"0]"
        request = jobs_pb2.SubmitRequest(caller=caller(), job=common_pb2.Record(
            json=b'{"function":"f","arguments":[' + numbers + b"," + numbers + b"]}"))
        codes = set()

        def burst():
            calls = [self.server.jobs.Submit.future(request) for _ in range(8)]
            codes.update(call.code() for call in calls)
        self.assertLess(self.grows(burst), 3 * CAP)
        self.assertLessEqual(codes, {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED})
        self.assertIn(grpc.StatusCode.OK, codes)

    def done(self, count, size, **members):
        """Jobs done, or failed, with strings of that size; their records and keys."""
        jobs = [job("large", next(self.numbers)) for _ in range(count)]
        keys = []
        for one in jobs:
            answer = submit(self.server, one)
            store(self.server, answer, "x" * size, **members)
            keys.append(answer.key)
        return jobs, keys

    def test_answers_that_nobody_reads(self):
        answer = submit(self.server, job("unread"))
        store(self.server, answer, "x" * (8 * MIB))
        request = jobs_pb2.GetResultRequest(caller=caller(), job=jobs_pb2.JobName(key=answer.key))
        host, port = self.server.address.rsplit(":", 1)
        end = socket.create_connection((host, int(port)))
        self.addCleanup(end.close)
        last = jobs_pb2.SubmitRequest(caller=caller(), job=record(job("after all of them")))
        submits = self.server.admin.Stats(admin_pb2.StatsRequest()).submits

        def ask():
            end.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + http2_frame(4, 0, 0, b"") + b"".join(
                unary_call(2 * i + 1, "/tiffin.v1.Jobs/GetResult", request) for i in range(60)) +
                unary_call(121, "/tiffin.v1.Jobs/Submit", last))
            self.until(lambda: self.server.admin.Stats(admin_pb2.StatsRequest()).submits > submits)

        def code():
            try:
                return get(self.server, answer.key) and grpc.StatusCode.OK
            except grpc.RpcError as error:
                return error.code()
        self.assertLess(self.grows(ask), 2 * CAP)  # all of them are 480 MiB, and as much as messages
        self.assertEqual(code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        end.close()  # all of it goes back
        self.until(lambda: code() == grpc.StatusCode.OK)

    def test_small_answers_that_nobody_reads(self):
        answer = submit(self.server, job("small", 1))
        store(self.server, answer, "x" * (60 << 10))
        ends = [unread_gets(self, self.server, answer.key, 900)]  # 53 MiB, and as much as messages

        def code():
            try:
                return get(self.server, answer.key) and grpc.StatusCode.OK
            except grpc.RpcError as error:
                self.assertIn("grpc-status-details-bin", dict(error.trailing_metadata()))  # with a RetryInfo
                return error.code()

        def is_full():  # what the first ones took while they waited was free again
            ends.append(unread_gets(self, self.server, answer.key, 20))
            return code() == grpc.StatusCode.RESOURCE_EXHAUSTED

        def fill():
            self.until(is_full)
            for end in ends:
                end.close()
            self.until(lambda: code() == grpc.StatusCode.OK)
        self.assertLess(self.grows(fill), CAP // 2)

    def test_waiting_for_many_large_results_that_are_there(self):
        _, keys = self.done(40, 8 * MIB)
        items = [jobs_pb2.AwaitRequest.Item(job=jobs_pb2.JobName(key=key)) for key in keys]
        request = jobs_pb2.AwaitRequest(caller=caller(), items=items)

        def read_one():
            stream = self.server.jobs.Await(iter([request]))
            next(stream)
            self.serves_at_all()
            stream.cancel()
        self.assertLess(self.grows(read_one), CAP)
        got = []
        self.assertLess(self.grows(lambda: got.extend(self.server.jobs.Await(iter([request])))), 192 * MIB)
        self.assertEqual({event.event for event in got}, {jobs_pb2.AWAIT_RESULT})
        self.assertEqual(len(got), 40)

    def test_waiting_for_many_large_results_that_come_while_nothing_is_read(self):
        answers = [submit(self.server, job("pushed", i)) for i in range(40)]
        stream = self.server.jobs.Await(iter([jobs_pb2.AwaitRequest(caller=caller(), items=[
            jobs_pb2.AwaitRequest.Item(job=jobs_pb2.JobName(key=answer.key)) for answer in answers])]))
        self.until(lambda: self.server.admin.Stats(admin_pb2.StatsRequest()).waiting == 40)

        def push():
            for answer in answers:
                store(self.server, answer, "x" * (8 * MIB))
        self.assertLess(self.grows(push), 2 * CAP)  # all of them are 320 MiB
        got = [event.key for event in stream if event.event == jobs_pb2.AWAIT_RESULT]
        self.assertEqual(sorted(got), sorted(answer.key for answer in answers))  # none is lost

    def test_waiting_for_results_that_are_not_kept_while_nothing_is_read(self):
        options = jobs_pb2.SubmitOptions(can_compute=True, discard_result=True)
        answers = [self.server.jobs.Submit(jobs_pb2.SubmitRequest(
            caller=caller(), job=record(job("discarded", i)), options=options)) for i in range(40)]
        stream = self.server.jobs.Await(iter([jobs_pb2.AwaitRequest(caller=caller(), items=[
            jobs_pb2.AwaitRequest.Item(job=jobs_pb2.JobName(key=answer.key)) for answer in answers])]))
        self.until(lambda: self.server.admin.Stats(admin_pb2.StatsRequest()).waiting == 40)

        def push():
            for answer in answers:
                try:
                    store(self.server, answer, "x" * (8 * MIB))
                except grpc.RpcError as error:  # what is held for the one who does not read leaves it no room
                    self.assertEqual(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
                    self.server.jobs.Release(jobs_pb2.ReleaseRequest(caller=caller(), leases=[answer.lease.id]))
        self.assertLess(self.grows(push), 2 * CAP)  # all of them are 320 MiB
        ended = {}
        for event in stream:
            if event.event in (jobs_pb2.AWAIT_RESULT, jobs_pb2.AWAIT_ERROR):
                self.assertNotIn(event.index, ended)
                ended[event.index] = event.event
            if event.event == jobs_pb2.AWAIT_ERROR:
                self.assertEqual(event.status.code, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
            if event.event == jobs_pb2.AWAIT_OPEN:  # it was released above
                ended[event.index] = event.event
            if len(ended) == 40:
                break
        stream.cancel()
        self.assertIn(jobs_pb2.AWAIT_RESULT, ended.values())

    def test_waiting_for_a_job_that_changes_hands_while_nothing_is_read(self):
        one = job("handed on")
        key = submit(self.server, one, compute=False).key
        stream = self.server.jobs.Await(iter([jobs_pb2.AwaitRequest(caller=caller(), items=[
            jobs_pb2.AwaitRequest.Item(job=jobs_pb2.JobName(key=key)) for _ in range(3000)])]))
        self.until(lambda: self.server.admin.Stats(admin_pb2.StatsRequest()).waiting == 3000)

        def hand_on():
            for _ in range(100):
                lease = submit(self.server, one).lease
                self.server.jobs.Release(jobs_pb2.ReleaseRequest(caller=caller(), leases=[lease.id]))
        self.assertLess(self.grows(hand_on), CAP // 2)  # 600,000 events
        last = submit(self.server, one)
        store(self.server, last, 7)
        self.assertEqual(sum(event.event == jobs_pb2.AWAIT_RESULT for event in stream), 3000)

    def test_a_batch_that_hits_many_long_logs(self):
        jobs, keys = self.done(3000, 1, log="l" * 65536)
        request = jobs_pb2.SubmitBatchRequest(caller=caller(), jobs=[record(one) for one in jobs])
        items = []
        # What was read stays in the cache of results, 64 MiB; AddressSanitizer adds to each piece.
        most = 2 * CAP if self.sanitized() else CAP
        self.assertLess(self.grows(lambda: items.extend(batch(self.server.jobs.SubmitBatch, request))), most)
        self.assertLess(sum(len(item.response.result.log) for item in items), 9 * MIB)
        request = jobs_pb2.BatchGetResultsRequest(
            caller=caller(), jobs=[jobs_pb2.JobName(key=key) for key in keys])
        self.assertLess(self.grows(lambda: batch(self.server.jobs.BatchGetResults, request)), CAP)

    def test_a_batch_that_is_answered_large_failures(self):
        jobs, _ = self.done(40, 8 * MIB, kind=jobs_pb2.RESULT_KIND_ERROR)
        request = jobs_pb2.SubmitBatchRequest(caller=caller(), jobs=[record(one) for one in jobs])
        request.options.answer_failures.seconds = 3600
        items = []
        self.assertLess(self.grows(lambda: items.extend(batch(self.server.jobs.SubmitBatch, request))), CAP)
        self.assertEqual({item.response.outcome for item in items}, {jobs_pb2.FAILED})
        self.assertLess(sum(item.ByteSize() for item in items), 24 * MIB)


class IdleStreamsTest(unittest.TestCase):
    """Clients that hold memory and do nothing with it give way once others are refused."""

    def setUp(self):
        self.server = Server("--max-memory", str(64 * MIB), "--idle-time", "0.5", "--result-cache", str(64 * MIB))
        self.addCleanup(self.server.close)
        self.channel = grpc.insecure_channel(self.server.address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.addCleanup(self.channel.close)
        self.others = blobs_pb2_grpc.BlobsStub(self.channel)  # a connection of their own
        self.array = numpy.random.default_rng(1).random(4 << 20)  # more than lies on the way
        self.name = name_of(self.array)
        self.server.blobs.Put(parts(self.name, self.array.tobytes()))

    def outcome(self, call):
        try:
            call()
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()

    def deref(self, blobs):
        return blobs.Deref(blobs_pb2.DerefRequest(caller=caller(), ref=blobs_pb2.BlobRef(name=self.name)))

    def gives_way(self, call):
        """Refused at first, maybe, but not for long."""
        codes = set()

        def done():
            codes.add(self.outcome(call))
            return grpc.StatusCode.OK in codes
        until(done)
        self.assertLessEqual(codes, {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED})

    def test_uploads_that_send_nothing(self):
        gone = threading.Event()
        self.addCleanup(gone.set)

        def idle():
            yield header(common_pb2.BlobName(dtype="uint8", shape=[8 * MIB]))
            gone.wait()
        calls = [self.others.Put.future(idle()) for _ in range(12)]
        other = numpy.random.default_rng(2).random(200_000)
        until(lambda: any(call.done() for call in calls))  # there was no room for all
        self.gives_way(lambda: self.server.blobs.Put(parts(name_of(other), other.tobytes())))
        gone.set()  # those that are left end with too few bytes
        ended = [call for call in calls if call.code() != grpc.StatusCode.INVALID_ARGUMENT]
        self.assertEqual({call.code() for call in ended}, {grpc.StatusCode.RESOURCE_EXHAUSTED})
        for call in ended:
            self.assertIn(b"google.rpc.RetryInfo", dict(call.trailing_metadata())["grpc-status-details-bin"])

    def test_an_upload_of_which_nothing_came_takes_no_space(self):
        name = common_pb2.BlobName(dtype="uint8", shape=[64 * MIB], key=bytes(32))
        uploads = os.path.join(self.server.data, "uploads")
        gone = threading.Event()

        def idle():
            yield header(name)
            gone.wait(60)
        call = self.others.Put.future(idle())
        until(lambda: os.listdir(uploads))
        call.cancel()
        gone.set()
        until(lambda: not os.listdir(uploads))

    def test_downloads_that_are_not_read(self):
        calls = [self.deref(self.others) for _ in range(60)]
        until(lambda: any(call.done() for call in calls))  # there was no room for all
        self.gives_way(lambda: list(self.deref(self.server.blobs)))
        codes = {self.outcome(lambda call=call: list(call)) for call in calls}
        self.assertLessEqual(codes, {grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OK})
        self.assertIn(grpc.StatusCode.CANCELLED, codes)

    def test_answers_that_are_not_read(self):
        answer = submit(self.server, job("unread", 1))
        store(self.server, answer, "x" * (60 << 10))

        def is_full():
            unread_gets(self, self.server, answer.key, 20)
            return self.outcome(lambda: get(self.server, answer.key)) == grpc.StatusCode.RESOURCE_EXHAUSTED
        until(is_full)
        self.gives_way(lambda: get(self.server, answer.key))  # although the connections stay

    def test_batches_that_are_not_read(self):
        blob = os.urandom(12 * MIB)
        name = common_pb2.BlobName(dtype="uint8", shape=[len(blob)], key=key_of("uint8", [len(blob)], blob))
        self.server.blobs.Put(parts(name, blob))
        request = blobs_pb2.BatchDerefRequest(caller=caller(), refs=[blobs_pb2.BlobRef(name=name)] * 3)
        before = self.anonymous()
        calls = [self.others.BatchDeref(iter([request])) for _ in range(30)]
        until(lambda: sum(call.done() for call in calls) >= 25)
        self.assertLess(self.anonymous() - before, 3 * 64 * MIB)  # all of them are 1,080 MiB
        self.gives_way(lambda: list(self.server.blobs.BatchDeref(iter([request]))))
        codes = {self.outcome(lambda call=call: list(call)) for call in calls}
        self.assertLessEqual(codes, {grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OK})

    def anonymous(self):
        with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))


if __name__ == "__main__":
    unittest.main()
