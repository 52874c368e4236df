"""What tests of `tiffin` share: a server, a folder of their own, and the command line that speaks to it."""
import base64, json, os, subprocess, tempfile, unittest

from support import Server, until

CLI = os.environ["TIFFIN_CLI_BINARY"]
DONE, MISS, WRONG_USE, REFUSED, UNREACHABLE = range(5)


def text_of(key):
    return base64.urlsafe_b64encode(key).decode()


class CliCase(unittest.TestCase):
    flags = ()

    def serve(self):
        self.server = Server(*self.flags)
        self.addCleanup(self.server.close)

    def setUp(self):
        self.serve()
        folder = tempfile.TemporaryDirectory(prefix="tiffin-cli-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.env = dict(os.environ, TIFFIN_SERVER=self.server.address, TIFFIN_PATIENCE="60s",
                        TIFFIN_SPOOL=self.path("spool"))

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def start(self, *arguments, **env):
        process = subprocess.Popen([CLI, *arguments], env=dict(self.env, **env), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def finish(self, process, code=DONE):
        """What it printed, and what it complained of."""
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, code, (process.args, out, err))
        return out, err

    def cli(self, *arguments, code=DONE, **env):
        """What the command printed."""
        return self.finish(self.start(*arguments, **env), code)[0]

    def lines(self, *arguments, code=DONE, **env):
        """The JSON objects that the command printed, one a line."""
        return [json.loads(line) for line in self.cli("--json", *arguments, code=code, **env).splitlines()]

    until = staticmethod(until)
