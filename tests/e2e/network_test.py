"""The network between client and server breaks: each test breaks it, checks, heals it, and checks again."""
import base64, json, os, signal, subprocess, tempfile, unittest

import grpc
import numpy

from gate import Gate
from support import Server, caller, get, job, store, submit, until
from tiffin.v1 import admin_pb2, jobs_pb2, jobs_pb2_grpc

CLI = os.environ["TIFFIN_CLI_BINARY"]
MIB = 1 << 20
DONE, UNREACHABLE = 0, 4


class NetworkTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.close)

    def setUp(self):
        self.gate = Gate(self.server.address)
        self.addCleanup(self.gate.close)
        folder = tempfile.TemporaryDirectory(prefix="tiffin-network-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.namespace = "network/" + self.id().rsplit(".", 1)[1]
        self.env = dict(os.environ, TIFFIN_SERVER=self.gate.address, TIFFIN_PATIENCE="60s",
                        TIFFIN_NAMESPACE=self.namespace, TIFFIN_SPOOL=self.path("spool"))

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, *arguments, **env):
        process = subprocess.Popen([CLI, "--json", *arguments], env=dict(self.env, **env), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def finish(self, process, code=DONE):
        out, err = process.communicate(timeout=240)
        self.assertEqual(process.returncode, code, out + err)
        return out

    def ends(self, code, *arguments, **env):
        return self.finish(self.start(*arguments, **env), code)

    def array(self, mebibytes):
        """A file of that size, different in each test."""
        array = numpy.random.default_rng(abs(hash(self.namespace))).random(mebibytes * MIB // 8)
        numpy.save(self.path("array.npy"), array)
        return array

    # ---- connections ---------------------------------------------------------------------------

    def test_a_client_that_vanished_without_a_word_is_noticed(self):
        server = Server("--keepalive", "1")
        self.addCleanup(server.close)
        gate = Gate(server.address)
        self.addCleanup(gate.close)
        channel = grpc.insecure_channel(gate.address)
        self.addCleanup(channel.close)
        key = submit(server, job("f", 1), compute=False).key
        stream = jobs_pb2_grpc.JobsStub(channel).Await(iter([jobs_pb2.AwaitRequest(
            caller=caller(), can_compute=True, capacity=1,
            items=[jobs_pb2.AwaitRequest.Item(job=jobs_pb2.JobName(key=key))])]))
        lease = next(event for event in stream if event.event == jobs_pb2.AWAIT_GRANTED).lease
        waiting = submit(server, job("f", 2))
        stream = jobs_pb2_grpc.JobsStub(channel).Await(iter([jobs_pb2.AwaitRequest(
            caller=caller(), items=[jobs_pb2.AwaitRequest.Item(job=jobs_pb2.JobName(key=waiting.key))])]))
        self.assertEqual(next(stream).event, jobs_pb2.AWAIT_ATTACHED)
        gate.stalled = True  # half open: neither side is told
        until(lambda: server.admin.Stats(admin_pb2.StatsRequest()).waiting == 0)
        # What it holds is its own until the lease lapses: one that is back in time loses nothing.
        renewed = server.jobs.Renew(jobs_pb2.RenewRequest(caller=caller(), leases=[lease.id]))
        self.assertEqual(list(renewed.outcomes), [jobs_pb2.RenewResponse.RENEWED])

    # ---- blobs ---------------------------------------------------------------------------------

    def test_an_upload_goes_on_where_the_connection_broke(self):
        self.array(40)
        self.gate.cut_after_up = [7 * MIB, 11 * MIB, 3 * MIB]
        name = json.loads(self.ends(DONE, "put", self.path("array.npy")))
        self.assertEqual(self.gate.connections, 4)
        # What the server had was not sent again: what was in the air at three cuts, at most.
        self.assertLess(self.gate.up, 40 * MIB + 3 * 6 * MIB)
        self.ends(DONE, "deref", name["key"], "-o", self.path("back.npy"))
        self.assertTrue(numpy.array_equal(numpy.load(self.path("back.npy")),
                                          numpy.load(self.path("array.npy"))))

    def test_a_download_goes_on_where_the_connection_broke(self):
        array = self.array(40)
        name = json.loads(self.ends(DONE, "put", self.path("array.npy")))
        self.gate.cut()
        self.gate.down = 0
        self.gate.cut_after_down = [7 * MIB, 11 * MIB, 3 * MIB]
        self.ends(DONE, "deref", name["key"], "-o", self.path("back.npy"))
        self.assertTrue(numpy.array_equal(numpy.load(self.path("back.npy")), array))
        # What came was not sent again, beyond what was in the air at three cuts.
        self.assertLess(self.gate.down, 40 * MIB + 3 * 6 * MIB)

    def test_an_upload_over_a_slow_line(self):
        array = self.array(2)
        self.gate.rate, self.gate.delay = 4 * MIB, 0.01
        name = json.loads(self.ends(DONE, "put", self.path("array.npy")))
        self.ends(DONE, "deref", name["key"], "-o", self.path("back.npy"))
        self.assertTrue(numpy.array_equal(numpy.load(self.path("back.npy")), array))

    # ---- jobs ----------------------------------------------------------------------------------

    def count(self):
        """How often the command of `run` ran."""
        try:
            with open(self.path("count"), encoding="utf-8") as count:
                return len(count.read())
        except FileNotFoundError:
            return 0

    def command(self, what="echo 7"):
        return "sh", "-c", "printf x >> '%s'; %s" % (self.path("count"), what)

    def test_run_computes_once_while_connections_break(self):
        self.gate.cut_after_up = [2000, 300, 900, 100, 2000, 50]
        self.gate.cut_after_down = [400, 1000, 200, 0, 300]
        run = "run", json.dumps(job("broken", 1)), "--", *self.command()
        self.assertEqual(json.loads(self.ends(DONE, *run))["value"], 7)
        self.assertEqual(self.count(), 1)
        self.assertGreater(self.gate.connections, 3)
        self.gate.heal()
        again = json.loads(self.ends(DONE, *run))
        self.assertEqual((again["outcome"], again["value"], self.count()), ("RETRIEVED", 7, 1))

    def test_an_answer_that_is_lost_is_asked_for_again(self):
        granted = submit(self.server, job("lost", 1), namespace=self.namespace)
        with open(self.path("seven"), "w", encoding="utf-8") as file:
            file.write("7")
        self.gate.lose_answers_after = 200  # more than it takes to connect, less than a request
        storing = self.start("store", "--key", self.text(granted.key), "--lease",
                             self.text(granted.lease.id), "--epoch", str(granted.lease.epoch),
                             self.path("seven"))
        # The server has stored it; the client does not know.
        self.until(lambda: self.has(granted.key))
        self.gate.heal()
        self.gate.cut()
        self.finish(storing)
        self.assertEqual(get(self.server, granted.key, self.namespace).record.json, b"7")
        stats = self.server.admin.Stats(admin_pb2.StatsRequest())
        self.assertEqual(stats.nondeterministic, 0)

    def has(self, key):
        found = self.server.jobs.BatchGetResults(iter([jobs_pb2.BatchGetResultsRequest(
            caller={"namespace": self.namespace}, jobs=[jobs_pb2.JobName(key=key)])]))
        return next(found).items[0].status.code == 0

    @staticmethod
    def text(key):
        return base64.urlsafe_b64encode(key).decode()

    until = staticmethod(until)

    def test_who_waits_hears_after_the_line_was_cut(self):
        answer = submit(self.server, job("waited", 1), namespace=self.namespace)
        waiting = self.start("await", self.text(answer.key))
        self.until(lambda: self.waiting() == 1)
        self.gate.closed_port = True
        self.gate.cut()
        self.until(lambda: self.waiting() == 0)
        store(self.server, answer, 7, namespace=self.namespace)  # while nobody listens
        self.gate.heal()
        self.assertIn("7", self.finish(waiting))

    def waiting(self):
        return self.server.admin.Stats(admin_pb2.StatsRequest()).waiting

    def test_a_line_that_says_nothing_is_given_up(self):
        answer = submit(self.server, job("silent", 1), namespace=self.namespace)
        waiting = self.start("await", self.text(answer.key))
        self.until(lambda: self.waiting() == 1)
        connections = self.gate.connections
        self.gate.stalled = True  # half open: no end ever comes, only the pings' silence tells
        self.until(lambda: self.gate.connections > connections)
        store(self.server, answer, 7, namespace=self.namespace)
        self.gate.heal()
        self.assertIn("7", self.finish(waiting))

    def test_half_of_a_line_that_ended_is_no_line(self):
        array = self.array(20)
        for way in ("up", "down"):
            with self.subTest(way):
                answer = submit(self.server, job("half", way), namespace=self.namespace)
                waiting = self.start("await", self.text(answer.key))
                self.until(lambda: self.waiting() == 1)
                numpy.save(self.path("array.npy"), array + (way == "up"))
                self.gate.rate, begun = 10 * MIB, self.gate.up
                putting = self.start("put", self.path("array.npy"))
                self.until(lambda: self.gate.up > begun + 5 * MIB)
                connections = self.gate.connections
                self.gate.half_closed = way  # what comes next that way does not arrive
                self.until(lambda: self.gate.connections > connections)
                self.gate.heal()
                name = json.loads(self.finish(putting))
                self.ends(DONE, "deref", name["key"], "-o", self.path("back.npy"))
                self.assertTrue(numpy.array_equal(numpy.load(self.path("back.npy")), array + (way == "up")))
                self.gate.cut()
                store(self.server, answer, 7, namespace=self.namespace)
                self.assertIn("7", self.finish(waiting))

    # ---- every call ----------------------------------------------------------------------------

    def break_lines(self):
        """The next connections: before or in a request, then before or in an answer."""
        self.gate.cut_after_up, self.gate.cut_after_down = [300, None], [None, 100]

    def test_each_call_that_may_be_repeated_is_done_in_spite_of_broken_lines(self):
        array = numpy.arange(2000.0)
        numpy.save(self.path("small.npy"), array)
        numpy.save(self.path("other.npy"), array + 1)
        for file, text in (("one", json.dumps(job("called", 1))), ("seven", "7")):
            with open(self.path(file), "w", encoding="utf-8") as out:
                out.write(text)
        blob = json.loads(self.ends(DONE, "put", self.path("other.npy")))["key"]
        key = self.ends(DONE, "key", self.path("one")).split('"')[1::2]
        key = next(part for part in key if len(part) == 44)

        for command, expected in (
                (("store", "--job", self.path("one"), self.path("seven")), key),
                (("put", self.path("small.npy")), '"key"'),
                (("deref", blob, "-o", self.path("back.npy")), ""),
                (("stat", blob), blob),
                (("submit", self.path("one")), "7"),
                (("get", key), "7"),
                (("await", key), "7"),
                (("alias", "set", "mine", "best", key), ""),
                (("get", "--alias", "mine", "best"), "7"),
                (("alias", "list"), "best"),
                (("ls",), key), (("show", key), key), (("explain", "--key", key), key),
                (("leases",), ""), (("stats",), "submits"), (("describe",), "base"), (("seal",), ""),
                (("verify",), "")):
            with self.subTest(command):
                self.break_lines()
                begun = self.gate.connections
                self.assertIn(expected, self.ends(DONE, *command))
                self.assertGreater(self.gate.connections, begun + 2)
                self.gate.heal()
                self.assertIn(expected, self.ends(DONE, *command))
        self.assertTrue(numpy.array_equal(numpy.load(self.path("back.npy")), array + 1))

    def test_a_call_that_may_not_be_repeated_is_sent_once(self):
        keys = []
        for n in (1, 2):
            answer = submit(self.server, job("once", n), namespace=self.namespace)
            store(self.server, answer, n, namespace=self.namespace)
            keys.append(self.text(answer.key))
        self.ends(DONE, "alias", "set", "mine", "best", keys[0])

        def answer_is_lost(*command):
            begun, self.gate.lose_answers_after = self.gate.connections, 200
            process = self.start(*command)
            self.until(lambda: self.gate.connections > begun)
            return process

        def gives_up(process):
            self.gate.heal()
            self.gate.cut()
            self.finish(process, UNREACHABLE)

        best = lambda: json.loads(self.ends(DONE, "get", "--alias", "mine", "best", TIFFIN_SERVER=self.server.address))["record"]
        process = answer_is_lost("alias", "set", "mine", "best", keys[1], "--replace")
        self.until(lambda: best() == 2)
        # Somebody else sets it anew: that stays.
        self.ends(DONE, "alias", "set", "mine", "best", keys[0], "--replace", TIFFIN_SERVER=self.server.address)
        gives_up(process)
        self.assertEqual(best(), 1)
        process = answer_is_lost("invalidate", keys[0])
        self.until(lambda: not self.has(base64.urlsafe_b64decode(keys[0])))
        again = submit(self.server, job("once", 1), namespace=self.namespace)
        store(self.server, again, 1, namespace=self.namespace)
        gives_up(process)
        self.assertTrue(self.has(again.key))

    def test_a_closed_port_is_unreachable_and_heals(self):
        self.gate.closed_port = True
        self.ends(UNREACHABLE, "stats", TIFFIN_PATIENCE="0")
        self.ends(UNREACHABLE, "get", self.text(bytes(32)), TIFFIN_PATIENCE="1s")
        late = self.start("stats")
        self.gate.heal()
        self.finish(late)

    def test_a_lease_outlives_a_broken_line(self):
        one = json.dumps(job("kept", 1))
        go_on = self.path("go-on")
        running = self.start("run", one, "--term", "20s", "--",
                             *self.command("while [ ! -e '%s' ]; do sleep 0.1; done; echo 7" % go_on))
        self.until(lambda: self.count() == 1)
        for _ in range(3):
            self.gate.cut()
            renewed = self.gate.up
            self.until(lambda: self.gate.up > renewed)  # the keeper came back
        self.assertEqual(submit(self.server, job("kept", 1), namespace=self.namespace).outcome,
                         jobs_pb2.ATTACHED)
        open(go_on, "w").close()
        self.assertEqual(json.loads(self.finish(running))["value"], 7)
        self.assertEqual(self.count(), 1)

    def test_who_waits_outlives_restarts(self):
        # What comes while the server stops is cancelled by gRPC, not answered.
        server = Server()
        self.addCleanup(server.close)
        answer = submit(server, job("restarts", 1), namespace=self.namespace)
        waiting = [self.start("await", self.text(answer.key), TIFFIN_SERVER=server.address)
                   for _ in range(4)]
        stats = lambda: server.admin.Stats(admin_pb2.StatsRequest()).waiting
        for _ in range(3):
            self.until(lambda: stats() == 4)
            self.assertEqual(server.stop(), 0)
            server.start(listen=server.address)
        store(server, answer, 7, namespace=self.namespace)
        for process in waiting:
            self.assertIn("7", self.finish(process))

    def test_the_server_is_killed_in_the_middle_of_an_upload(self):
        server = Server()
        self.addCleanup(server.close)
        array = self.array(40)
        gate = Gate(server.address)
        self.addCleanup(gate.close)
        gate.rate = 20 * MIB
        putting = self.start("put", self.path("array.npy"), TIFFIN_SERVER=gate.address)
        self.until(lambda: gate.up > 12 * MIB)
        server.stop(signal.SIGKILL)
        server.start(listen=server.address)
        name = json.loads(self.finish(putting))
        self.assertLess(gate.up, 40 * MIB + 12 * MIB)
        self.ends(DONE, "deref", name["key"], "-o", self.path("back.npy"), TIFFIN_SERVER=server.address)
        self.assertTrue(numpy.array_equal(numpy.load(self.path("back.npy")), array))


if __name__ == "__main__":
    unittest.main()
