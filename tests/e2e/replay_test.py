"""Replays the recorded Noodles run: every answer is as Noodles gave it; the rerun is answered from the store."""
import collections, json, os, unittest

from support import Server, caller, get, store, submit
from tiffin.v1 import jobs_pb2

DATA = os.path.join(os.path.dirname(__file__), "..", "data", "noodles-jobs.jsonl")
EXPECTED = {"initialized": jobs_pb2.GRANTED, "attached": jobs_pb2.ATTACHED,
            "retrieved": jobs_pb2.RETRIEVED}
NAMES = {1: "retrieved", 2: "granted", 3: "attached", 4: "open"}
WORKFLOWS = ("noodles.interface.decorator.PromisedObject", "noodles.workflow.model.Workflow")


def is_workflow(value):
    return isinstance(value, dict) and value.get("class") in WORKFLOWS


class Replay:
    """One pass over one workflow, in a namespace of its own."""

    def __init__(self, server, name, lines, test):
        self.server, self.namespace, self.lines, self.test = server, "replay/" + name, lines, test
        self.keys, self.granted, self.stored, self.waiting = {}, {}, {}, {}
        # Whose result a workflow result became is told by the rows at the end.
        self.links = {r["key"]: r["link"] for r in lines
                      if r["event"] == "row" and r["status"] == 3 and r["link"]}
        self.counts = collections.Counter()

    def link(self):
        """As early as the target has been submitted."""
        for row, target in list(self.waiting.items()):
            if target in self.keys:
                lease = self.granted[self.keys[row]].lease.id
                self.server.jobs.Link(jobs_pb2.LinkRequest(
                    caller=caller(self.namespace), key=self.keys[row], lease=lease,
                    target=self.keys[target]))
                del self.waiting[row]

    def run(self, first):
        for line in self.lines:
            if line["event"] == "submit":
                answer = submit(self.server, line["job"], self.namespace)
                self.keys[line["key"]] = answer.key
                self.counts[NAMES[answer.outcome]] += 1
                if answer.outcome == jobs_pb2.GRANTED:
                    self.granted[answer.key] = answer
                if first:
                    self.test.assertEqual(answer.outcome, EXPECTED[line["answer"]],
                                          (self.namespace, line["seq"]))
                self.link()
            elif line["event"] == "store" and first:
                self.store(line)
        leases = [a.lease.id for a in self.granted.values()]
        self.server.jobs.Release(jobs_pb2.ReleaseRequest(caller=caller(self.namespace),
                                                         leases=leases))
        return self.counts

    def store(self, line):
        key = self.keys[line["key"]]
        answer = self.granted.get(key)
        if line["status"] == "retrieved":  # Noodles stores again what it had retrieved
            again = self.server.jobs.StoreResult(jobs_pb2.StoreResultRequest(
                caller=caller(self.namespace), key=self.final(line["key"]),
                record=get(self.server, key, self.namespace).record))
            self.test.assertTrue(again.repeated_store)
            return
        if line["status"] == "error":
            store(self.server, answer, line["result"], self.namespace,
                  kind=jobs_pb2.RESULT_KIND_ERROR)
            return
        store(self.server, answer, line["result"], self.namespace)
        if is_workflow(line["result"]):
            if line["key"] in self.links:
                self.waiting[line["key"]] = self.links[line["key"]]
                self.link()
            return
        back = get(self.server, key, self.namespace, bulk=2)
        self.test.assertEqual(back.record.json.decode(),
                              json.dumps(line["result"], separators=(",", ":")))

    def final(self, row):
        while row in self.links:
            row = self.links[row]
        return self.keys[row]


class ReplayTest(unittest.TestCase):
    def test_both_passes(self):
        workflows = collections.OrderedDict()
        with open(DATA, encoding="utf-8") as lines:
            for line in lines:
                event = json.loads(line)
                self.assertEqual(json.dumps(event) + "\n", line)  # what is sent is what was recorded
                workflows.setdefault(event["workflow"], []).append(event)
        server = Server()
        self.addCleanup(server.close)
        first, second = collections.Counter(), collections.Counter()
        for name, lines in workflows.items():
            first += Replay(server, name, lines, self).run(True)
        for name, lines in workflows.items():
            second += Replay(server, name, lines, self).run(False)
        print("first pass", dict(first), "second pass", dict(second))
        self.assertEqual(first, {"granted": 280, "attached": 31, "retrieved": 6})
        self.assertEqual(second, {"retrieved": 313, "granted": 4})


if __name__ == "__main__":
    unittest.main()
