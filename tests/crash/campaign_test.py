"""Clients at work, and a server that is killed, again and again (cycles.py).

TIFFIN_CRASH_CYCLES says how many times, TIFFIN_CRASH_SEED with which seed.
"""
import os, random, unittest

from cycles import Cycles

CYCLES = int(os.environ.get("TIFFIN_CRASH_CYCLES", "20"))
SEED = int(os.environ.get("TIFFIN_CRASH_SEED", random.randrange(1 << 32)))


class CampaignTest(unittest.TestCase):
    def test_what_was_acknowledged_survives_kills_and_power_cuts(self):
        print(f"TIFFIN_CRASH_SEED={SEED}", flush=True)
        cycles = Cycles(SEED)
        self.addCleanup(cycles.close)
        cycles.run(lambda: cycles.count["kills"] < CYCLES)
        print(cycles.count, flush=True)
        self.assertGreater(cycles.count["acknowledged"], 0)
        # Most points come up in a moment's work; with a few tries none may.
        if cycles.count["aimed at points"] >= 8:
            self.assertGreater(cycles.count["hit at points"], 0)


if __name__ == "__main__":
    unittest.main()
