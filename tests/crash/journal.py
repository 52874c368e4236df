"""What clients were told, kept outside of the server, and whether it still holds."""
import threading

import grpc
from support import caller
from tiffin.v1 import blobs_pb2, common_pb2, jobs_pb2

from blob_support import key_of

GONE = (grpc.StatusCode.NOT_FOUND,)


class Broken(AssertionError):
    """A promise of the server's that does not hold."""


class Entry:
    """A job: the state that was acknowledged last, and those that calls without an answer may have led to.

    A state is ("none",), ("value", JSON text, blobs), ("error", JSON text), ("linked", key), or
    ("leased", lease id, epoch).
    """

    def __init__(self, namespace, key):
        self.namespace, self.key = namespace, key
        self.acked, self.maybe = ("none",), []

    def allowed(self):
        return [self.acked] + self.maybe


class Journal:
    def __init__(self):
        self.lock = threading.Lock()
        self.jobs = {}       # (namespace, key) → Entry
        self.aliases = {}    # (namespace, name) → keys that are allowed; None: absent
        self.blobs = {}      # (namespace, name as bytes) → times Collect had begun when it was acknowledged
        self.epochs = set()
        self.collects = 0
        self.acknowledged = 0

    # ---- written by clients

    def entry(self, namespace, key):
        with self.lock:
            return self.jobs.setdefault((namespace, key), Entry(namespace, key))

    def may_become(self, entry, state):
        """Before the call."""
        entry.maybe.append(state)

    def became(self, entry, state):
        """After its answer."""
        with self.lock:
            self.acknowledged += 1
        entry.acked, entry.maybe = state, []

    def granted(self, epoch):
        with self.lock:
            if epoch in self.epochs:
                raise Broken(f"epoch {epoch} was granted twice")
            self.epochs.add(epoch)

    def put(self, namespace, name, collects_before):
        with self.lock:
            self.acknowledged += 1
            self.blobs[namespace, name.SerializeToString()] = collects_before

    # ---- checked

    def check(self, server):
        """With no client at work. What is found is what is expected from now on."""
        kept, broken = set(), []
        for entry in list(self.jobs.values()):
            try:
                self._check_job(server, entry)
            except Broken as error:
                broken.append(str(error))
            if entry.acked[0] == "value":
                kept |= {(entry.namespace, name.SerializeToString()) for name in entry.acked[2]}
        if broken:
            raise Broken(f"{len(broken)} of {len(self.jobs)} jobs: " + "\n".join(broken[:3]))
        for (namespace, name), keys in self.aliases.items():
            self._check_alias(server, namespace, name, keys)
        self._check_blobs(server, kept)

    def settle(self, server, entries):
        """Jobs of which a call decided that was answered: each is now what it is, if that is allowed."""
        for entry in entries:
            self._check_job(server, entry)

    def _check_job(self, server, entry):
        try:
            info = server.jobs.GetJob(jobs_pb2.GetJobRequest(
                caller=caller(entry.namespace), job=jobs_pb2.JobName(key=entry.key))).job
        except grpc.RpcError as error:
            if error.code() not in GONE:
                raise Broken(f"job {entry.key.hex()[:12]}: {error.code()} {error.details()}")
            info = None
        for state in entry.allowed():
            if _is(info, state):
                entry.acked, entry.maybe = state, []
                return
        raise Broken(f"job {entry.key.hex()[:12]} in {entry.namespace}: is {_text(info)}, "
                     f"not one of {entry.allowed()}")

    def _check_alias(self, server, namespace, name, keys):
        try:
            found = server.jobs.GetJob(jobs_pb2.GetJobRequest(
                caller=caller(namespace), job=jobs_pb2.JobName(
                    alias=jobs_pb2.AliasName(profile="crash", name=name)))).job.key
        except grpc.RpcError as error:
            if error.code() not in GONE:
                raise
            found = None
        if found not in keys:
            raise Broken(f"alias {name}: {found}, not one of {keys}")
        self.aliases[namespace, name] = [found]

    def _check_blobs(self, server, kept):
        for (namespace, text), before in list(self.blobs.items()):
            name = common_pb2.BlobName.FromString(text)
            # A blob that no result refers to may have been collected since.
            sure = (namespace, text) in kept or before == self.collects
            try:
                check_blob(server, name, namespace)
            except grpc.RpcError as error:
                if sure or error.code() not in GONE:
                    raise Broken(f"blob {name.dtype} {list(name.shape)} {name.key.hex()[:12]}: "
                                 f"{error.code()} {error.details()}")
                del self.blobs[namespace, text]


def check_blob(server, name, namespace="default"):
    from workload import read_blob
    data = read_blob(server, name, namespace)
    if key_of(name.dtype, name.shape, data) != name.key:
        raise Broken(f"blob {name.key.hex()[:12]}: wrong bytes")


def _is(info, state):
    kind = state[0]
    if info is None:
        return kind == "none"
    if kind == "none":
        return info.state in (jobs_pb2.JOB_ABSENT, jobs_pb2.JOB_LEASED)
    if kind == "leased":
        # Nobody else asks for it, so it cannot have been granted again.
        return info.state == jobs_pb2.JOB_LEASED and info.epoch == state[2]
    if kind == "value":
        return info.state == jobs_pb2.JOB_DONE and info.result.record.json == state[1]
    if kind == "error":
        return info.state == jobs_pb2.JOB_FAILED and info.result.record.json == state[1]
    if kind == "unfolding":
        return info.state == jobs_pb2.JOB_UNFOLDING
    return info.state == jobs_pb2.JOB_LINKED and info.linked_to == state[1]


def _text(info):
    if info is None:
        return "never submitted"
    return f"{jobs_pb2.JobState.Name(info.state)} epoch {info.epoch} {info.result.record.json[:80]}"
