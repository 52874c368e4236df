"""What is synced before each acknowledgement, told from the layer's tape: never less, and hardly more."""
import random, re, unittest

from blob_support import name_of, ref_of
from support import caller, get, job, record, store, submit
from tiffin.v1 import admin_pb2, jobs_pb2

from clients import noodles
from crash_server import CrashServer
from layer import read_tape
from workload import batch_put, put_array, random_array

LOG = "data/tiffin.db-wal"


def kind_of(path):
    """The path with random names left out."""
    return re.sub(r"[0-9a-f]{32}", "ID", re.sub(r"packs/[0-9a-f]{2}\b", "packs/xx", path))


class SyncsTest(unittest.TestCase):
    def setUp(self):
        self.server = CrashServer("--pin-time", "0").start()
        self.addCleanup(self.server.close)
        self.rng = random.Random(1)
        self.at = 0
        # The folders of sealed packs, the first open pack and the namespace are made before.
        batch_put(self.server, [random_array(self.rng, 1000)])
        submit(self.server, job("first", 0))
        self.steps()

    def steps(self):
        """What changed or was synced on disk since the last call, in order; of syncs, when they had ended."""
        out = []
        for call in read_tape(self.server.tape, self.at):
            self.at = call.at
            if call.kind in ("sync", "sync_folder", "rename", "unlink", "mkdir", "write"):
                step = (call.kind, kind_of(call.path2 or call.path))
                if not (step[0] == "write" and out and out[-1] == step):
                    out.append(step)
        return out

    def syncs(self):
        return [step for step in self.steps() if step[0] != "write"]

    def test_a_lease_is_in_the_log_before_it_is_granted(self):
        submit(self.server, job("f", 1))
        self.assertEqual(self.steps(), [("write", LOG), ("sync", LOG)])

    def test_an_inline_result_is_in_the_log(self):
        answer = submit(self.server, job("f", 1))
        self.steps()
        store(self.server, answer, 42)
        self.assertEqual(self.steps(), [("write", LOG), ("sync", LOG)])

    def test_so_is_all_else_that_is_acknowledged_of_a_job(self):
        jobs, me = self.server.jobs, dict(caller=caller())
        workflow = noodles("interface.decorator.PromisedObject", workflow=noodles(
            "workflow.model.Workflow", root=0, links=[], nodes=[
                noodles("workflow.model.FunctionNode", function="m.f", arguments=[], hints=None)]))
        done, failing, unfolding, released, handed_back, target = (
            submit(self.server, job("f", n)) for n in range(1, 7))
        store(self.server, done, 1)
        store(self.server, target, 2)
        answered = {
            "an error": lambda: store(self.server, failing, "no", kind=jobs_pb2.RESULT_KIND_ERROR),
            "a workflow": lambda: store(self.server, unfolding, workflow, kind=jobs_pb2.RESULT_KIND_WORKFLOW),
            "a link": lambda: jobs.Link(jobs_pb2.LinkRequest(
                **me, key=unfolding.key, lease=unfolding.lease.id, target=target.key)),
            "an alias": lambda: jobs.Alias(jobs_pb2.AliasRequest(**me, set=jobs_pb2.AliasRequest.Set(
                alias=jobs_pb2.AliasName(profile="p", name="n"), key=done.key))),
            "a release": lambda: jobs.Release(jobs_pb2.ReleaseRequest(**me, leases=[released.lease.id])),
            "an invalidation": lambda: jobs.Invalidate(jobs_pb2.InvalidateRequest(**me, keys=[done.key])),
            "a batch of leases": lambda: list(jobs.SubmitBatch(iter([jobs_pb2.SubmitBatchRequest(
                caller=caller(request_id="batch"), options=jobs_pb2.SubmitOptions(can_compute=True),
                jobs=[record(job("f", n)) for n in range(10, 20)])]))),
        }
        self.steps()
        for what, call in answered.items():
            with self.subTest(what):
                call()
                self.assertEqual(self.steps(), [("write", LOG), ("sync", LOG)])
        # A renewal is kept in memory: after a restart the lease has a full term.
        jobs.Renew(jobs_pb2.RenewRequest(**me, leases=[handed_back.lease.id]))
        self.assertEqual(self.steps(), [])

    def test_nothing_is_written_to_answer_a_read(self):
        answer = submit(self.server, job("f", 1))
        store(self.server, answer, 42)
        self.steps()
        get(self.server, answer.key)
        submit(self.server, job("f", 1))
        store(self.server, answer, 42)  # again
        self.assertEqual(self.steps(), [])

    def test_small_blobs_are_in_their_pack_before_the_row(self):
        answer = submit(self.server, job("f", 1))
        self.steps()
        array = random_array(self.rng, 20_000)
        store(self.server, answer, ref_of(name_of(array)),
              blobs=[jobs_pb2.SmallBlob(name=name_of(array), data=array.tobytes())])
        self.assertEqual(self.steps(), [("write", "data/open/ID.h5"), ("sync", "data/open/ID.h5"),
                                        ("write", LOG), ("sync", LOG)])

    def test_a_batch_takes_one_sync_of_the_pack_and_one_of_the_log(self):
        batch_put(self.server, [random_array(self.rng, 5000) for _ in range(50)])
        self.assertEqual(self.steps(), [("write", "data/open/ID.h5"), ("sync", "data/open/ID.h5"),
                                        ("write", LOG), ("sync", LOG)])

    # File, pending row, name, folder, row.
    PUBLISHED = [("sync", LOG), ("sync_folder", "data/packs"), ("rename", "data/packs/xx/ID.h5"),
                 ("sync_folder", "data/packs/xx"), ("sync", LOG)]

    def made(self, steps):
        """Without the making of a folder for the pack's name, which may have been there."""
        return [step for step in steps if step[0] != "mkdir"]

    def test_a_large_blob_is_durable_under_its_name_before_the_row(self):
        put_array(self.server, random_array(self.rng, 3 << 20), key=False)
        self.assertEqual(self.made(self.syncs()),
                         [("sync", "data/tmp/ID.h5"), *self.PUBLISHED])

    def test_so_is_one_that_can_be_resumed(self):
        put_array(self.server, random_array(self.rng, 3 << 20))
        steps = self.made(self.syncs())
        steps.remove(("unlink", "data/uploads/ID.at"))
        self.assertEqual(steps, [("sync", "data/uploads/ID.h5"), *self.PUBLISHED])

    def test_sealed_packs_are_durable_before_the_rows_move_and_the_old_one_goes(self):
        self.server.admin.Seal(admin_pb2.SealRequest())
        steps = self.made(self.syncs())
        self.assertEqual(steps[:6], [("sync", "data/tmp/ID.h5"), *self.PUBLISHED])
        # The name is gone for good before the row that tells of it.
        gone = [("unlink", "data/open/ID.h5"), ("sync_folder", "data/open")]
        rest = [step for step in steps[6:] if step[1] != "data/packs/xx"]
        self.assertEqual(rest, gone + [("sync", LOG)])

    def test_collect_takes_the_row_back_before_the_file(self):
        put_array(self.server, random_array(self.rng, 3 << 20))
        self.server.admin.Seal(admin_pb2.SealRequest())
        self.steps()
        self.server.admin.Collect(admin_pb2.CollectRequest())
        steps = self.syncs()
        first = steps.index(("unlink", "data/packs/xx/ID.h5"))
        self.assertIn(("sync", LOG), steps[:first])
        self.assertEqual(steps[-1], ("sync", LOG))
        self.assertIn(("sync_folder", "data/packs/xx"), steps[first:])

    def test_a_new_folder_is_synced_up_to_the_root(self):
        server = CrashServer(data="a/b/data").start()
        self.addCleanup(server.close)
        synced = {call.path for call in read_tape(server.tape) if call.kind == "sync_folder"}
        self.assertLessEqual({"", "a", "a/b", "a/b/data"}, synced)

    def test_what_a_killed_server_left_in_the_log_is_durable_before_anybody_is_served(self):
        from layer import Action
        self.server.control.set(0, Action.KILL_BEFORE, ["sync"], LOG)
        try:
            submit(self.server, job("f", 1))
        except Exception:
            pass
        self.assertEqual(self.server.wait(), -9)
        self.server.control.clear()
        self.steps()
        self.server.start()
        steps = [step for step in self.steps() if step[0] != "sync_folder"]
        mark = [("write", "data/tiffin.db-copying"), ("sync", "data/tiffin.db-copying")]
        # The log, how long it is, and what it has.
        self.assertEqual(steps[0], ("sync", LOG))
        self.assertEqual([step for step in steps[1:] if step != ("sync", LOG)][:6],
                         [*mark, ("write", "data/tiffin.db"), ("sync", "data/tiffin.db"), *mark])


if __name__ == "__main__":
    unittest.main()
