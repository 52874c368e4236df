"""Jobs whose holders, waiters and server are killed; schedulers that share; what is asked afterwards."""
import json, os, queue, random, signal, subprocess, sys, tempfile, threading, unittest
from types import SimpleNamespace

from support import Server, caller, get, job, record, store, submit
from tiffin.v1 import jobs_pb2

HERE = os.path.dirname(os.path.abspath(__file__))
CLI = os.environ.get("TIFFIN_CLI_BINARY")
ROUNDS = int(os.environ.get("TIFFIN_KILL_ROUNDS", "8"))


class KillTest(unittest.TestCase):
    """Every job ends done, once, and nobody who waits hangs."""

    def start(self, one):
        worker = subprocess.Popen([sys.executable, os.path.join(HERE, "life_worker.py"),
                                   self.server.address, json.dumps(one)], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(worker.stdout.close)
        self.addCleanup(worker.stdin.close)
        self.addCleanup(worker.wait)
        self.addCleanup(worker.kill)
        return worker

    def restart_server(self):
        address = self.server.address
        self.server.stop(signal.SIGKILL)
        self.server.start(listen=address)

    def test_rounds_of_kill_9_in_random_order(self):
        seed = int(os.environ.get("TIFFIN_SEED") or random.randrange(1 << 32))
        print(f"seed {seed}", flush=True)
        rng = random.Random(seed)
        self.server = Server("--min-term", "0.5", "--max-lost", "100")
        self.addCleanup(self.server.close)
        for number in range(ROUNDS):
            with self.subTest(number):
                self.one_round(rng, job("round", number))

    def one_round(self, rng, one):
        workers = [self.start(one) for _ in range(3)]
        said = [worker.stdout.readline().strip() for worker in workers]
        self.assertEqual(sorted(said), ["granted", "waiting", "waiting"])
        holder = said.index("granted")
        waiter = rng.choice([i for i in range(3) if i != holder])
        events = [lambda: workers[holder].kill(), lambda: workers[waiter].kill(),
                  self.restart_server]
        rng.shuffle(events)
        for event in events:
            event()
        (survivor,) = [w for i, w in enumerate(workers) if i not in (holder, waiter)]
        late = self.start(one)
        # One of the two is granted; both get its result.
        for worker in (survivor, late):
            worker.stdin.write("go\n")
            worker.stdin.flush()
        results = []
        for worker in (survivor, late):
            lines = worker.stdout.read().split("\n")
            self.assertEqual(worker.wait(), 0)
            results += [line for line in lines if line.startswith("result ")]
        self.assertEqual(len(results), 2)
        self.assertEqual(len(set(results)), 1, results)
        answer = submit(self.server, one)
        self.assertEqual(answer.outcome, jobs_pb2.RETRIEVED)
        info = self.server.jobs.GetJob(jobs_pb2.GetJobRequest(
            caller=caller(), job=jobs_pb2.JobName(key=answer.key))).job
        self.assertEqual(len(info.evidence), 0, "it was done twice")


class LifeTest(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)

    def batch(self, first, n, grants, host):
        request = jobs_pb2.SubmitBatchRequest(
            caller=caller(host=host), options=jobs_pb2.SubmitOptions(can_compute=True),
            jobs=[record(job("batch", i)) for i in range(first, first + n)])
        if grants is not None:
            request.max_grants = grants
        items = []
        for response in self.server.jobs.SubmitBatch(iter([request])):
            items += response.items
        self.assertEqual([item.index for item in items], list(range(n)))
        return [item.response for item in items]

    def test_ten_thousand_jobs_in_one_call(self):
        answers = self.batch(0, 10000, None, "a")
        self.assertTrue(all(a.outcome == jobs_pb2.GRANTED for a in answers))
        leases = [a.lease.id for a in answers[:5000]]
        outcomes = self.server.jobs.Renew(jobs_pb2.RenewRequest(
            caller=caller(), leases=leases)).outcomes
        self.assertEqual(set(outcomes), {jobs_pb2.RenewResponse.RENEWED})

    def test_two_schedulers_share_a_batch(self):
        for host in ("a", "b"):
            answers = self.batch(0, 1000, 20, host)
            granted = [a for a in answers if a.outcome == jobs_pb2.GRANTED]
            self.assertEqual(len(granted), 20, host)
            # Each stores what it has, and asks for more as it goes.
            for answer in granted:
                store(self.server, answer, 1)
        self.assertEqual(sum(a.outcome == jobs_pb2.RETRIEVED
                             for a in self.batch(0, 1000, 0, "c")), 40)

    def test_two_schedulers_share_a_batch_that_both_await(self):
        keys = [submit(self.server, job("f", n), compute=False).key for n in range(1000)]
        computed = {}

        def schedule(host):
            says = queue.Queue()
            says.put(jobs_pb2.AwaitRequest(
                caller=caller(host=host), can_compute=True, capacity=10,
                items=[jobs_pb2.AwaitRequest.Item(job=jobs_pb2.JobName(key=key)) for key in keys]))
            mine, ended = [], 0
            for told in self.server.jobs.Await(iter(says.get, None)):
                if told.event == jobs_pb2.AWAIT_GRANTED:
                    mine.append(told.index)
                    store(self.server, SimpleNamespace(key=keys[told.index], lease=told.lease), told.index)
                    says.put(jobs_pb2.AwaitRequest(capacity=1))
                ended += told.event in (jobs_pb2.AWAIT_GRANTED, jobs_pb2.AWAIT_RESULT)
                if ended == len(keys):
                    says.put(None)
            computed[host] = mine
        threads = [threading.Thread(target=schedule, args=(host,)) for host in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(computed["a"] + computed["b"]), list(range(1000)), "each once")
        self.assertGreaterEqual(min(len(mine) for mine in computed.values()), 10)

    def test_force_releases_whoever_holds(self):
        answer = submit(self.server, job("f", 1))
        released = self.server.jobs.Release(jobs_pb2.ReleaseRequest(
            caller=caller(), keys=[answer.key])).released
        self.assertEqual(released, 1)
        self.assertEqual(submit(self.server, job("f", 1)).outcome, jobs_pb2.GRANTED)


@unittest.skipUnless(CLI, "no command line was built")
class HistoryCommandsTest(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)
        folder = tempfile.TemporaryDirectory(prefix="tiffin-life-")
        self.addCleanup(folder.cleanup)
        self.spool = os.path.join(folder.name, "spool")
        self.env = dict(os.environ, TIFFIN_SERVER=self.server.address, TIFFIN_PATIENCE="0",
                        TIFFIN_SPOOL=self.spool)

    def run_cli(self, *arguments, code=0):
        ran = subprocess.run([CLI, *arguments], env=self.env, capture_output=True, text=True,
                             timeout=120)
        self.assertEqual(ran.returncode, code, (arguments, ran.stdout, ran.stderr))
        return ran.stdout

    def lines(self, *arguments):
        return [json.loads(line) for line in self.run_cli("--json", *arguments).splitlines()]

    def test_ls_show_explain_invalidate_leases(self):
        done = submit(self.server, job("solve", "grid", {"tol": 0.5}), host="alpha")
        store(self.server, done, 42)
        held = submit(self.server, job("solve", "grid", {"tol": 0.7}), host="beta")
        self.assertEqual({line["state"] for line in self.lines("ls")}, {"done", "leased"})
        self.assertEqual(len(self.lines("ls", "--state", "done", "--function", "solve")), 1)
        self.assertIn("solve", self.run_cli("ls", "--newest", "--limit", "1"))
        (done_line,) = self.lines("ls", "--host", "alpha")
        key = done_line["key"]
        (shown,) = self.lines("show", key, "--inputs", "--outputs")
        self.assertEqual(shown["result"]["record"], 42)
        self.assertEqual(shown["record"]["arguments"], ["grid", {"tol": 0.5}])
        self.assertIn("state      done", self.run_cli("show", key))
        (why,) = self.lines("explain", json.dumps(job("solve", "grid", {"tol": 0.6})))
        self.assertEqual(why["cause"], "other arguments")
        self.assertEqual(why["neighbours"][0]["paths"], ["arguments[1].tol"])
        self.assertIn("arguments[1].tol",
                      self.run_cli("explain", json.dumps(job("solve", "grid", {"tol": 0.6}))))
        (lease,) = self.lines("leases")
        self.assertEqual(lease["holder"]["host"], "beta")
        self.assertIn("beta", self.run_cli("leases"))
        self.run_cli("leases", "release", lease["key"], code=2)
        self.run_cli("leases", "release", "--force", lease["key"])
        self.assertEqual(self.lines("leases"), [])
        self.assertIn("would invalidate 1 job", self.run_cli("invalidate", key, "--dry-run"))
        self.assertEqual(get(self.server, done.key).record.json, b"42")
        self.assertIn("invalidated 1 job", self.run_cli("invalidate", "--cascade", key))
        self.assertIn("invalidated", self.run_cli("explain", "--key", key))
        self.run_cli("invalidate", key, code=1)
        self.run_cli("invalidate", code=2)

    def test_nondeterminism_is_seen(self):
        answer = submit(self.server, job("f", 1))
        store(self.server, answer, 1)
        try:
            store(self.server, answer, 2)
        except Exception:
            pass
        (line,) = self.lines("ls", "--nondeterministic")
        self.assertEqual(len(line["evidence"]), 1)
        self.assertIn("other result", self.run_cli("show", line["key"]))

    def test_run_computes_while_the_server_is_away_and_delivers_later(self):
        address = self.server.address
        self.server.stop(signal.SIGKILL)
        one = json.dumps(job("away", 1))
        run = ("run", one, "--", "sh", "-c", "echo 7; echo x >> '%s'" % (self.spool + ".count"))
        self.run_cli("run", one, "--on-unavailable", "fail", "--", "true", code=4)
        self.assertEqual(self.run_cli(*run).strip(), "7")
        self.assertEqual(len(os.listdir(self.spool)), 1)
        self.run_cli("flush", code=4)
        self.server.start(listen=address)
        self.assertEqual(self.lines("flush"), [{"delivered": 1, "refused": 0, "left": 0}])
        self.assertEqual(self.run_cli(*run).strip(), "7")
        with open(self.spool + ".count", encoding="utf-8") as count:
            self.assertEqual(count.read(), "x\n", "it was computed once")
        self.assertEqual(os.listdir(self.spool), [])


if __name__ == "__main__":
    unittest.main()
