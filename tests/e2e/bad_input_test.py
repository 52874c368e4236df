"""Bad input for each RPC: the documented code, a message that names what and where, and a server that
serves on."""
import json, os, unittest

import grpc

from support import Server, batch, caller, job, record, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2, common_pb2, jobs_pb2

BAD = grpc.StatusCode.INVALID_ARGUMENT
ABSENT = grpc.StatusCode.NOT_FOUND
NOT_NOW = grpc.StatusCode.FAILED_PRECONDITION
EXISTS = grpc.StatusCode.ALREADY_EXISTS
NO_KEY = b"k" * 32  # nothing has it
REF = {"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray", "ref": True}


def ref(**data):
    return dict(REF, data=dict({"hdf5_path": "A" * 43 + "=", "dtype": "int64", "shape": [1]},
                               **data))


def raw(text):
    return common_pb2.Record(json=text)


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.close)

    def check(self, table):
        """Rows: what is wrong, the code, words of the message, the call."""
        for what, code, words, call in table:
            with self.subTest(what):
                with self.assertRaises(grpc.RpcError) as caught:
                    answer = call()
                    if hasattr(answer, "__iter__"):
                        list(answer)
                details = caught.exception.details()
                self.assertEqual(caught.exception.code(), code, details)
                for word in words:
                    self.assertIn(word, details)
        self.serves()

    def check_items(self, table, call):
        """The same for a batch: each bad item has its own status, the good one beside them is answered."""
        for what, code, words, item in table:
            with self.subTest(what):
                status = call(item)
                self.assertEqual(status.code, code.value[0], status.message)
                for word in words:
                    self.assertIn(word, status.message)
        self.serves()

    def serves(self):
        fresh = submit(self.server, job("serves", os.urandom(8).hex()))
        self.assertEqual(fresh.outcome, jobs_pb2.GRANTED)
        store(self.server, fresh, 1)

    def granted(self, *arguments):
        return submit(self.server, job(self._testMethodName, *arguments))

    def bad_jobs(self):
        """Jobs that no rpc takes: what is wrong, code, words, record."""
        deep = b"[" * 250 + b"]" * 250
        return [
            ("nothing", BAD, ["job"], common_pb2.Record()),
            ("not JSON", BAD, ["job", "byte 0"], raw(b"nonsense")),
            ("cut", BAD, ["job", "byte"], raw(b'{"function": "f", "arguments": [1')),
            ("not UTF-8", BAD, ["job", "byte"], raw(b'{"function": "\xff", "arguments": []}')),
            ("too deep", BAD, ["job", "200"],
             raw(b'{"function": "f", "arguments": ' + deep + b"}")),
            ("too many entries", BAD, ["arguments", "1000000"],
             raw(b'{"function": "f", "arguments": [' + b"0," * 1000000 + b"0]}")),
            ("no object", BAD, ["job"], raw(b"[1]")),
            ("no arguments", BAD, ["arguments"], record({"function": "f"})),
            ("unknown member", BAD, ["kwargs"],
             record({"function": "f", "arguments": [], "kwargs": {}})),
            ("absurd shape", BAD, ["arguments[0]", "shape[1]"],
             record(job("f", ref(shape=[1, -1])))),
            ("shape too large", BAD, ["arguments[0]"],
             record(job("f", ref(shape=[1 << 40, 1 << 40])))),
            ("bad key in a ref", BAD, ["arguments[0]", "hdf5_path"],
             record(job("f", ref(hdf5_path="short")))),
            ("bad dtype in a ref", BAD, ["arguments[0]", "dtype"],
             record(job("f", ref(dtype="quaternion")))),
            ("main without version", NOT_NOW, ["__main__"],
             record(job("__main__.f"))),
        ]

    def test_submit(self):
        def call(text, **options):
            return lambda: self.server.jobs.Submit(jobs_pb2.SubmitRequest(
                caller=caller(), job=text, options=jobs_pb2.SubmitOptions(**options)))
        self.check([(what, code, words, call(text)) for what, code, words, text in self.bad_jobs()])
        short, long = jobs_pb2.SubmitOptions(), jobs_pb2.SubmitOptions()
        short.term.seconds, long.term.seconds = 1, 7200
        good = record(job("f", "term"))
        self.check([
            ("term too short", BAD, ["term"], call(good, can_compute=True, term=short.term)),
            ("term too long", BAD, ["term"], call(good, can_compute=True, term=long.term)),
        ])

    def test_submit_batch(self):
        def call(bad):
            request = jobs_pb2.SubmitBatchRequest(caller=caller(),
                                                  jobs=[record(job("f", "good")), bad])
            items = [i for r in self.server.jobs.SubmitBatch(iter([request])) for i in r.items]
            self.assertEqual([i.index for i in items], [0, 1])
            self.assertEqual((items[0].status.code, items[0].response.outcome), (0, jobs_pb2.OPEN))
            return items[1].status
        self.check_items(self.bad_jobs(), call)

    def test_caller(self):
        def call(who):
            return lambda: self.server.admin.Describe(admin_pb2.DescribeRequest(caller=who))
        def session(size):
            return common_pb2.Caller(session=common_pb2.Session(id="s" * size))
        self.check([
            ("namespace with a blank", BAD, ["caller.namespace"], call(caller("a b"))),
            ("namespace too long", BAD, ["caller.namespace", "128"], call(caller("n" * 129))),
            ("request id too long", BAD, ["request_id", "128"],
             call(caller(request_id="r" * 129))),
            ("session id too long", BAD, ["session", "128"], call(session(129))),
        ])

    def test_get_result(self):
        def call(name):
            return lambda: self.server.jobs.GetResult(
                jobs_pb2.GetResultRequest(caller=caller(), job=name))
        pending = self.granted()
        self.check([
            ("no name", BAD, ["job"], call(jobs_pb2.JobName())),
            ("short key", BAD, ["job.key", "32"], call(jobs_pb2.JobName(key=b"short"))),
            ("unknown key", ABSENT, ["never submitted"], call(jobs_pb2.JobName(key=NO_KEY))),
            ("pending", ABSENT, ["comput"], call(jobs_pb2.JobName(key=pending.key))),
            ("unknown alias", ABSENT, ["p", "n"],
             call(jobs_pb2.JobName(alias=jobs_pb2.AliasName(profile="p", name="n")))),
        ])

    def test_batch_get_results(self):
        good = self.granted()
        store(self.server, good, 1)

        def call(name):
            items = batch(self.server.jobs.BatchGetResults, jobs_pb2.BatchGetResultsRequest(
                caller=caller(), jobs=[jobs_pb2.JobName(key=good.key), name]))
            self.assertEqual(items[0].result.record.json, b"1")
            return items[1].status
        self.check_items([
            ("short key", BAD, ["32"], jobs_pb2.JobName(key=b"short")),
            ("unknown key", ABSENT, ["never submitted"], jobs_pb2.JobName(key=NO_KEY)),
        ], call)
        many = jobs_pb2.BatchGetResultsRequest(caller=caller(),
                                               jobs=[jobs_pb2.JobName(key=NO_KEY)] * 10001)
        self.check([("too many", BAD, ["jobs", "10000"],
                     lambda: self.server.jobs.BatchGetResults(iter([many])))])

    def test_await(self):
        def call(name):
            item = jobs_pb2.AwaitRequest.Item(job=name)
            request = jobs_pb2.AwaitRequest(caller=caller(), items=[item])
            (event,) = self.server.jobs.Await(iter([request]), timeout=60)
            self.assertEqual(event.event, jobs_pb2.AWAIT_ERROR)
            return event.status
        self.check_items([
            ("no name", BAD, ["job"], jobs_pb2.JobName()),
            ("short key", BAD, ["32"], jobs_pb2.JobName(key=b"short")),
            ("unknown alias", ABSENT, ["p", "n"],
             jobs_pb2.JobName(alias=jobs_pb2.AliasName(profile="p", name="n"))),
        ], call)

    def test_leases(self):
        def renew(leases):
            return lambda: self.server.jobs.Renew(
                jobs_pb2.RenewRequest(caller=caller(), leases=leases))

        def release(leases):
            return lambda: self.server.jobs.Release(
                jobs_pb2.ReleaseRequest(caller=caller(), leases=leases))
        self.check([
            ("renew too many", BAD, ["leases", "10000"], renew([b"x" * 16] * 10001)),
            ("release too many", BAD, ["leases", "10000"], release([b"x" * 16] * 10001)),
        ])
        # Leases that nobody has are no errors: they may have lapsed.
        lost = renew([b"unknown", b""])().outcomes
        self.assertEqual(list(lost), [jobs_pb2.RenewResponse.LOST] * 2)
        self.assertEqual(release([b"unknown"])().released, 0)

    def test_store_result(self):
        def call(**members):
            return lambda: self.server.jobs.StoreResult(
                jobs_pb2.StoreResultRequest(caller=caller(), **members))
        held, other, done = self.granted(1), self.granted(2), self.granted(3)
        store(self.server, done, 1)
        lease = {"key": held.key, "lease": held.lease.id, "epoch": held.lease.epoch}
        error = {"kind": jobs_pb2.RESULT_KIND_ERROR, "record": record("broken")}
        blob = common_pb2.BlobName(dtype="int64", shape=[2])
        self.check([
            ("nothing", BAD, ["key"], call(record=record(1))),
            ("short key", BAD, ["key", "32"], call(key=b"short", record=record(1))),
            ("unknown job", ABSENT, ["job"], call(key=NO_KEY, record=record(1))),
            ("no record", BAD, ["record"], call(**lease)),
            ("not JSON", BAD, ["record", "byte"], call(record=raw(b"{"), **lease)),
            ("too deep", BAD, ["record", "200"],
             call(record=raw(b"[" * 250 + b"]" * 250), **lease)),
            ("absurd shape", BAD, ["record", "[0]", "shape"],
             call(record=record([ref(shape=[-1])]), **lease)),
            ("absent blob", NOT_NOW, ["absent", "A" * 43], call(record=record(ref()), **lease)),
            ("absent value", NOT_NOW, ["absent", "A" * 43],
             call(record=record(dict(REF, data={"value": "A" * 43 + "=", "size": 3},
                                     **{"class": "m.C"})), **lease)),
            ("stale epoch", NOT_NOW, ["epoch"],
             call(key=held.key, lease=b"old", epoch=held.lease.epoch + 1000, record=record(1))),
            ("somebody else's lease", NOT_NOW, ["epoch"],
             call(key=held.key, lease=other.lease.id, epoch=other.lease.epoch, record=record(1))),
            ("no lease while one is live", NOT_NOW, ["somebody else"],
             call(key=held.key, record=record(1))),
            ("error without a lease", NOT_NOW, ["lease"], call(key=held.key, **error)),
            ("another value", EXISTS, ["digest"], call(key=done.key, record=record(2))),
            ("log too long", BAD, ["log", "65536"],
             call(record=record(1), log="x" * 65537, **lease)),
            ("small blob cut", BAD, ["blobs[0]", "16"],
             call(record=record(1), blobs=[jobs_pb2.SmallBlob(name=blob, data=b"x")], **lease)),
            ("job of another key", BAD, ["job"],
             call(key=NO_KEY, job=record(job("f", "x")), record=record(1))),
        ])
        # The lease is as it was: nothing of all this was stored.
        store(self.server, held, 1)

    def test_link(self):
        def call(answer, target, lease=None):
            return lambda: self.server.jobs.Link(jobs_pb2.LinkRequest(
                caller=caller(), key=answer.key, target=target,
                lease=answer.lease.id if lease is None else lease))
        plain, unfolding = self.granted("plain"), self.granted("unfolding")
        back = self.granted("back")
        def noodles(name, **data):
            return {"_noodles": "0.3.0", "type": "<object>", "class": "noodles." + name,
                    "data": data}

        node = noodles("workflow.model.FunctionNode", function="m.f", arguments=[], hints=None)
        workflow = noodles("interface.decorator.PromisedObject", workflow=noodles(
            "workflow.model.Workflow", root=0, nodes=[node], links=[]))
        for answer in (unfolding, back):
            store(self.server, answer, workflow)
        call(back, unfolding.key)()
        self.check([
            ("not unfolding", NOT_NOW, ["unfolding"], call(plain, plain.key)),
            ("unknown target", ABSENT, ["target"], call(unfolding, NO_KEY)),
            ("short target", BAD, ["target", "32"], call(unfolding, b"short")),
            ("wrong lease", NOT_NOW, ["lease"], call(unfolding, plain.key, lease=b"wrong")),
            ("to itself", NOT_NOW, ["loop"], call(unfolding, unfolding.key)),
            ("a loop of two", NOT_NOW, ["loop"], call(unfolding, back.key)),
        ])

    def test_alias(self):
        def call(**action):
            return lambda: self.server.jobs.Alias(
                jobs_pb2.AliasRequest(caller=caller(), **action))

        def point(key, **name):
            return call(set=jobs_pb2.AliasRequest.Set(
                alias=jobs_pb2.AliasName(**dict({"profile": "p", "name": "n"}, **name)), key=key))
        first, second = self.granted(1), self.granted(2)
        point(first.key, name="taken")()
        self.check([
            ("no action", BAD, ["action"], call()),
            ("no profile", BAD, ["profile"], point(first.key, profile="")),
            ("no name", BAD, ["name"], point(first.key, name="")),
            ("short key", BAD, ["key", "32"], point(b"short")),
            ("unknown job", ABSENT, ["job"], point(NO_KEY)),
            ("points elsewhere", EXISTS, ["taken", "replace"], point(second.key, name="taken")),
            ("delete of none", ABSENT, ["p", "absent"],
             call(delete=jobs_pb2.AliasName(profile="p", name="absent"))),
            ("bad page token", BAD, ["page_token"],
             call(list=jobs_pb2.AliasRequest.List(page_token="not one of ours"))),
            ("page too large", BAD, ["page_size", "1000"],
             call(list=jobs_pb2.AliasRequest.List(page_size=1001))),
        ])

    def bad_uploads(self):
        """Blobs that nobody takes: what is wrong, words, name, bytes."""
        def name(dtype="uint8", shape=(4,), key=b""):
            return common_pb2.BlobName(key=key, dtype=dtype, shape=shape)
        return [
            ("wrong key", ["key"], name(key=NO_KEY), b"abcd"),
            ("short key", ["name.key", "32"], name(key=b"short"), b"abcd"),
            ("too few bytes", ["3", "4"], name(), b"abc"),
            ("too many bytes", ["4"], name(), b"abcde"),
            ("unknown dtype", ["name.dtype", "quaternion"], name(dtype="quaternion"), b"abcd"),
            ("object dtype", ["name.dtype"], name(dtype="object"), b"abcd"),
            ("no dtype", ["name.dtype"], name(dtype=""), b"abcd"),
            ("shape overflows", ["shape"], name(shape=[1 << 60, 1 << 60]), b"abcd"),
            ("too many dimensions", ["shape", "32"], name(shape=[1] * 33), b"a"),
        ]

    def stored_blobs(self):
        return self.server.admin.Stats(admin_pb2.StatsRequest()).blobs

    def test_put(self):
        def call(*parts):
            return lambda: self.server.blobs.Put(iter(parts))
        header = blobs_pb2.PutRequest.Header
        first = lambda name: blobs_pb2.PutRequest(header=header(caller=caller(), name=name))
        chunk = lambda data: blobs_pb2.PutRequest(chunk=data)
        before = self.stored_blobs()
        self.check([(what, BAD, words, call(first(name), chunk(data)))
                    for what, words, name, data in self.bad_uploads()])
        name = common_pb2.BlobName(dtype="uint8", shape=[4])
        self.check([
            ("nothing at all", BAD, ["header"], call()),
            ("no header", BAD, ["header"], call(chunk(b"abcd"))),
            ("two headers", BAD, ["header"], call(first(name), first(name))),
        ])
        # Nothing stays of what was refused.
        self.assertEqual(self.stored_blobs(), before)

    def test_batch_put(self):
        good = blobs_pb2.BatchPutRequest.Item(
            name=common_pb2.BlobName(dtype="uint8", shape=[4]), data=b"good")

        def call(item):
            items = batch(self.server.blobs.BatchPut, blobs_pb2.BatchPutRequest(
                caller=caller("batch"), items=[good, item]))
            self.assertEqual(items[0].status.code, 0)
            return items[1].status
        self.check_items([(what, BAD, [w.replace("name.", "") for w in words],
                           blobs_pb2.BatchPutRequest.Item(name=name, data=data))
                          for what, words, name, data in self.bad_uploads()], call)
        big = blobs_pb2.BatchPutRequest.Item(
            name=common_pb2.BlobName(dtype="uint8", shape=[2 << 20]), data=b"x" * (2 << 20))
        self.check_items([("too large", BAD, ["Put"], big)], call)
        many = blobs_pb2.BatchPutRequest(caller=caller("batch"), items=[good] * 10001)
        self.check([("too many", BAD, ["items", "10000"],
                     lambda: self.server.blobs.BatchPut(iter([many])))])

    def refs(self):
        """Refs that no blob answers: what is wrong, code, words, ref."""
        on_host = dict(REF, host="node1", files=["a.npy"], data="a.npy")
        return [
            ("nothing", BAD, ["ref"], blobs_pb2.BlobRef()),
            ("short key", BAD, ["32"], blobs_pb2.BlobRef(key=b"short")),
            ("unknown key", ABSENT, ["no blob"], blobs_pb2.BlobRef(key=NO_KEY)),
            ("unknown value", ABSENT, ["no "], blobs_pb2.BlobRef(value=NO_KEY)),
            ("unknown name", ABSENT, ["no blob"], blobs_pb2.BlobRef(
                name=common_pb2.BlobName(key=NO_KEY, dtype="int64", shape=[1]))),
            ("absent ref", ABSENT, ["no blob"], blobs_pb2.BlobRef(record=record(ref()))),
            ("no ref", BAD, ["record"], blobs_pb2.BlobRef(record=record({"a": 1}))),
            ("not JSON", BAD, ["record", "byte"], blobs_pb2.BlobRef(record=raw(b"{"))),
            ("absurd shape", BAD, ["record", "shape"],
             blobs_pb2.BlobRef(record=record(ref(shape=[-1])))),
            ("a file on a host", NOT_NOW, ["node1", "a.npy"],
             blobs_pb2.BlobRef(record=record(on_host))),
        ]

    def test_deref(self):
        def call(target, **range_):
            return lambda: self.server.blobs.Deref(
                blobs_pb2.DerefRequest(caller=caller("deref"), ref=target, **range_))
        self.check([(what, code, words, call(target)) for what, code, words, target in self.refs()])
        name = self.put_four_bytes("deref")
        self.check([
            ("offset beyond the end", grpc.StatusCode.OUT_OF_RANGE, ["5", "4"],
             call(blobs_pb2.BlobRef(name=name), offset=5)),
            ("another namespace", ABSENT, ["no blob"], lambda: self.server.blobs.Deref(
                blobs_pb2.DerefRequest(caller=caller("elsewhere"),
                                       ref=blobs_pb2.BlobRef(name=name)))),
        ])

    def put_four_bytes(self, namespace):
        item = blobs_pb2.BatchPutRequest.Item(
            name=common_pb2.BlobName(dtype="uint8", shape=[4]), data=b"four")
        return batch(self.server.blobs.BatchPut, blobs_pb2.BatchPutRequest(
            caller=caller(namespace), items=[item]))[0].response.name

    def test_batch_deref(self):
        good = blobs_pb2.BlobRef(name=self.put_four_bytes("deref"))

        def call(target):
            items = batch(self.server.blobs.BatchDeref, blobs_pb2.BatchDerefRequest(
                caller=caller("deref"), refs=[good, target]))
            self.assertEqual(items[0].data, b"four")
            return items[1].status
        self.check_items(self.refs(), call)
        many = blobs_pb2.BatchDerefRequest(caller=caller("deref"), refs=[good] * 10001)
        self.check([("too many", BAD, ["refs", "10000"],
                     lambda: self.server.blobs.BatchDeref(iter([many])))])

    def test_stat(self):
        def call(target):
            return lambda: self.server.blobs.Stat(
                blobs_pb2.StatRequest(caller=caller("stat"), ref=target))
        self.check([(what, code, words, call(target)) for what, code, words, target in self.refs()])

    def test_find_missing(self):
        def call(**members):
            return lambda: self.server.blobs.FindMissing(
                blobs_pb2.FindMissingRequest(caller=caller(), **members))
        name = common_pb2.BlobName(key=NO_KEY, dtype="int64", shape=[1])
        short = common_pb2.BlobName(key=b"short", dtype="int64", shape=[1])
        odd = common_pb2.BlobName(key=NO_KEY, dtype="quaternion", shape=[1])
        self.check([
            ("short key", BAD, ["blobs[1]", "key", "32"], call(blobs=[name, short])),
            ("unknown dtype", BAD, ["blobs[0]", "dtype"], call(blobs=[odd])),
            ("short value", BAD, ["values[0]", "32"], call(values=[b"short"])),
            ("too many", BAD, ["10000"], call(blobs=[name] * 10001)),
        ])


if __name__ == "__main__":
    unittest.main()
