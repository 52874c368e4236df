"""Starts the real server on a free port and a fresh folder, and speaks to it with generated stubs."""
import json, os, re, signal, subprocess, tempfile, uuid

import grpc
from tiffin.v1 import (admin_pb2_grpc, blobs_pb2_grpc, common_pb2, jobs_pb2,
                       jobs_pb2_grpc)


class Server:
    """A server of its own; `data` outlives restarts."""

    def __init__(self, *flags):
        self.folder = tempfile.TemporaryDirectory(prefix="tiffin-e2e-")
        self.data = os.path.join(self.folder.name, "data")
        self.flags = flags
        self.start()

    def start(self, listen="127.0.0.1:0"):
        self.process = subprocess.Popen(
            [os.environ["TIFFIN_SERVER_BINARY"], "--data", self.data, "--listen", listen,
             *self.flags], stderr=subprocess.PIPE, text=True)
        self.before = []  # what it said until it served
        for line in self.process.stderr:  # ends when the server does
            self.before.append(line)
            if found := re.search(r"event=metrics address=(\S+)", line):
                self.metrics = found.group(1)
            found = re.search(r"event=serving address=(\S+)", line)
            if found:
                self.address = found.group(1)
                break
        else:
            raise RuntimeError("the server did not start")
        self.channel = grpc.insecure_channel(
            self.address, options=[("grpc.max_receive_message_length", 20 << 20),
                                   ("grpc.max_send_message_length", 20 << 20)])
        self.jobs = jobs_pb2_grpc.JobsStub(self.channel)
        self.blobs = blobs_pb2_grpc.BlobsStub(self.channel)
        self.admin = admin_pb2_grpc.AdminStub(self.channel)

    def stop(self, sig=signal.SIGTERM):
        """Ends the server by its id; returns its exit code."""
        self.process.send_signal(sig)
        code = self.process.wait(timeout=60)
        self.process.stderr.close()
        self.channel.close()
        return code

    def close(self):
        if self.process.poll() is None:
            self.stop()
        self.folder.cleanup()


def caller(namespace="default", request_id=None, host="here"):
    session = common_pb2.Session(id="s-" + host, name="e2e", host=host)
    return common_pb2.Caller(namespace=namespace, session=session,
                             request_id=request_id or uuid.uuid4().hex)


def record(value):
    return common_pb2.Record(json=json.dumps(value).encode())


def submit(server, job, namespace="default", compute=True, bulk=0, term=None, **who):
    options = jobs_pb2.SubmitOptions(can_compute=compute, bulk=bulk)
    if term:
        options.term.seconds = term
    return server.jobs.Submit(jobs_pb2.SubmitRequest(
        caller=caller(namespace, **who), job=record(job), options=options))


def store(server, answer, value, namespace="default", **members):
    return server.jobs.StoreResult(jobs_pb2.StoreResultRequest(
        caller=caller(namespace), key=answer.key, lease=answer.lease.id,
        epoch=answer.lease.epoch, record=record(value), **members))


def get(server, key, namespace="default", bulk=0):
    return server.jobs.GetResult(jobs_pb2.GetResultRequest(
        caller=caller(namespace), job=jobs_pb2.JobName(key=key), bulk=bulk)).result


def batch(rpc, *requests):
    """The items of all answers to a batch, in order."""
    items = [item for answer in rpc(iter(requests)) for item in answer.items]
    assert [item.index for item in items] == list(range(len(items))), "not in the order asked"
    return items


def job(name, *arguments):
    return {"function": name, "arguments": list(arguments)}
