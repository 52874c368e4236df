"""The server is killed before each call in turn that changes the disk; half the time the power fails as well.

TIFFIN_CRASH_POINTS says how many points, spread over all; 0: all of them.
"""
import os, random, unittest

from crash_server import DidNotStart
from disk_model import VARIANTS
from inspect_folder import inspect
from journal import Broken
from layer import CHANGES, Action
from scenario import Scenario

POINTS = int(os.environ.get("TIFFIN_CRASH_POINTS", "15"))
SEED = int(os.environ.get("TIFFIN_CRASH_SEED", random.randrange(1 << 32)))


class Killed(Exception):
    pass


class PointsTest(unittest.TestCase):
    def test_a_kill_at_any_call_loses_nothing(self):
        print(f"TIFFIN_CRASH_SEED={SEED}", flush=True)
        rng = random.Random(SEED)
        total = self.count_calls()
        points = sorted(rng.sample(range(1, total + 1), min(POINTS or total, total)))
        missed = 0
        for point in points:
            variant = rng.choice(("kept",) * 2 + VARIANTS)
            with self.subTest(point=point, of=total, variant=variant, seed=SEED):
                missed += not self.one(point, variant, rng)
        print(f"killed at {len(points) - missed} of {total} calls; {missed} more did not come up", flush=True)
        self.assertLess(missed, max(2, len(points) * 0.2))

    def count_calls(self):
        scenario = Scenario(SEED)
        try:
            scenario.run(self.fail)
            scenario.check_it_did_all()
            return scenario.changes()
        finally:
            scenario.close()

    def one(self, point, variant, rng):
        """Whether the layer killed it; that may fail only for the last points."""
        scenario = Scenario(SEED)
        server = scenario.server
        self.addCleanup(scenario.close)
        server.control.set(0, Action.KILL_BEFORE, CHANGES, first=point)
        def killed(step):
            raise Killed(step)
        try:
            scenario.run(killed)
            server.kill()  # it came to its end first: random names make a few calls more or less
        except (Killed, DidNotStart, Broken):
            self.assertEqual(server.wait() if server.address else server.process.returncode, -9)
        killed = server.control.hits(0)
        if not killed:
            self.assertLess(server.control.seen(0), point)
        if variant != "kept":
            server.power_cut(variant, rng)
        server.control.clear()
        server.start()
        scenario.check()
        self.assertEqual(server.stop(), 0)
        inspect(server.data)
        scenario.close()
        return killed


if __name__ == "__main__":
    unittest.main()
