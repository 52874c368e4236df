"""Starts the real server on a free port and a fresh folder, and speaks to it with generated stubs."""
import collections, json, os, re, signal, subprocess, tempfile, threading, uuid

import grpc
from tiffin.v1 import (admin_pb2_grpc, blobs_pb2_grpc, common_pb2, jobs_pb2,
                       jobs_pb2_grpc)

BOUND = 60  # seconds: only to tell a hang from slowness


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
             *self.flags], stderr=subprocess.PIPE, text=True, errors="replace")
        self.ended = False  # by stop()
        self.before = []  # what it said until it served
        self.after = collections.deque(maxlen=1000)  # the end of what it said then
        for line in self.process.stderr:  # ends when the server does
            self.before.append(line)
            if found := re.search(r"event=metrics address=(\S+)", line):
                self.metrics = found.group(1)
            found = re.search(r"event=serving address=(\S+)", line)
            if found:
                self.address = found.group(1)
                break
        else:
            self.process.wait()
            self.process.stderr.close()
            self.ended = True
            raise RuntimeError("the server did not start: " + "".join(self.before[-20:]))
        # A pipe that nobody reads gets full, and then the server waits.
        self.reader = threading.Thread(target=self.after.extend, args=(self.process.stderr,), daemon=True)
        self.reader.start()
        self.channel = grpc.insecure_channel(
            self.address, options=[("grpc.max_receive_message_length", 20 << 20),
                                   ("grpc.max_send_message_length", 20 << 20)])
        self.jobs = jobs_pb2_grpc.JobsStub(self.channel)
        self.blobs = blobs_pb2_grpc.BlobsStub(self.channel)
        self.admin = admin_pb2_grpc.AdminStub(self.channel)

    def stop(self, sig=signal.SIGTERM):
        """Ends the server by its id; returns its exit code, which is 0 after SIGTERM: anything else fails."""
        self.process.send_signal(sig)
        return self.wait(0 if sig == signal.SIGTERM else -sig)

    def wait(self, expected):
        """Until it has ended: with the exit code that is expected, or the end of its log is told."""
        try:
            code = self.process.wait(timeout=BOUND)
        except subprocess.TimeoutExpired:
            code = f"none within {BOUND} s"
            self.process.kill()
            self.process.wait()
        self.ended = True
        self.reader.join()
        self.process.stderr.close()
        self.channel.close()
        if code != expected:
            raise AssertionError(f"the server's exit code is {code}, not {expected}:\n" +
                                 "".join(list(self.after)[-100:]))
        return code

    def close(self):
        """It must be there still, unless a test has ended it, and must end well."""
        try:
            if not self.ended:
                self.stop()
        finally:
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


def until(condition):
    """Waits for it, a minute at most."""
    for _ in range(6000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come about")
