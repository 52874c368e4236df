"""Hostile and unlucky clients: others are still served, memory stays under its cap, and nothing is left of them."""
import itertools, json, os, resource, socket, struct, threading, unittest

import grpc
from tiffin.v1 import admin_pb2, blobs_pb2, common_pb2, jobs_pb2, jobs_pb2_grpc
from support import Server, batch, caller, get, job, record, store, submit, until

MIB = 1 << 20


class HostileTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # AddressSanitizer keeps what was freed for a while: not here, where memory is looked at.
        options = os.environ.get("ASAN_OPTIONS", "")
        os.environ["ASAN_OPTIONS"] = options + ":quarantine_size_mb=1"
        cls.server = Server("--max-memory", str(128 * MIB), "--result-cache", str(64 * MIB))
        os.environ["ASAN_OPTIONS"] = options
        cls.addClassCleanup(cls.server.close)
        cls.numbers = itertools.count()
        cls.serves_at_all()

    @classmethod
    def serves_at_all(cls):
        answer = submit(cls.server, job("served", next(cls.numbers)))
        assert answer.outcome == jobs_pb2.GRANTED
        store(cls.server, answer, 7)
        assert get(cls.server, answer.key).record.json == b"7"

    def tearDown(self):
        self.serves_at_all()
        self.until(lambda: self.stats().waiting == 0)
        self.until(lambda: os.listdir(os.path.join(self.server.data, "tmp")) == [])

    def stats(self):
        return self.server.admin.Stats(admin_pb2.StatsRequest())

    def anonymous(self):
        """Bytes of the server's anonymous memory."""
        with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))

    def peak(self):
        with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))

    def grows(self, call):
        """Bytes by which the server's memory grew, at most, while this was done."""
        with open(f"/proc/{self.server.process.pid}/clear_refs", "w", encoding="ascii") as refs:
            refs.write("5")  # its peak is its memory of now
        before = self.peak()
        call()
        return self.peak() - before

    def connect(self):
        host, port = self.server.address.rsplit(":", 1)
        end = socket.create_connection((host, int(port)), 20)
        self.addCleanup(end.close)
        return end

    def channel(self, **options):
        channel = grpc.insecure_channel(
            self.server.address, options=[("grpc.use_local_subchannel_pool", 1),
                                          ("grpc.max_send_message_length", -1),
                                          *options.pop("options", [])], **options)
        self.addCleanup(channel.close)
        return channel

    def refused(self, code, call, *words):
        with self.assertRaises(grpc.RpcError) as caught:
            answer = call()
            if hasattr(answer, "__iter__"):
                list(answer)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        for word in words:
            self.assertIn(word, caught.exception.details())

    until = staticmethod(until)

    # ---- connections ---------------------------------------------------------------------------

    def test_idle_connections_by_the_thousand(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        ends = [self.connect() for _ in range(min(2000, hard - 200))]
        self.serves_at_all()
        jobs = jobs_pb2_grpc.JobsStub(self.channel())  # a new connection beside them
        jobs.Renew(jobs_pb2.RenewRequest(caller=caller()))
        for end in ends:
            end.close()

    def test_more_connections_than_descriptors(self):
        server = Server()
        self.addCleanup(server.close)
        with open(f"/proc/{server.process.pid}/maps", encoding="utf-8") as maps:
            if "libubsan" in maps.read():
                self.skipTest("UndefinedBehaviorSanitizer takes objects for bad ones when it has no descriptor")
        limit = len(os.listdir(f"/proc/{server.process.pid}/fd")) + 30
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        host, port = server.address.rsplit(":", 1)
        ends = [socket.create_connection((host, int(port)), 20) for _ in range(100)]
        closed = 0
        for end in ends:  # those that there was no descriptor for are told so, and do not hang
            end.settimeout(0.2)
            try:
                closed += end.recv(1) == b""
            except ConnectionError:
                closed += 1
            except TimeoutError:
                pass
        self.assertGreater(closed, 30)
        for end in ends:
            end.close()
        # Once there are descriptors again, all goes on.
        fresh = grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.addCleanup(fresh.close)
        jobs_pb2_grpc.JobsStub(fresh).Renew(jobs_pb2.RenewRequest(caller=caller()), wait_for_ready=True, timeout=60)

    def test_what_is_no_http2(self):
        for bytes_ in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 10_000, os.urandom(100_000),
                       b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                       b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
                       b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0" + os.urandom(50_000)):
            end = self.connect()
            try:
                end.sendall(bytes_)
            except OSError:
                pass  # it did not even listen to the end
        self.serves_at_all()

    def test_many_streams_of_one_connection(self):
        answer = submit(self.server, job("many", next(self.numbers)))
        jobs = jobs_pb2_grpc.JobsStub(self.channel())
        item = jobs_pb2.AwaitRequest.Item(job=jobs_pb2.JobName(key=answer.key))
        streams = [jobs.Await(iter([jobs_pb2.AwaitRequest(caller=caller(), items=[item])]))
                   for _ in range(300)]
        self.until(lambda: self.stats().waiting > 50)
        self.serves_at_all()
        store(self.server, answer, 7)
        for stream in streams:
            self.assertEqual(list(stream)[-1].event, jobs_pb2.AWAIT_RESULT)

    # ---- calls that are given up ---------------------------------------------------------------

    def header(self, bytes_, **members):
        name = common_pb2.BlobName(dtype="uint8", shape=[bytes_], **members)
        return blobs_pb2.PutRequest(header=blobs_pb2.PutRequest.Header(caller=caller(), name=name))

    def test_uploads_cancelled_at_each_stage(self):
        before = self.stats().blobs
        for chunks in range(5):
            sent = threading.Event()
            gone = threading.Event()

            def requests():
                yield self.header(8 * MIB)
                for _ in range(chunks):
                    yield blobs_pb2.PutRequest(chunk=b"x" * MIB)
                sent.set()
                gone.wait(60)
            call = self.server.blobs.Put.future(requests())
            sent.wait(60)
            call.cancel()
            gone.set()
        self.assertEqual(self.stats().blobs, before)

    def test_downloads_cancelled_at_each_stage(self):
        chunks = [self.header(16 * MIB)] + [blobs_pb2.PutRequest(chunk=b"d" * MIB)] * 16
        name = self.server.blobs.Put(iter(chunks)).name
        request = blobs_pb2.DerefRequest(caller=caller(), ref=blobs_pb2.BlobRef(name=name))
        for messages in range(17):
            stream = self.server.blobs.Deref(request)
            for _ in range(messages):
                next(stream)
            stream.cancel()
        self.assertEqual(sum(len(m.chunk) for m in self.server.blobs.Deref(request)), 16 * MIB)

    def test_batches_and_waits_cancelled_at_each_stage(self):
        jobs = [record(job("cancelled", next(self.numbers))) for _ in range(500)]
        for messages in range(4):
            gone = threading.Event()

            def requests():
                for i in range(messages):
                    yield jobs_pb2.SubmitBatchRequest(caller=caller(), jobs=jobs[i * 100:i * 100 + 100])
                gone.wait(60)
            stream = self.server.jobs.SubmitBatch(requests())
            for _ in range(messages):
                next(stream)
            stream.cancel()
            gone.set()
        keys = [submit(self.server, job("awaited", i)).key for i in range(100)]
        items = [jobs_pb2.AwaitRequest.Item(job=jobs_pb2.JobName(key=key)) for key in keys]
        for told in (0, 1, 50, 100):
            stream = self.server.jobs.Await(iter([jobs_pb2.AwaitRequest(caller=caller(), items=items)]))
            for _ in range(told):
                next(stream)
            stream.cancel()

    # ---- memory --------------------------------------------------------------------------------

    def test_slow_readers(self):
        chunks = [self.header(64 * MIB)] + [blobs_pb2.PutRequest(chunk=b"s" * MIB)] * 64
        name = self.server.blobs.Put(iter(chunks)).name
        request = blobs_pb2.DerefRequest(caller=caller(), ref=blobs_pb2.BlobRef(name=name))
        list(self.server.blobs.Deref(request))
        before = self.anonymous()
        streams = [self.server.blobs.Deref(request) for _ in range(30)]
        for stream in streams:
            next(stream)  # the header, and no more
        self.serves_at_all()
        self.assertLess(self.anonymous() - before, 64 * MIB)
        for stream in streams:
            stream.cancel()

    def test_slow_writers(self):
        before = self.anonymous()
        gone = threading.Event()
        self.addCleanup(gone.set)

        def requests():
            yield self.header(64 * MIB)
            yield blobs_pb2.PutRequest(chunk=b"w" * MIB)
            gone.wait(120)
        calls = [self.server.blobs.Put.future(requests()) for _ in range(100)]
        self.serves_at_all()
        self.assertLess(self.anonymous() - before, 160 * MIB)
        gone.set()
        for call in calls:
            # Too short, or there was no room for so many.
            self.assertIn(call.exception().code(), (grpc.StatusCode.INVALID_ARGUMENT,
                                                    grpc.StatusCode.RESOURCE_EXHAUSTED))

    def test_uploads_of_empty_messages(self):
        # They have no bytes that a limit of bytes would count, and no end.
        gone = threading.Event()
        self.addCleanup(gone.set)
        before = self.anonymous()

        def requests(*first):
            yield from first
            for _ in range(20_000):
                yield blobs_pb2.PutRequest()
            gone.wait(120)
        for first in [], [self.header(64 * MIB)]:
            with self.assertRaises(grpc.RpcError) as caught:
                self.server.blobs.Put(requests(*first), timeout=60)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)

        def crumbs():
            yield self.header(64 * MIB)
            for _ in range(20_000):
                yield blobs_pb2.PutRequest(chunk=b"x")
        with self.assertRaises(grpc.RpcError) as caught:
            self.server.blobs.Put(crumbs(), timeout=60)
        self.assertIn("20000 of", caught.exception.details())
        self.assertLess(self.anonymous() - before, 64 * MIB)

    def test_more_in_flight_than_the_cap_is_told_to_come_back(self):
        big = json.dumps({"function": "big", "arguments": ["x" * (15 * MIB)]}).encode()
        request = jobs_pb2.SubmitRequest(caller=caller(), job=common_pb2.Record(json=big))
        calls = [self.server.jobs.Submit.future(request) for _ in range(24)]
        codes = [call.code() for call in calls]
        self.assertLessEqual(set(codes), {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED})
        self.assertIn(grpc.StatusCode.OK, codes)
        # Those that the server refused say when to try again. gRPC resets some by itself, when it has no room to read them.
        refused = [call for call in calls
                   if call.code() != grpc.StatusCode.OK and "RST_STREAM" not in call.details()]
        self.assertGreater(len(refused), 0)
        for call in refused:
            details = dict(call.trailing_metadata())["grpc-status-details-bin"]
            self.assertIn(b"google.rpc.RetryInfo", details)

    def test_messages_beyond_the_limit(self):
        too_long = b'"' + b"x" * (21 * MIB) + b'"'
        jobs = jobs_pb2_grpc.JobsStub(self.channel())
        self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: jobs.Submit(jobs_pb2.SubmitRequest(
            caller=caller(), job=common_pb2.Record(json=too_long))))

    def test_compressed_bombs(self):
        # 900 MiB of spaces, a few hundred KiB on the wire.
        def send(algorithm):
            jobs = jobs_pb2_grpc.JobsStub(self.channel(compression=algorithm))
            with self.assertRaises(grpc.RpcError) as caught:
                jobs.Submit(jobs_pb2.SubmitRequest(
                    caller=caller(), job=common_pb2.Record(json=b" " * (900 * MIB))))
            self.assertIn(caught.exception.code(), (grpc.StatusCode.UNIMPLEMENTED,
                                                    grpc.StatusCode.RESOURCE_EXHAUSTED))
        for algorithm in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            self.assertLess(self.grows(lambda: send(algorithm)), 64 * MIB)

    # ---- what is in messages -------------------------------------------------------------------

    def test_records_made_to_hurt(self):
        bad = grpc.StatusCode.INVALID_ARGUMENT
        exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
        for text, codes in ((b"[" * 5_000_000, {bad, exhausted}),
                            (b'{"a":' * 1_000_000, {bad, exhausted}),
                            (b"[" + b"0," * 2_000_000 + b"0]", {bad, exhausted}),
                            (b"1" * 10_000_000, {bad, exhausted}),
                            (b"1e" + b"9" * 1_000_000, {bad, exhausted}),
                            (b'"\\ud800' * 100_000 + b'"', {bad, exhausted}),
                            (b"\xff\xfe" * 1000, {bad})):
            with self.assertRaises(grpc.RpcError) as caught:
                self.server.jobs.Submit(jobs_pb2.SubmitRequest(
                    caller=caller(), job=common_pb2.Record(json=text)))
            self.assertIn(caught.exception.code(), codes, text[:20])

    def test_names_made_to_hurt(self):
        outside = os.path.join(os.path.dirname(self.server.data), "outside")
        for name in ("../outside", "..", "/outside", "a\0b", "a/../../outside", "%2e%2e/outside", "\n",
                     "x" * 2000, "'; DROP TABLE jobs; --"):
            with self.subTest(name[:20]):
                self.try_name(name)
                self.assertFalse(os.path.exists(outside))
                self.serves_at_all()

    def try_name(self, name):
        """Whether it is taken or refused, it is a name and nothing else."""
        who = common_pb2.Session(id=name, name=name, user=name, host=name, script=name)
        refusals = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
        key = submit(self.server, job("named", next(self.numbers))).key
        calls = [
            lambda: self.server.jobs.Submit(jobs_pb2.SubmitRequest(
                caller=common_pb2.Caller(namespace=name), job=record(job("f")))),
            lambda: self.server.jobs.Submit(jobs_pb2.SubmitRequest(
                caller=common_pb2.Caller(session=who, request_id=name),
                job=record(job(name, {name: name})))),
            lambda: self.server.jobs.Alias(jobs_pb2.AliasRequest(
                caller=caller(), set=jobs_pb2.AliasRequest.Set(
                    alias=jobs_pb2.AliasName(profile="p", name=name), key=key))),
            lambda: self.server.blobs.FindMissing(blobs_pb2.FindMissingRequest(
                caller=caller(), blobs=[common_pb2.BlobName(key=bytes(32), dtype=name)])),
            lambda: batch(self.server.blobs.BatchPut, blobs_pb2.BatchPutRequest(
                caller=caller(), items=[blobs_pb2.BatchPutRequest.Item(
                    name=common_pb2.BlobName(dtype=name, shape=[1]), data=b"x")])),
        ]
        for call in calls:
            try:
                call()
            except grpc.RpcError as error:
                self.assertIn(error.code(), refusals, error.details())

    def test_shapes_made_to_hurt(self):
        for shape in ([1 << 63], [(1 << 64) - 1], [1 << 32, 1 << 32], [1 << 62, 0, 1 << 62],
                      [(1 << 48) + 1], [2] * 33, [1 << 16] * 4):
            name = common_pb2.BlobName(key=bytes(32), dtype="float64", shape=shape)
            with self.subTest(shape):
                self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.blobs.Put(iter(
                    [blobs_pb2.PutRequest(header=blobs_pb2.PutRequest.Header(
                        caller=caller(), name=name))])), "shape")
                self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.blobs.QueryPut(
                    blobs_pb2.QueryPutRequest(caller=caller(), name=name)), "shape")

    def test_slabs_made_to_hurt(self):
        chunks = [self.header(1000), blobs_pb2.PutRequest(chunk=b"e" * 1000)]
        ref = blobs_pb2.BlobRef(name=self.server.blobs.Put(iter(chunks)).name)
        top = (1 << 63) - 1
        for start, count, stride in ((0, top, 1), (top, 1, 1), (0, 2, top), (top, top, top),
                                     (-1, 1, 1), (0, -1, 1), (0, 1, -1), (999, 2, 1), (2, 500, 2)):
            slab = blobs_pb2.Slab(dimensions=[dict(start=start, count=count, stride=stride)])
            with self.subTest((start, count, stride)):
                with self.assertRaises(grpc.RpcError) as caught:
                    list(self.server.blobs.Deref(blobs_pb2.DerefRequest(
                        caller=caller(), ref=ref, slab=slab)))
                self.assertIn(caught.exception.code(), (grpc.StatusCode.INVALID_ARGUMENT,
                                                        grpc.StatusCode.OUT_OF_RANGE))
        for offset, limit in (((1 << 64) - 1, 1), (1 << 63, 1 << 63), (1001, 0)):
            with self.assertRaises(grpc.RpcError) as caught:
                list(self.server.blobs.Deref(blobs_pb2.DerefRequest(
                    caller=caller(), ref=ref, offset=offset, limit=limit)))
            self.assertEqual(caught.exception.code(), grpc.StatusCode.OUT_OF_RANGE)

    def test_bytes_that_are_no_message(self):
        methods = ["/tiffin.v1.Jobs/" + name for name in (
            "Submit", "GetResult", "Renew", "Release", "StoreResult", "Link", "GetJob", "ListJobs",
            "Invalidate", "Explain", "Alias")]
        methods += ["/tiffin.v1.Blobs/" + name for name in ("FindMissing", "QueryPut", "Stat")]
        methods += ["/tiffin.v1.Admin/" + name for name in ("Describe", "Stats")]
        streams = ["/tiffin.v1.Jobs/SubmitBatch", "/tiffin.v1.Jobs/BatchGetResults",
                   "/tiffin.v1.Jobs/Await", "/tiffin.v1.Blobs/Put", "/tiffin.v1.Blobs/BatchPut",
                   "/tiffin.v1.Blobs/BatchDeref", "/tiffin.v1.Blobs/Deref"]
        channel = self.channel()
        for bytes_ in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 1000,
                       struct.pack("<Q", 0x8080808080808080) * 20):
            for method in methods:
                with self.subTest(method, bytes=bytes_[:8]), self.assertRaises(grpc.RpcError):
                    channel.unary_unary(method)(bytes_)
            for method in streams:
                with self.subTest(method, bytes=bytes_[:8]), self.assertRaises(grpc.RpcError):
                    list(channel.stream_stream(method)(iter([bytes_])))


if __name__ == "__main__":
    unittest.main()
