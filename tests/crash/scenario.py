"""One of everything that the server does, always in the same order: for killing it, or failing, at each call in turn."""
import os

from clients import Client, Ended
from crash_server import CrashServer
from inspect_folder import inspect_copy
from journal import Broken, Journal
from layer import CHANGES

STEPS = ["inline", "small_blobs", "inside_the_record", "batch", "large", "large", "large",
         "resumed", "failure", "workflow", "alias", "look", "seal", "invalidate", "collect",
         "rewrite", "inline", "small_blobs", "backup", "left_half_way", "restart", "go_on", "look", "batch",
         "invalidate", "large", "alias", "verify", "seal", "collect", "look", "inline", "resumed",
         "small_blobs", "backup", "evict", "look", "verify"]


class Scenario:
    def __init__(self, seed, tolerated=(), tape=True):
        self.server = CrashServer("--pin-time", "0", "--verify-rate", "0", tape=tape)
        # The tape does not know hard links: with one, the layer does not see the copies.
        self.backups = os.path.join(self.server.folder if tape else self.server.root, "backups")
        self.server.flags += ("--backups", self.backups)
        self.journal = Journal()
        self.client = Client(self.journal, 0, seed, tolerated)
        # Enough results for one to be invalidated.
        self.steps = ["inline"] * 4 + STEPS

    def close(self):
        self.server.close()

    def run(self, after_error, before=lambda step: None):
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
            before(step)
            try:
                self.client.take(step)
            except Ended:
                after_error(step)

    def check(self):
        """Of a server that was started again."""
        self.journal.check(self.server)
        for name in os.listdir(self.backups):
            if name.endswith(".partial"):
                raise Broken(f"a copy that was not finished stays: {name}")
        for path, there in self.client.backups.items():
            inspect_copy(path, there)

    def check_it_did_all(self):
        """In a run that nothing disturbed."""
        client = self.client
        if not client.rewritten or not client.evicted or len(client.backups) != self.steps.count("backup"):
            raise Broken(f"{client.rewritten} packs rewritten, {client.evicted} results evicted, "
                         f"{len(client.backups)} backups")

    def changes(self):
        """How many calls that change the disk there were so far, in all its lives."""
        calls = self.server.control.calls()
        return sum(calls[kind] for kind in CHANGES)
