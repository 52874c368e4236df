"""The examples do what their comments say."""
import os, re, subprocess, unittest

from support import Server


class ExamplesTest(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)

    def run_example(self, name, *arguments):
        out = subprocess.run([os.path.join(os.environ["TIFFIN_EXAMPLES"], name), *arguments],
                             capture_output=True, text=True, timeout=200)
        self.assertEqual(out.returncode, 0, out.stderr)
        return out.stdout

    def test_quickstart_computes_once(self):
        out = self.run_example("tiffin_quickstart", self.server.address)
        self.assertEqual(out.count("result 25, computed here 1 times"), 2, out)
        self.assertIn("4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU= came back equal", out)
        self.assertIn("computed here 0 times",
                      self.run_example("tiffin_quickstart", self.server.address))

    def test_scheduler_reruns_from_the_store(self):
        out = self.run_example("tiffin_scheduler", "--server", self.server.address, "--jobs", "200",
                               "--mib", "3")
        self.assertTrue(re.search(r"first +200 +0 +0", out), out)
        self.assertTrue(re.search(r"second +0 +200 +0", out), out)


if __name__ == "__main__":
    unittest.main()
