"""Seeds of message_fuzzer: sequences of calls that cover each rpc and each way through the life of a job. Names such as
`$Lease.id` stand for what replies tell (message/tokens.h)."""
import base64
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


with tempfile.TemporaryDirectory() as folder:  # for the messages, from the .proto of now
    subprocess.run(["protoc", "-I" + os.path.join(ROOT, "proto"), "--python_out=" + folder] +
                   [f"tiffin/v1/{name}.proto" for name in ("common", "jobs", "blobs", "admin")], check=True)
    sys.path.insert(0, folder)
    from tiffin.v1 import admin_pb2 as admin, blobs_pb2 as blobs, common_pb2 as common, jobs_pb2 as jobs

EPOCH = -1234  # stands for the last epoch told
SESSION = common.Session(id="s", name="n", user="u", host="h", script="x.py", since={"seconds": 1})
CALLER = common.Caller(session=SESSION)
COMPUTES = jobs.SubmitOptions(can_compute=True)
KEY, KEY1 = b"$SubmitResponse.key", b"$SubmitResponse.key~1"
LEASE, LEASE1 = b"$Lease.id", b"$Lease.id~1"
NAME = common.BlobName(dtype="uint8", shape=[3])
KNOWN = common.BlobName(key=b"$BlobName.key", dtype="uint8", shape=[3])
NOTHING = common.BlobName(key=b"k" * 32, dtype="int64", shape=[2])
TYPED = {"_noodles": "0.3.0", "type": "<object>"}
BYTES = dict(TYPED, **{"class": "builtins.bytes", "data": base64.b64encode(b"x" * 99).decode()})
REF = dict(TYPED, **{"class": "numpy.ndarray", "ref": True,
                     "data": {"hdf5_path": "$$BlobName.key", "dtype": "uint8", "shape": [3]}})
MARKED = dict(TYPED, **{"class": "m.Model", "ref": True, "data": [1, {"a": 2.5}]})
NODE = dict(TYPED, **{"class": "noodles.workflow.model.FunctionNode",
                      "data": {"function": "m.f", "arguments": [], "hints": None}})
WORKFLOW = dict(TYPED, **{"class": "noodles.workflow.model.Workflow",
                          "data": {"root": 0, "nodes": [NODE], "links": []}})


def record(value):
    return common.Record(json=json.dumps(value).encode())


def job(name="f", *arguments, **more):
    return record({"function": name, "arguments": list(arguments), **more})


def frame(method, message, then="."):
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return f"{method} {then} {len(data)}\n".encode() + data


def submit(*arguments, who=CALLER, then=".", **options):
    return frame("Jobs.Submit", jobs.SubmitRequest(caller=who, job=job("f", *arguments), options=jobs.SubmitOptions(
        **dict({"can_compute": True}, **options))), then)


def store(value, lease=LEASE, key=b"", **more):
    return frame("Jobs.StoreResult", jobs.StoreResultRequest(
        caller=CALLER, key=key, lease=lease, epoch=EPOCH, record=record(value), **more))


def get(key=KEY, **more):
    return frame("Jobs.GetResult", jobs.GetResultRequest(caller=CALLER, job={"key": key}, **more))


def awaits(*keys, then=".", **more):
    return frame("Jobs.Await", jobs.AwaitRequest(caller=CALLER, items=[{"job": {"key": key}} for key in keys],
                                                 **more), then)


def put(data=b"abc", name=NAME, then=".", **more):
    header = blobs.PutRequest(header={"caller": CALLER, "name": name, **more})
    return frame("Blobs.Put", header, "+") + frame("Blobs.Put", blobs.PutRequest(chunk=data), then)


def deref(ref, **more):
    return frame("Blobs.Deref", blobs.DerefRequest(caller=CALLER, ref=ref, **more))


def call(method, request):
    return frame(method, request)


