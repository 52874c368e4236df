"""Cycles of work, kill, perhaps power cut, restart and check, all told by one seed."""
import os, random, time

from clients import Crowd
from crash_server import CrashServer
from disk_model import VARIANTS
from inspect_folder import inspect
from journal import Broken, Journal
from layer import CHANGES, Action

CLIENTS = 4
PER_FOLDER = 12  # cycles before a fresh folder: checking takes longer as it fills

# Where to kill, by the call and the file that it is made on. The name says what it lies between.
POINTS = {
    "write an open pack": (["write"], "data/open/*"),
    "sync an open pack": (["sync"], "data/open/*"),
    "publish an open pack": (["rename"], "data/open/*"),
    "write a file in tmp": (["write", "allocate"], "data/tmp/*"),
    "sync a file in tmp (upload, seal, rewrite)": (["sync"], "data/tmp/*"),
    "publish a sealed pack": (["rename"], "data/packs/*"),
    "sync the folder of a sealed pack": (["sync_folder"], "data/packs/*"),
    "make a folder for packs": (["mkdir"], "data/packs/*"),
    "remove a pack (seal, collect)": (["unlink"], "data/[op]*"),
    "write a resumable upload": (["write", "create"], "data/uploads/*"),
    "sync a resumable upload": (["sync"], "data/uploads/*"),
    "write the log": (["write"], "data/tiffin.db-wal"),
    "commit: sync the log": (["sync"], "data/tiffin.db-wal"),
    "checkpoint: write the database": (["write"], "data/tiffin.db"),
    "checkpoint: sync the database": (["sync"], "data/tiffin.db"),
    "restart the log": (["truncate"], "data/tiffin.db-wal"),
    "anything": (CHANGES, ""),
}


class Cycles:
    """`seed` and the number of cycles tell all that this decides; threads and time decide the rest."""

    def __init__(self, seed, say=print):
        self.seed, self.say = seed, say
        self.rng = random.Random(seed)
        # Aimed at a point: the server may be killed from outside before it comes to it.
        self.count = {"kills": 0, "aimed at points": 0, "hit at points": 0, "aimed while starting": 0,
                      "hit while starting": 0, "power cuts": 0, "clean stops": 0, "acknowledged": 0}
        self.server = None
        self.folders = 0

    def close(self):
        if self.server:
            self.server.close()

    def run(self, goes_on):
        """As long as goes_on()."""
        while goes_on():
            self.fresh()
            for _ in range(PER_FOLDER):
                if not goes_on():
                    break
                self.cycle()
            self.finish()

    def fresh(self):
        self.folders += 1
        self.server = CrashServer("--pin-time", "0")
        self.journal = Journal()
        self.crowd = Crowd(self.journal, CLIENTS, f"{self.seed}/{self.folders}")
        self.what = "the first start"

    def cycle(self):
        """One life of the server: it starts, keeps what the last one promised, works, and is killed."""
        try:
            self._start_and_check()
            self._work_and_kill()
        except Exception as error:
            kept = self.keep()
            raise Broken(f"seed {self.seed}, folder {self.folders}, after {self.what} ({kept}): "
                         f"{error}") from error

    def finish(self):
        """The last check of a folder, also by other readers."""
        try:
            self._start_and_check()
            if self.server.stop() != 0:
                raise Broken("SIGTERM did not end it well: " + "".join(self.server.log[-5:]))
            inspect(self.server.data)
        except Exception as error:
            raise Broken(f"seed {self.seed}, folder {self.folders}, after {self.what} "
                         f"({self.keep()}): {error}") from error
        self.count["acknowledged"] += self.journal.acknowledged
        self.server.close()

    def keep(self):
        """The folder stays, for somebody to look at."""
        if self.server.running():
            self.server.kill()
        with open(os.path.join(self.server.folder, "log"), "w", encoding="utf-8") as file:
            file.writelines(self.server.log)
        kept, self.server = self.server.folder, None
        return kept

    def _start_and_check(self):
        self.server.control.clear()
        # Now and then it is killed while it starts, once or more.
        while self.rng.random() < 0.15:
            self._kill_while_it_starts()
        self.server.control.clear()
        self.server.start()
        self.journal.check(self.server)

    def _kill_while_it_starts(self):
        from crash_server import DidNotStart
        self.server.control.set(0, Action.KILL_BEFORE, CHANGES, first=self.rng.randint(1, 60))
        try:
            self.server.start()
            self.server.kill()
        except DidNotStart:
            if self.server.process.returncode != -9:
                raise
        self.server.control.clear()
        self.count["kills"] += 1
        self.count["aimed while starting"] += 1
        self.count["hit while starting"] += self.server.control.hits(0)
        self._after_kill("a kill while it started")

    def _work_and_kill(self):
        way = self.rng.choice(("time", "point", "point", "stop"))
        if way == "stop" and self.rng.random() < 0.5:
            way = "time"
        self.crowd.start(self.server)
        if way == "point":
            self._kill_at_a_point()
        else:
            time.sleep(self.rng.uniform(0.02, 0.6))  # how much work there is: nothing is timed
            if way == "stop":
                self.server.process.terminate()
                self.what = "a stop"
            else:
                self.server.process.kill()
                self.what = "a kill"
        code = self.server.wait()
        self.crowd.join()
        if way == "stop":
            self.count["clean stops"] += 1
            if code != 0:
                raise Broken(f"SIGTERM: exit code {code}")
        else:
            self.count["kills"] += 1
            if code != -9:
                raise Broken(f"it ended by itself with {code}: " + "".join(self.server.log[-5:]))
            if way == "point":
                self._count_the_point()
        self._after_kill(self.what)

    def _kill_at_a_point(self):
        point = self.rng.choice(list(POINTS))
        kinds, path = POINTS[point]
        action = self.rng.choice((Action.KILL_BEFORE, Action.KILL_AFTER))
        number = self.rng.randint(1, 25 if "write" in kinds else 4)
        self.server.control.set(0, action, kinds, path, first=number)
        self.what = f"{action.name} {point}, number {number}"
        self.count["aimed at points"] += 1
        end = time.monotonic() + 3
        while self.server.running() and time.monotonic() < end:
            time.sleep(0.01)
        self.server.process.kill()  # it did not come to that

    def _count_the_point(self):
        """What the layer says, which counts a call that it acts on."""
        if self.server.control.hits(0):
            self.count["hit at points"] += 1
        else:
            self.what += ", which it did not come to"

    def _after_kill(self, what):
        # A kill from outside may have come between a call and its record: then the tape begins anew.
        if self.rng.random() < 0.5:
            variant = self.rng.choice(VARIANTS)
            self.what = f"{what}, then a power cut ({variant})"
            self.server.power_cut(variant, self.rng)
            self.count["power cuts"] += 1
        else:
            self.what = what
            if not self.server.tape_agrees():
                self.server.begin_tape()
