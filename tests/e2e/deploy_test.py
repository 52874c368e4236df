"""The files of deploy/ agree with the binaries: what an example names exists, and what it says works.

Run: /usr/bin/python3 tests/e2e/deploy_test.py TIFFIN-SERVER TIFFIN
"""

import configparser
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SERVER, CLI = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])


def output(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def server_flags():
    return set(re.findall(r"--([a-z][a-z0-9-]*)", output(SERVER, "--help").stdout))


class Scripts(unittest.TestCase):
    def scripts(self):
        found = sorted(DEPLOY.glob("*.sh")) + [ROOT / ".ci/run"]
        self.assertGreaterEqual(len(found), 5)
        return found

    def test_the_plot_draws_the_last_run(self):
        plot = ROOT / "tests/bench/plot_sha256.py"
        with tempfile.TemporaryDirectory() as folder:
            results = pathlib.Path(folder, "results.jsonl")
            line = '{"name": "%s", "value": %s, "unit": "GB/s", "floor": 2.0}\n'
            results.write_text(line % ("sha256_2^10", 9) + line % ("get_hot", 1) +
                               line % ("sha256_2^10", 1) + line % ("sha256_slope_from_1", 0))
            drawn = output(plot, results, "out.svg")
            self.assertEqual(drawn.returncode, 0, drawn.stderr)
            # 2^10 doubles at 1 and 2 GB/s.
            self.assertIn("\n8192 8.192e-06 4.096e-06\nEOD", drawn.stdout)
            self.assertIn('set output "out.svg"', drawn.stdout)
            results.write_text(line % ("get_hot", 1))
            self.assertIn("no results of sha256", output(plot, results, "out.svg").stderr)
        refused = output(DEPLOY / "bench.sh", "get_hot", "--plot")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("'get_hot' leaves out", refused.stderr)

    def test_they_are_executable_and_parse(self):
        for script in self.scripts():
            with self.subTest(script.name):
                self.assertTrue(script.stat().st_mode & 0o100)
                self.assertEqual(output("bash", "-n", script).stderr, "")

    def test_shellcheck_finds_nothing(self):
        if not shutil.which("shellcheck"):
            self.skipTest("no shellcheck")
        self.assertEqual(output("shellcheck", *self.scripts()).stdout, "")

    def test_each_explains_itself_and_refuses_what_it_does_not_know(self):
        for script in sorted(DEPLOY.glob("*.sh")):
            with self.subTest(script.name):
                answer = output(script, "--help")
                self.assertEqual(answer.returncode, 0)
                self.assertIn("usage:", answer.stdout)
                self.assertEqual(output(script, "--no-such-option").returncode, 2)

    def test_the_readme_lists_each_file(self):
        readme = (DEPLOY / "README.md").read_text()
        for file in DEPLOY.iterdir():
            if file.suffix in (".sh", ".toml", ".service", ".yaml"):
                self.assertIn(f"`{file.name}", readme)


class Configuration(unittest.TestCase):
    def test_every_key_is_a_flag(self):
        text = (DEPLOY / "tiffin.toml").read_text()
        keys = re.findall(r"^(?:# )?([a-z][a-z0-9_-]*) = ", text, re.MULTILINE)
        self.assertIn("data", keys)
        self.assertLessEqual(set(keys), server_flags())

    def test_the_server_runs_with_it_and_drains(self):
        with tempfile.TemporaryDirectory() as folder:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                address = f"127.0.0.1:{probe.getsockname()[1]}"
            server = subprocess.Popen([SERVER, "--config", DEPLOY / "tiffin.toml",
                                       "--data", f"{folder}/data", "--listen", address],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            self.addCleanup(server.stderr.close)
            self.addCleanup(server.kill)
            deadline = time.monotonic() + 30
            while output(CLI, "--server", address, "health").returncode != 0:
                self.assertIsNone(server.poll())
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
            server.send_signal(signal.SIGTERM)
            self.assertEqual(server.wait(timeout=30), 0)
            self.assertTrue(pathlib.Path(folder, "data/tiffin.db").exists())


class Unit(unittest.TestCase):
    def setUp(self):
        self.text = (DEPLOY / "tiffin.service").read_text()

    def test_it_starts_the_server_with_flags_that_exist(self):
        unit = configparser.RawConfigParser(strict=False)
        unit.optionxform = str
        unit.read_string(self.text)
        command = unit["Service"]["ExecStart"]
        self.assertTrue(command.startswith("/usr/local/bin/tiffin-server "))
        flags = set(re.findall(r"--([a-z][a-z0-9-]*)", command))
        self.assertIn("config", flags)
        self.assertLessEqual(flags, server_flags())

    def test_systemd_accepts_it(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("no systemd-analyze")
        with tempfile.TemporaryDirectory() as folder:
            unit = pathlib.Path(folder, "tiffin.service")
            # The binary need not be installed here.
            unit.write_text(self.text.replace("/usr/local/bin/tiffin-server", str(SERVER)))
            answer = output("systemd-analyze", "verify", "--man=no", unit)
            complaints = [line for line in answer.stderr.splitlines() if "tiffin" in line]
            self.assertEqual(complaints, [])


class Container(unittest.TestCase):
    def setUp(self):
        self.dockerfile = (ROOT / "Dockerfile").read_text()

    def test_compose_agrees_with_the_image(self):
        compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
        service = compose["services"]["tiffin"]
        self.assertTrue((DEPLOY / service["build"] / "Dockerfile").exists())
        (port,) = service["ports"]
        self.assertIn(f"EXPOSE {port.rsplit(':', 1)[1]}\n", self.dockerfile)
        (volume,) = service["volumes"]
        name, target = volume.split(":")
        self.assertIn(name, compose["volumes"])
        self.assertIn(f"VOLUME {target}\n", self.dockerfile)
        self.assertGreater(int(service["stop_grace_period"].rstrip("s")), 8)

    def test_the_image_takes_only_what_it_is_given(self):
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        self.assertIn("*", ignored)
        for line in ignored:
            if line.startswith("!"):
                self.assertTrue((ROOT / line[1:]).exists(), line)

    def test_the_image_names_variables_the_server_knows(self):
        text = output(SERVER, "--help").stdout
        for name in re.findall(r"\b(TIFFIN_[A-Z]+)=", self.dockerfile):
            if name not in ("TIFFIN_BORINGSSL_SOURCE",) and not name.startswith("TIFFIN_BUILD"):
                self.assertIn(name, text)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
