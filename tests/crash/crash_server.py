"""A real server above the file layer, in a folder of its own that outlives kills and power cuts."""
import os, re, shutil, signal, subprocess, tempfile, threading

import grpc
from tiffin.v1 import admin_pb2_grpc, blobs_pb2_grpc, jobs_pb2_grpc

from disk_model import Disk
from layer import Control, environment, read_tape

DEADLINE = 60  # seconds: only to tell a hang from slowness


class DidNotStart(Exception):
    """The server ended before it served; the text is its log."""


class CrashServer:
    def __init__(self, *flags, tape=True, data="data"):
        self.folder = tempfile.mkdtemp(prefix="tiffin-crash-")
        self.root = os.path.join(self.folder, "root")  # what the layer sees
        os.mkdir(self.root)
        self.data = os.path.join(self.root, data)
        self.flags = ("--allow-local", "--open-pack", str(2 << 20), "--reserve", str(1 << 20), *flags)
        self.control = Control(os.path.join(self.folder, "control"))
        self.tape = os.path.join(self.folder, "tape") if tape else None
        self.disk = Disk()
        self.played = 0  # bytes of the tape
        self.file_system = None  # the number of what the folder pretends to be on
        self.process = self.channel = None

    # ---- running

    def start(self):
        """Returns when it serves. One that still runs, after a failure, is killed."""
        if self.running():
            self.kill()
        self.process = subprocess.Popen(
            [os.environ["TIFFIN_SERVER_BINARY"], "--data", self.data, "--listen", "127.0.0.1:0",
             *self.flags], stderr=subprocess.PIPE, text=True, errors="replace",
            env=environment(self.root, self.control.path, self.tape, self.file_system))
        self.log, self.address = [], None
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"event=serving address=(\S+)", line)
            if found:
                self.address = found.group(1)
                break
        else:
            self.process.wait()
            self.process.stderr.close()
            raise DidNotStart("".join(self.log))
        self.reader = threading.Thread(target=self._read_log, daemon=True)
        self.reader.start()
        self.connect()
        return self

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)

    def connect(self):
        if self.channel:
            self.channel.close()
        self.channel = grpc.insecure_channel(
            self.address, options=[("grpc.max_receive_message_length", 20 << 20),
                                   ("grpc.max_send_message_length", 20 << 20),
                                   ("grpc.enable_retries", 0)])
        self.jobs = _WithDeadline(jobs_pb2_grpc.JobsStub(self.channel))
        self.blobs = _WithDeadline(blobs_pb2_grpc.BlobsStub(self.channel))
        self.admin = _WithDeadline(admin_pb2_grpc.AdminStub(self.channel))

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.running():
            self.process.send_signal(signal.SIGKILL)
        return self.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self):
        """The exit code, when it has ended by itself."""
        code = self.process.wait(timeout=DEADLINE)
        self.reader.join()
        self.process.stderr.close()
        return code

    def close(self):
        if self.running():
            self.kill()
        if self.channel:
            self.channel.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- the disk below

    def take(self, folder):
        """The data folder becomes a copy of this one, which counts as durable. The server is not running then."""
        if self.running():
            self.kill()
        shutil.rmtree(self.root)
        os.mkdir(self.root)
        shutil.copytree(folder, self.data)
        self.begin_tape()

    def catch_up(self):
        """The model of the disk, up to the end of the tape."""
        if not os.path.exists(self.tape):
            return self.disk
        for call in read_tape(self.tape, self.played):
            self.disk.play(call)
            self.played = call.at
        if not self.running():
            # A record that a kill cut off belongs to a call that was not made. The next server goes on here.
            os.truncate(self.tape, self.played)
        return self.disk

    def tape_agrees(self):
        """Whether the folder is what the tape says. A kill between a call and its record makes it differ."""
        there = {}
        for folder, folders, files in os.walk(self.root):
            for name in folders:
                there[os.path.relpath(os.path.join(folder, name), self.root)] = None
            for name in files:
                path = os.path.join(folder, name)
                if not name.endswith("-shm"):
                    with open(path, "rb") as file:
                        there[os.path.relpath(path, self.root)] = file.read()
        return there == self.catch_up().now()

    def power_cut(self, variant, rng):
        """The stopped server's root becomes what a power cut at its end would have left."""
        disk = self.catch_up()
        shutil.rmtree(self.root)
        os.mkdir(self.root)
        disk.write_image(self.root, variant, rng)
        self.begin_tape()

    def begin_tape(self):
        """All that there is counts as durable from now on. The old tape is kept, to look at after a failure."""
        if os.path.exists(self.tape):
            os.replace(self.tape, self.tape + ".before")
        self.disk, self.played = Disk(self.root), 0


class _WithDeadline:
    """A stub whose calls do not hang."""

    def __init__(self, stub):
        self.stub = stub

    def __getattr__(self, name):
        method = getattr(self.stub, name)
        return lambda request, timeout=DEADLINE: method(request, timeout=timeout)