def lives():
    """Of jobs."""
    link = frame("Jobs.Link", jobs.LinkRequest(caller=CALLER, key=KEY1, lease=LEASE1, target=KEY))
    yield submit(1) + store(7) + get() + submit(1) + store(7, key=KEY) + store(8, key=KEY)  # nondeterminism
    yield submit(1) + frame("Jobs.Renew", jobs.RenewRequest(caller=CALLER, leases=[LEASE, b"l"], progress=True)) + frame(
        "Jobs.Release", jobs.ReleaseRequest(caller=CALLER, leases=[LEASE])) + submit(1) + frame(
            "Jobs.Release", jobs.ReleaseRequest(caller=CALLER, keys=[KEY])) + store(1, key=KEY)
    yield submit(1) + store("no", kind=2, retryable=True, exit_status=1, log="l") + get() + submit(
        1, answer_failures={"seconds": 9}) + submit(1)
    yield submit(1) + store(WORKFLOW) + submit(2) + link + get(KEY1) + store(5, lease=LEASE, key=KEY) + get(
        KEY1) + awaits(KEY1) + frame("Jobs.Invalidate", jobs.InvalidateRequest(
            caller=CALLER, keys=[KEY], cascade=True)) + submit(1) + get(KEY1)
    yield submit(1) + submit(2) + awaits(KEY, KEY1, then="+", can_compute=True, capacity=1) + store(3) + frame(
        "Jobs.Release", jobs.ReleaseRequest(caller=CALLER, leases=[LEASE1])) + awaits(KEY, b"k" * 32) + store(4, key=KEY)
    yield submit(1, term={"nanos": 1000000}) + awaits(KEY, can_compute=True, capacity=9) + submit(
        1, discard_result=True) + store(1)
    yield submit(1, who=common.Caller(request_id="r", namespace="n")) + submit(
        1, who=common.Caller(request_id="r", namespace="n")) + submit(1, can_compute=False)
    yield submit(BYTES, MARKED) + store([BYTES, MARKED], blobs=[{"name": NAME, "data": b"abc"}],
                                        compute_time={"seconds": 2}) + get(bulk=common.BULK_INLINE) + submit(
        REF) + store(REF) + frame("Jobs.GetJob", jobs.GetJobRequest(
            caller=CALLER, job={"key": KEY}, inputs=True, outputs=True)) + frame(
                "Jobs.Invalidate", jobs.InvalidateRequest(caller=CALLER, filter={"function": "f"}, dry_run=True))
    yield frame("Jobs.StoreResult", jobs.StoreResultRequest(caller=CALLER, record=record(1), job=job("g"))) + put() + store(
        REF, lease=b"", key=b"k" * 32)
    batch = jobs.SubmitBatchRequest(caller=CALLER, options=COMPUTES, max_grants=2,
                                    jobs=[job("f", 1), job("f", 2), job("f", 3), record(1)])
    wanted = jobs.BatchGetResultsRequest(caller=CALLER, jobs=[
        {"key": KEY}, {"key": KEY1}, {}, {"alias": {"profile": "p", "name": "n"}}])
    yield frame("Jobs.SubmitBatch", batch, "+") + store([BYTES] * 3) + frame(
        "Jobs.SubmitBatch", jobs.SubmitBatchRequest(jobs=[job("f", 1), job("f", 4)])) + frame(
            "Jobs.BatchGetResults", wanted)
    yield frame("Jobs.SubmitBatch", batch, "x") + awaits(b"k" * 32, then="x") + submit(1, then="x")
    alias = {"profile": "noodles/json", "name": "a"}
    yield submit(1) + store(1) + call("Jobs.Alias", jobs.AliasRequest(
        caller=CALLER, set={"alias": alias, "key": KEY})) + call("Jobs.Alias", jobs.AliasRequest(
            caller=CALLER, set={"alias": dict(alias, name="b"), "key": KEY, "replace": True})) + call(
                "Jobs.Alias", jobs.AliasRequest(caller=CALLER, list={"page_size": 1})) + call(
                    "Jobs.Alias", jobs.AliasRequest(caller=CALLER, list={
                        "page_size": 1, "page_token": "$AliasResponse.next_page_token"})) + call(
                            "Jobs.GetResult", jobs.GetResultRequest(caller=CALLER, job={"alias": alias})) + call(
                                "Jobs.Alias", jobs.AliasRequest(caller=CALLER, delete=alias))
    pages = jobs.ListJobsRequest(caller=CALLER, page_size=1, newest_first=True, filter={
        "states": [jobs.JOB_LEASED, jobs.JOB_DONE], "host": "h", "created_after": {"seconds": 1}})
    more = jobs.ListJobsRequest()
    more.CopyFrom(pages)
    more.page_token = "$ListJobsResponse.next_page_token"
    yield submit(1) + submit(2) + store(2) + submit(3) + call("Jobs.ListJobs", pages) + call("Jobs.ListJobs", more)
    yield submit(1, {"a": [1, 2]}) + store(1) + call("Jobs.Explain", jobs.ExplainRequest(
        caller=CALLER, job=job("f", 1, {"a": [1, 3]}, salt="s"), neighbours=3)) + call(
            "Jobs.Explain", jobs.ExplainRequest(caller=CALLER, key=KEY))


