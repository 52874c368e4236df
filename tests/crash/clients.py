"""Clients that use all of the server's calls, and write down what they are told (journal.py).

A call that is broken off may have been done or not: both are allowed. Any other error than the documented
ones is a defect.
"""
import json, random, threading

import grpc
from blob_support import name_of, ref_of
from support import caller, record
from tiffin.v1 import admin_pb2, jobs_pb2

from journal import Broken
from workload import batch_put, break_off_upload, inline_of, put_array, random_array, received

Code = grpc.StatusCode
# The server is gone, or is going.
ENDED = (Code.UNAVAILABLE, Code.CANCELLED, Code.UNKNOWN)
NAMESPACES = ("default", "other")


def noodles(name, **data):
    return {"_noodles": "0.3.0", "type": "<object>", "class": "noodles." + name, "data": data}


def compact(value):
    """JSON text as the server prints it."""
    return json.dumps(value, separators=(",", ":")).encode()


class Ended(Exception):
    """The server is not there any more."""


class Client:
    """One scheduler: its jobs are its own, so that it knows what each must be. Used by one thread."""

    def __init__(self, journal, number, seed, tolerated=()):
        self.journal, self.number = journal, number
        self.rng = random.Random(f"{seed}/{number}")
        self.made = 0
        self.done = []        # entries of values
        self.broken_off = None  # an upload: namespace and array
        self.backups = {}     # path of an acknowledged copy → results from before it: (namespace, key, text)
        self.rewritten = self.evicted = 0  # packs and results, as the server says
        self.tolerated = ENDED + tuple(tolerated)
        self.errors = []      # that were tolerated, with the server still there

    def use(self, server):
        self.server = server

    def step(self):
        """One thing that clients do. Raises Ended, or Broken."""
        self.take(self.rng.choices(*zip(*self.STEPS))[0])

    def take(self, name):
        try:
            getattr(self, name)()
        except grpc.RpcError as error:
            if error.code() not in self.tolerated:
                raise Broken(f"{name}: {error.code()} {error.details()}")
            self.errors.append((name, error.code(), error.details()))
            raise Ended from error

    # ---- parts

    def new_job(self):
        self.made += 1
        self.namespace = self.rng.choice(NAMESPACES)
        return {"function": "crash", "arguments": [self.number, self.made]}

    def lease(self, job):
        """A job of its own, leased: (entry, answer)."""
        options = jobs_pb2.SubmitOptions(can_compute=True)
        options.term.seconds = 3600
        who = caller(self.namespace, host=f"host-{self.number}")
        request = jobs_pb2.SubmitRequest(caller=who, job=record(job), options=options)
        answer = self.server.jobs.Submit(request)
        if answer.outcome != jobs_pb2.GRANTED:
            raise Broken(f"a new job is {jobs_pb2.SubmitOutcome.Name(answer.outcome)}")
        self.journal.granted(answer.lease.epoch)
        entry = self.journal.entry(self.namespace, answer.key)
        self.journal.became(entry, ("leased", answer.lease.id, answer.lease.epoch))
        # Sent again, it is the same lease.
        if self.rng.random() < 0.1:
            again = self.server.jobs.Submit(request)
            if (again.lease.id, again.lease.epoch) != (answer.lease.id, answer.lease.epoch):
                raise Broken("a repeated Submit was granted another lease")
        return entry, answer

    def store(self, entry, answer, value, expected=None, state="value", arrays=(), **members):
        """`expected`: how the value is stored, if not as sent."""
        text = compact(value if expected is None else expected)
        names = [name_of(array) for array in arrays]
        after = {"value": ("value", text, names), "error": ("error", text),
                 "unfolding": ("unfolding",)}[state]
        self.journal.may_become(entry, after)
        collects = self.journal.collects
        request = jobs_pb2.StoreResultRequest(
            caller=caller(entry.namespace), key=entry.key, lease=answer.lease.id,
            epoch=answer.lease.epoch, record=record(value), **members)
        try:
            response = self.server.jobs.StoreResult(request)
        except grpc.RpcError as error:
            if error.code() in (Code.FAILED_PRECONDITION, Code.ABORTED) and arrays:
                # Collected since they were put: that is allowed, for they are pinned for no time here.
                entry.maybe.remove(after)
                return False
            raise
        self.journal.became(entry, after)
        for name in names:
            self.journal.put(entry.namespace, name, collects)
        if state == "value":
            self.done.append(entry)
            if self.rng.random() < 0.1 and not self.server.jobs.StoreResult(request).repeated_store:
                raise Broken("a repeated StoreResult was taken for a new one")
        return bool(response.key)

    def array(self, low, high):
        # Some are equal to another client's.
        rng = random.Random(self.rng.randrange(20)) if self.rng.random() < 0.2 else self.rng
        return random_array(rng, rng.randrange(low, high))

    def put(self, call, arrays):
        for _ in range(5):
            collects = self.journal.collects
            try:
                call()
                break
            except grpc.RpcError as error:
                # It was known, and collected before the row was shown: blobs are pinned for no time here.
                if error.code() != Code.ABORTED:
                    raise
        else:
            raise Broken("a blob cannot be put: it is collected each time")
        for array in arrays:
            self.journal.put(self.namespace, name_of(array), collects)

    # ---- what is done

    def inline(self):
        entry, answer = self.lease(self.new_job())
        self.store(entry, answer, [self.number, self.made, "x" * self.rng.randrange(3000)])

    def small_blobs(self):
        """Sent with the result."""
        entry, answer = self.lease(self.new_job())
        arrays = [self.array(1, 60_000) for _ in range(self.rng.randint(1, 3))]
        small = [jobs_pb2.SmallBlob(name=name_of(a), data=a.tobytes()) for a in arrays]
        self.store(entry, answer, [ref_of(name_of(a)) for a in arrays], arrays=arrays, blobs=small)

    def inside_the_record(self):
        entry, answer = self.lease(self.new_job())
        array = self.array(5000, 50_000)
        self.store(entry, answer, {"a": inline_of(array)}, {"a": ref_of(name_of(array))},
                   arrays=[array])

    def batch(self):
        self.in_a_batch([self.array(1, 30_000) for _ in range(self.rng.randint(1, 5))])

    def in_a_batch(self, arrays):
        entry, answer = self.lease(self.new_job())
        self.put(lambda: batch_put(self.server, arrays, self.namespace), arrays)
        self.store(entry, answer, [ref_of(name_of(a)) for a in arrays], arrays=arrays)
        return entry

    def large(self):
        entry, answer = self.lease(self.new_job())
        array = self.array(1 << 20, 5 << 19)
        key = self.rng.random() < 0.6
        self.put(lambda: put_array(self.server, array, self.namespace, key), [array])
        self.store(entry, answer, ref_of(name_of(array)), arrays=[array])

    def resumed(self):
        """An upload of which the first part came in an earlier call, which was cut off."""
        self.left_half_way()
        self.go_on()

    def left_half_way(self):
        self.new_job()
        array = self.array(5 << 19, 7 << 19)
        self.broken_off = self.namespace, array
        break_off_upload(self.server, array, self.namespace)

    def go_on(self):
        """With an upload that was broken off, perhaps by a kill or a power cut."""
        if self.broken_off is None:
            return
        self.namespace, array = self.broken_off
        at = received(self.server, array, self.namespace)
        def put():
            try:
                put_array(self.server, array, self.namespace, offset=at)
            except grpc.RpcError as error:
                # After a power cut, less may be there than was counted, or other bytes.
                if error.code() != Code.FAILED_PRECONDITION:
                    raise
                put_array(self.server, array, self.namespace)
        self.put(put, [array])
        self.broken_off = None

    def failure(self):
        entry, answer = self.lease(self.new_job())
        self.store(entry, answer, f"failed {self.made}", state="error",
                   kind=jobs_pb2.RESULT_KIND_ERROR)

    def workflow(self):
        if not self.sure():
            return
        target = self.rng.choice(self.sure())
        entry, answer = self.lease(self.new_job())
        if target.namespace != entry.namespace:
            return
        promised = noodles("interface.decorator.PromisedObject", workflow=noodles(
            "workflow.model.Workflow", root=0, links=[], nodes=[noodles(
                "workflow.model.FunctionNode", function="m.f", arguments=[],
                hints=None)]))
        self.store(entry, answer, promised, state="unfolding", kind=jobs_pb2.RESULT_KIND_WORKFLOW)
        self.journal.may_become(entry, ("linked", target.key))
        self.server.jobs.Link(jobs_pb2.LinkRequest(caller=caller(entry.namespace), key=entry.key,
                                                   lease=answer.lease.id, target=target.key))
        self.journal.became(entry, ("linked", target.key))

    def alias(self):
        if not self.sure():
            return
        entry = self.rng.choice(self.sure())
        name = f"{self.number}-{self.rng.randrange(5)}"
        at = (entry.namespace, name)
        before = self.journal.aliases.get(at, [None])
        request = jobs_pb2.AliasRequest(caller=caller(entry.namespace))
        alias = jobs_pb2.AliasName(profile="crash", name=name)
        if before[0] is not None and self.rng.random() < 0.3:
            request.delete.CopyFrom(alias)
            after = None
        else:
            getattr(request, "set").CopyFrom(jobs_pb2.AliasRequest.Set(
                alias=alias, key=entry.key, replace=True))
            after = entry.key
        self.journal.aliases[at] = before + [after]
        self.server.jobs.Alias(request)
        self.journal.aliases[at] = [after]

    def invalidate(self):
        if len(self.sure()) < 5:
            return
        entry = self.rng.choice(self.sure())
        if not self.linked_to(entry):
            self.take_back(entry)

    def take_back(self, entry):
        self.done.remove(entry)
        self.journal.may_become(entry, ("none",))
        done = self.server.jobs.Invalidate(jobs_pb2.InvalidateRequest(
            caller=caller(entry.namespace), keys=[entry.key]))
        if done.invalidated != 1:
            raise Broken(f"Invalidate found {done.invalidated} jobs")
        self.journal.became(entry, ("none",))

    def sure(self):
        """Results that are there, not only perhaps."""
        return [entry for entry in self.done if not entry.maybe]

    def linked_to(self, entry):
        return any(other.acked == ("linked", entry.key) or ("linked", entry.key) in other.maybe
                   for other in list(self.journal.jobs.values()))

    def look(self):
        """What was acknowledged is there at once, for everybody."""
        if not self.sure():
            return
        entry = self.rng.choice(self.sure())
        result = self.server.jobs.GetResult(jobs_pb2.GetResultRequest(
            caller=caller(entry.namespace), job=jobs_pb2.JobName(key=entry.key))).result
        if result.record.json != entry.acked[1]:
            raise Broken(f"{result.record.json} instead of {entry.acked}")
        from journal import check_blob
        for name in entry.acked[2][:1]:
            check_blob(self.server, name, entry.namespace)

    def seal(self):
        self.server.admin.Seal(admin_pb2.SealRequest())

    def collect(self, **members):
        # What is put meanwhile may go at once.
        with self.journal.lock:
            self.journal.collects += 1
        try:
            done = self.server.admin.Collect(admin_pb2.CollectRequest(**members))
        finally:
            with self.journal.lock:
                self.journal.collects += 1
        self.rewritten += done.packs_rewritten
        self.evicted += done.evicted

    # ---- with no other client at work

    def rewrite(self):
        """A sealed pack that little is left of, so that Collect writes that into another one."""
        self.seal()
        self.in_a_batch([random_array(self.rng, 20_000)])
        gone = self.in_a_batch([random_array(self.rng, 50_000) for _ in range(4)])
        self.seal()
        if gone in self.done:
            self.take_back(gone)
        self.collect()

    def evict(self):
        """The results that were not used for longest."""
        self.collect()
        may_go = [entry for entry in self.journal.jobs.values()
                  if {state[0] for state in entry.allowed()} & {"value", "linked"}]
        kept = self.server.admin.Collect(admin_pb2.CollectRequest(dry_run=True)).kept_bytes
        for entry in may_go:
            self.journal.may_become(entry, ("none",))
        self.collect(max_bytes=kept - 50_000)
        self.journal.settle(self.server, may_go)
        self.done = [entry for entry in self.done if entry.acked[0] == "value"]

    def verify(self):
        """There is no damage."""
        *_, last = self.server.admin.Verify(admin_pb2.VerifyRequest(keys=True))
        if (last.damaged_blobs or last.total_damaged_results or last.total_damaged_jobs or
                last.total_damaged_rows):
            raise Broken(f"verify found damage: {last}")

    def backup(self):
        self.made += 1
        there = [(e.namespace, e.key, e.acked[1]) for e in self.sure()]
        *_, last = self.server.admin.Backup(admin_pb2.BackupRequest(name=f"copy{self.made}"))
        self.backups[last.path] = there

    STEPS = [("inline", 6), ("small_blobs", 6), ("inside_the_record", 4), ("batch", 5), ("large", 3),
             ("resumed", 1), ("left_half_way", 1), ("go_on", 1), ("failure", 1), ("workflow", 2), ("alias", 2), ("invalidate", 2),
             ("look", 4), ("seal", 1), ("collect", 1)]


class Crowd:
    """Clients at work at the same time."""

    def __init__(self, journal, n, seed):
        self.clients = [Client(journal, i, seed) for i in range(n)]
        self.broken = []

    def start(self, server):
        self.stop_now = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(c, server)) for c in self.clients]
        for thread in self.threads:
            thread.start()

    def _run(self, client, server):
        client.use(server)
        try:
            while not self.stop_now.is_set():
                client.step()
        except Ended:
            pass
        except Exception as error:  # told by the thread that joins
            self.broken.append(error)

    def join(self):
        self.stop_now.set()
        for thread in self.threads:
            thread.join()
        if self.broken:
            raise self.broken[0]
