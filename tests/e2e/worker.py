"""A worker with nothing but the .proto: submits, puts, stores, awaits, derefs. Usage: worker.py ADDRESS"""
import base64, hashlib, json, struct, sys, threading, uuid
import grpc
from tiffin.v1 import blobs_pb2, blobs_pb2_grpc, common_pb2, jobs_pb2, jobs_pb2_grpc

channel = grpc.insecure_channel(sys.argv[1])
jobs, blobs = jobs_pb2_grpc.JobsStub(channel), blobs_pb2_grpc.BlobsStub(channel)


def caller():
    session = common_pb2.Session(id=uuid.uuid4().hex, name="worker.py", host="example")
    return common_pb2.Caller(namespace="worker", session=session, request_id=uuid.uuid4().hex)


def record(value):
    return common_pb2.Record(json=json.dumps(value).encode())


def submit(job):
    options = jobs_pb2.SubmitOptions(can_compute=True)
    return jobs.Submit(jobs_pb2.SubmitRequest(caller=caller(), job=record(job), options=options))


# An array: its key is SHA-256(dtype, shape as little-endian int64, bytes in C order).
data = struct.pack("<10q", *range(10))
key = hashlib.sha256(b"int64" + struct.pack("<q", 10) + data).digest()
name = common_pb2.BlobName(key=key, dtype="int64", shape=[10])
header = blobs_pb2.PutRequest.Header(caller=caller(), name=name)
put = blobs.Put(iter([blobs_pb2.PutRequest(header=header), blobs_pb2.PutRequest(chunk=data)]))
assert put.name.key == key and put.size == 80
text = base64.urlsafe_b64encode(key).decode()
print("put", text)

# A job on that array: the first to ask computes, the second waits and is told.
ref = {"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray", "ref": True,
       "data": {"hdf5_path": text, "dtype": "int64", "shape": [10]}}
job = {"function": "worker.total", "arguments": [ref], "version": uuid.uuid4().hex}
first, second = submit(job), submit(job)
assert (first.outcome, second.outcome) == (jobs_pb2.GRANTED, jobs_pb2.ATTACHED)
told = []


def wait():
    item = jobs_pb2.AwaitRequest.Item(job=jobs_pb2.JobName(key=first.key))
    for event in jobs.Await(iter([jobs_pb2.AwaitRequest(caller=caller(), items=[item])])):
        told.append(event)


waiter = threading.Thread(target=wait)
waiter.start()
chunks = b"".join(m.chunk for m in blobs.Deref(blobs_pb2.DerefRequest(
    caller=caller(), ref=blobs_pb2.BlobRef(record=record(ref)))))
total = sum(struct.unpack("<10q", chunks))
jobs.StoreResult(jobs_pb2.StoreResultRequest(caller=caller(), key=first.key, lease=first.lease.id,
                                             epoch=first.lease.epoch, record=record(total)))
waiter.join(timeout=60)
assert told[-1].event == jobs_pb2.AWAIT_RESULT and json.loads(told[-1].result.record.json) == 45
assert submit(job).outcome == jobs_pb2.RETRIEVED
print("stored, pushed and retrieved", total)
