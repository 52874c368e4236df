"""/metrics: what Prometheus reads, and that it says what happened."""
import re, subprocess, os, unittest, urllib.error, urllib.request

import grpc
import numpy

from blob_support import name_of, parts, refer
from support import Server, caller, get, job, store, submit
from tiffin.v1 import admin_pb2

LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="[^"\\]*",?)*)\})? (\S+)')


class Metrics(unittest.TestCase):
    def setUp(self):
        self.server = Server("--metrics", "127.0.0.1:0", "--verify-rate", "0", "--log-level", "info")
        self.addCleanup(self.server.close)
        self.url = f"http://{self.server.metrics}/metrics"

    def read(self):
        """{(name, labels): number}; every line must be of the text format, and described."""
        with urllib.request.urlopen(self.url, timeout=60) as answer:
            self.assertTrue(answer.headers["Content-Type"].startswith("text/plain"))
            text = answer.read().decode()
        numbers, types = {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                types[name] = kind
            elif not line.startswith("#"):
                found = LINE.fullmatch(line)
                self.assertTrue(found, line)
                name, labels, value = found.groups()
                base = re.sub(r"_(bucket|sum|count)$", "", name)
                self.assertTrue(name in types or types.get(base) in ("histogram", "summary"), line)
                numbers[name, labels or ""] = float(value)
        return numbers

    def test_it_says_what_happened(self):
        array = numpy.random.default_rng(1).random(200_000)
        self.server.blobs.Put(parts(name_of(array), array.tobytes()))
        answer = submit(self.server, job("f", 1))
        held = submit(self.server, job("f", 2))
        store(self.server, answer, refer(array))
        submit(self.server, job("f", 1))
        with self.assertRaises(grpc.RpcError):
            get(self.server, held.key)
        list(self.server.admin.Verify(admin_pb2.VerifyRequest(caller=caller())))
        numbers = self.read()
        for name, number in {"jobs": 2, "jobs_done": 1, "leases": 1, "blobs": 1,
                             "blob_bytes": array.nbytes, "submits_total": 3, "retrieved_total": 1,
                             "granted_total": 2, "stored_results_total": 1, "damaged_blobs": 0,
                             "verified_bytes_total": array.nbytes, "verify_passes_total": 1,
                             "nondeterministic_results": 0, "waiting": 0, "disk_full": 0,
                             "disk_reserve_bytes": 64 << 20}.items():
            self.assertEqual(numbers["tiffin_" + name, ""], number, name)
        self.assertGreater(numbers["tiffin_disk_bytes", ""], numbers["tiffin_disk_free_bytes", ""])
        self.assertGreater(numbers["tiffin_database_bytes", ""], 0)
        self.assertEqual(numbers["tiffin_rpcs_total", 'rpc="Submit",code="OK"'], 3)
        self.assertEqual(numbers["tiffin_rpcs_total", 'rpc="GetResult",code="NOT_FOUND"'], 1)
        self.assertEqual(numbers["tiffin_rpcs_total", 'rpc="Put",code="OK"'], 1)
        self.assertEqual(numbers["tiffin_rpc_seconds_count", 'rpc="Submit"'], 3)
        self.assertEqual(numbers["tiffin_rpc_seconds_bucket", 'rpc="Submit",le="+Inf"'], 3)
        self.assertGreater(numbers["tiffin_rpc_seconds_sum", 'rpc="Submit"'], 0)
        buckets = [v for (name, labels), v in numbers.items()
                   if name == "tiffin_rpc_seconds_bucket" and labels.startswith('rpc="Submit"')]
        self.assertEqual(buckets, sorted(buckets))

    def test_results_that_differ_are_counted(self):
        answer = submit(self.server, job("f", 1))
        store(self.server, answer, 1)
        store(self.server, answer, 1)  # the same again is none
        self.assertEqual(self.read()["tiffin_nondeterministic_results", ""], 0)
        for value in 2, 3, 2:
            with self.assertRaises(grpc.RpcError):
                store(self.server, answer, value)
        numbers = self.read()
        self.assertEqual(numbers["tiffin_nondeterministic_results", ""], 2)
        self.assertEqual(numbers["tiffin_rpcs_total", 'rpc="StoreResult",code="ALREADY_EXISTS"'], 3)
        self.server.stop()
        self.server.start()
        self.url = f"http://{self.server.metrics}/metrics"
        self.assertEqual(self.read()["tiffin_nondeterministic_results", ""], 2)

    def test_other_paths_are_not_there(self):
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(self.url.replace("/metrics", "/etc/passwd"), timeout=60)
        self.assertEqual(caught.exception.code, 404)

    def test_an_address_in_use_is_said(self):
        done = subprocess.run([os.environ["TIFFIN_SERVER_BINARY"], "--listen", "127.0.0.1:0",
                               "--backend", "memory", "--metrics", self.server.metrics],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("--metrics " + self.server.metrics, done.stderr)


if __name__ == "__main__":
    unittest.main()