def stored():
    """Of blobs, and what operators do with them."""
    slab = {"dimensions": [{"start": 0, "count": 2, "stride": 2}]}
    ref = {"name": KNOWN}
    yield put() + put(name=KNOWN) + call("Blobs.Stat", blobs.StatRequest(caller=CALLER, ref=ref)) + deref(
        ref) + deref(ref, slab=slab, format=blobs.DEREF_NPY) + deref(ref, offset=1, limit=1) + deref(
            {"key": b"$BlobName.key"}) + deref({"record": record(REF)})
    yield put(data=b"ab") + put(data=b"abcd") + put(then="x") + call(
        "Blobs.QueryPut", blobs.QueryPutRequest(caller=CALLER, name=KNOWN))
    large = common.BlobName(dtype="uint8", shape=[(1 << 20) + 1])
    declared = common.BlobName(key=b"k" * 32, dtype="uint8", shape=[2 << 20])
    yield frame("Blobs.Put", blobs.PutRequest(header={"caller": CALLER, "name": large}), "+") + frame(
        "Blobs.Put", blobs.PutRequest(chunk=b"$MiB"), "+") + frame("Blobs.Put", blobs.PutRequest(chunk=b"x")) + deref(
            {"key": b"$BlobName.key"}, offset=1 << 20) + deref({"key": b"$BlobName.key"}, local=True)
    yield put(data=b"$MiB", name=declared, then="x") + call("Blobs.QueryPut", blobs.QueryPutRequest(
        caller=CALLER, name=declared)) + put(data=b"x", name=declared, offset=1 << 20) + put(
            data=b"$MiB", name=declared, offset=1 << 20)
    yield put() + call("Blobs.FindMissing", blobs.FindMissingRequest(
        caller=CALLER, blobs=[KNOWN, NOTHING], values=[b"v" * 32]))
    items = [{"name": NAME, "data": b"abc"}, {"name": NOTHING, "data": b"x" * 16}, {"name": {"dtype": "<U1"}},
             {"name": {"dtype": "|V1", "shape": [0]}}]
    refs = [{"name": KNOWN}, {"key": b"k" * 32}, {"value": b"v" * 32}, {}, {"record": record(REF)}]
    yield frame("Blobs.BatchPut", blobs.BatchPutRequest(caller=CALLER, items=items), "+") + frame(
        "Blobs.BatchDeref", blobs.BatchDerefRequest(caller=CALLER, refs=refs), "+") + frame(
            "Blobs.BatchPut", blobs.BatchPutRequest(items=items[:1])) + frame(
                "Blobs.BatchDeref", blobs.BatchDerefRequest(refs=refs[:1]))
    who = {"caller": CALLER}
    yield put() + submit(REF) + store(BYTES) + call("Admin.Seal", admin.SealRequest(**who)) + call(
        "Admin.Verify", admin.VerifyRequest(keys=True, **who)) + call(
            "Admin.Catalogue", admin.CatalogueRequest(**who)) + call(
                "Admin.Backup", admin.BackupRequest(name="b", **who)) + call(
                    "Admin.Backup", admin.BackupRequest(name="../b", **who)) + call(
                        "Admin.Collect", admin.CollectRequest(dry_run=True, max_bytes=0, **who)) + call(
                            "Admin.Collect", admin.CollectRequest(max_bytes=0, **who)) + get() + deref(ref)
    yield put() + call("Admin.Verify", admin.VerifyRequest(bytes_per_second=1, **who)) + call(
        "Admin.Collect", admin.CollectRequest(**who)) + call(
            "Admin.Describe", admin.DescribeRequest(**who)) + call("Admin.Stats", admin.StatsRequest(**who))


def sequences():
    yield from lives()
    yield from stored()
    yield frame("Health.Check", b"") + frame("Health.Check", b"\x0a\x01x") + frame("Health.Watch", b"")
    yield frame("Jobs.Submit", b"\xff") + frame("Blobs.Deref", b"\x0a\xff") + frame(
        "Jobs.Await", b"\x0b\x0b") + frame("Blobs.Put", b"\xff" * 9) + frame("Admin.Verify", b"\x0a\x05")
