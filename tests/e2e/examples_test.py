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

    def test_stars_tells_how_objects_become_records(self):
        out = self.run_example("tiffin_stars", self.server.address, self.server.data)
        for line in [
                "# A star as its bytes",
                "RawStar: nothing is registered",
                '"class": "stars::RawStar",',
                '"data": "RwAAAAAAAEAFAAAA"',
                "back: type G, number 2",
                '{"_noodles": "0.3.0", "type": "<automagic>", "class": "stars.Star", "data": "G2V"}',
                "  type G, number 2, main-sequence star",
                "  type B, number 8, luminous supergiant",
                "  type B, number 2, subgiant",
                "refused: [0].data: expected one of O, B, A, F, G, K, M",
                '"class": "builtins.set",',
                "back: 2 stars",
                '"dtype": "float64",',
                "without deref: it is a ref to",
                "a placeholder: Ref(numpy.ndarray, ",
                "into memory: peak at 502 nm",
                "with deref: 2000 values, equal",
                'bodies:           {"_noodles": "0.3.0", "type": "<object>", "class": '
                '"stars.Planet", "data": 1.898e+27}',
                '"class": "builtins.tuple", "data": [1.898e+27, 95]}}',
                "Planet: nothing is registered",
                ": 2000 values, equal"]:
            self.assertIn(line, out)
        # What the README shows of it.
        with open(os.path.join(os.path.dirname(__file__), "..", "..", "README.md"), encoding="utf-8") as readme:
            section = readme.read().split("## C++ objects\n")[1].split("\n## ")[0]
        shown = "".join(re.findall("```text\n(.*?)```", section, re.DOTALL)).splitlines()
        self.assertGreater(len(shown), 10)
        # The last bits of the spectrum, and so its key, may be another processor's.
        masked = lambda text: re.sub("[A-Za-z0-9_-]{43}=", "KEY", text)
        for line in shown:
            self.assertIn(masked(line), masked(out).splitlines())
        # Nothing is computed twice.
        self.assertEqual(self.run_example("tiffin_stars", self.server.address, self.server.data),
                         out)


if __name__ == "__main__":
    unittest.main()
