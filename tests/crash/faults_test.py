"""Each kind of call fails in turn, once or until it is told otherwise: the error is clean, what was acknowledged stays, and
the service comes back by itself.

TIFFIN_CRASH_FAULTS says how many faults, spread over all; 0: all of them.
"""
import errno, os, random, unittest

import grpc

from clients import ENDED
from crash_server import DidNotStart
from inspect_folder import inspect
from layer import Action
from scenario import Scenario

FAULTS = int(os.environ.get("TIFFIN_CRASH_FAULTS", "22"))
SEED = int(os.environ.get("TIFFIN_CRASH_SEED", random.randrange(1 << 32)))
FATAL = 70  # exit code after a failed sync of the database

Code = grpc.StatusCode
FULL, BAD = {Code.RESOURCE_EXHAUSTED}, {Code.UNAVAILABLE}
# Kind of call, errno (0: cut short), and the codes that clients may see.
KINDS = [
    ("write", errno.ENOSPC, FULL), ("write", errno.EDQUOT, FULL), ("write", errno.EIO, BAD),
    ("write", 0, FULL | BAD),
    ("allocate", errno.ENOSPC, FULL), ("allocate", errno.EDQUOT, FULL), ("allocate", errno.EIO, BAD),
    ("truncate", errno.EIO, BAD), ("truncate", errno.ENOSPC, FULL),
    ("sync", errno.EIO, BAD), ("sync", errno.ENOSPC, FULL | BAD), ("sync_folder", errno.EIO, BAD),
    ("rename", errno.EIO, BAD), ("rename", errno.ENOSPC, FULL),
    ("unlink", errno.EIO, BAD), ("mkdir", errno.ENOSPC, FULL),
    ("create", errno.ENOSPC, FULL), ("create", errno.EMFILE, FULL | BAD),
    ("open", errno.EMFILE, FULL | BAD), ("open", errno.EIO, BAD),
    ("read", errno.EIO, BAD | {Code.DATA_LOSS}), ("map", errno.ENOMEM, FULL | BAD),
]


class Fault:
    """One run of the scenario with one fault in it."""

    def __init__(self, test, kind, error, codes, number, lasts):
        self.test, self.codes, self.lasts = test, codes, lasts
        self.scenario = Scenario(SEED, tolerated=codes, tape=False)
        self.server = self.scenario.server
        test.addCleanup(self.scenario.close)
        action = Action.FAIL if error else Action.SHORT
        self.server.control.set(0, action, [kind], first=number, count=0 if lasts else 1, error=error)
        self.errors_left = 3 if lasts else 1
        self.died = 0
        self.kind, self.number = kind, number

    def run(self):
        """Whether the call came up, and failed. Threads make some calls more or less."""
        scenario, server = self.scenario, self.server
        start = server.start
        server.start = lambda: self.start(start)
        server.stop = lambda stop=server.stop: self.stop(stop)
        scenario.run(self.after_error, self.before)
        server.control.clear()
        if not server.control.hits(0):
            self.test.assertLess(server.control.seen(0), self.number)
            self.test.assertEqual(scenario.client.errors, [])
        # In the same process, unless the rules say that it ends.
        scenario.journal.check(server)
        self.test.assertEqual(server.stop(), 0)
        del server.start
        server.start()
        scenario.check()
        self.test.assertEqual(server.stop(), 0)
        inspect(server.data)
        scenario.close()
        return server.control.hits(0) > 0

    def before(self, step):
        # What cannot be read time and again is damage: Verify sets it aside, and its results are gone.
        if step == "verify" and self.kind == "read" and self.lasts:
            self.server.control.clear()

    def start(self, start):
        try:
            return start()
        except DidNotStart as why:
            self.test.assertRegex(str(why), "event=(start|fatal) error=")
            self.died += 1
            self.test.assertLessEqual(self.died, 1)
            self.server.control.clear()
            return start()

    def stop(self, stop):
        code = stop()
        if code == FATAL:
            self.test.assertIn("event=fatal", "".join(self.server.log))
            self.died += 1
            self.server.control.clear()
            return 0
        return code

    def after_error(self, step):
        server = self.server
        step, code, details = self.scenario.client.errors[-1]
        self.test.assertTrue(details, "an error says what it is")
        self.test.assertGreater(self.errors_left, 0, f"{step}: {code} {details}: it does not come back")
        self.errors_left -= 1
        if self.ends(server):
            self.test.assertEqual(server.wait(), FATAL, "".join(server.log[-5:]))
            self.test.assertIn("event=fatal", "".join(server.log))
            server.control.clear()
            server.start()
            self.errors_left = 0
            return
        self.test.assertIn(code, self.codes, f"{step}: {details}")
        if self.lasts and self.errors_left == 0:
            server.control.clear()

    @staticmethod
    def ends(server):
        """Whether it ends, perhaps a moment after the answer."""
        import subprocess
        try:
            server.process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            return any("event=fatal" in line for line in server.log)
        return True


class FaultsTest(unittest.TestCase):
    def test_any_call_may_fail(self):
        print(f"TIFFIN_CRASH_SEED={SEED}", flush=True)
        rng = random.Random(SEED)
        counts = self.count_calls()
        faults = [(kind, error, codes, number, lasts) for kind, error, codes in KINDS
                  for number in range(1, counts[kind] + 1) for lasts in (False, True)]
        total = len(faults)
        if FAULTS:
            # Each kind has its turn.
            by_kind = {}
            for fault in faults:
                by_kind.setdefault(fault[:2], []).append(fault)
            turns = list(by_kind.values())
            faults = [rng.choice(turns[i % len(turns)]) for i in range(FAULTS)]
        missed = 0
        for fault in faults:
            kind, error, codes, number, lasts = fault
            with self.subTest(kind=kind, error=errno.errorcode.get(error, "short"), number=number,
                              of=counts[kind], lasts=lasts, seed=SEED):
                missed += not Fault(self, *fault).run()
        print(f"{len(faults) - missed} of {total} faults; {missed} more did not come up", flush=True)
        self.assertLess(missed, max(2, len(faults) * 0.3))

    def count_calls(self):
        scenario = Scenario(SEED, tape=False)
        try:
            scenario.run(self.fail)
            scenario.check_it_did_all()
            return scenario.server.control.calls()
        finally:
            scenario.close()


if __name__ == "__main__":
    unittest.main()
