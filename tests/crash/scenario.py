"""One of everything that the server does, always in the same order: for killing it, or failing, at each call in turn."""
from clients import Client, Ended
from crash_server import CrashServer
from journal import Broken, Journal

STEPS = ["inline", "small_blobs", "inside_the_record", "batch", "large", "large", "large",
         "resumed", "failure", "workflow", "alias", "look", "seal", "invalidate", "collect",
         "inline", "small_blobs", "left_half_way", "restart", "go_on", "look", "batch",
         "invalidate", "large", "alias", "seal", "collect", "look", "inline", "resumed",
         "small_blobs", "look"]


class Scenario:
    def __init__(self, seed, tolerated=()):
        self.server = CrashServer("--pin-time", "0")
        self.journal = Journal()
        self.client = Client(self.journal, 0, seed, tolerated)
        # Enough results for one to be invalidated.
        self.steps = ["inline"] * 4 + STEPS

    def close(self):
        self.server.close()

    def run(self, after_error):
        """Starts, and takes all steps. `after_error(step)`: a call failed, and the server may be there still."""
        self.server.start()
        for step in self.steps:
            if step == "restart":
                code = self.server.stop()
                if code != 0:
                    raise Broken(f"SIGTERM: exit code {code}: " + "".join(self.server.log[-5:]))
                self.server.start()
                continue
            self.client.use(self.server)
            try:
                self.client.take(step)
            except Ended:
                after_error(step)

    def changes(self):
        """How many calls that change the disk there were so far, in all its lives."""
        from layer import CHANGES
        calls = self.server.control.calls()
        return sum(calls[kind] for kind in CHANGES)
