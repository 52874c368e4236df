"""`tiffin catalogue`: the seed's own two lines of h5py read every blob by its key."""
import json, os, subprocess, tempfile, unittest

import h5py
import numpy

from blob_support import name_of, parts, text_of
from support import Server, caller
from tiffin.v1 import admin_pb2


class Catalogue(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tiffin-catalogue-")
        self.addCleanup(folder.cleanup)
        self.out = os.path.join(folder.name, "all.h5")

    def serve(self, *flags):
        server = Server("--verify-rate", "0", *flags)
        self.addCleanup(server.close)
        return server

    def put(self, server, array, namespace="default"):
        messages = list(parts(name_of(array), array.tobytes()))
        messages[0].header.caller.namespace = namespace
        server.blobs.Put(iter(messages))
        return text_of(name_of(array).key)

    def tiffin(self, server, *arguments):
        return subprocess.run([os.environ["TIFFIN_CLI_BINARY"], "--server", server.address,
                               *arguments], capture_output=True, text=True)

    def test_every_blob_is_found_by_its_key(self):
        server = self.serve("--allow-local")
        arrays = [numpy.arange(10), numpy.random.default_rng(1).random((500, 400)),
                  numpy.array(5), numpy.zeros((3, 0)), numpy.array([True, False]),
                  numpy.array([1 + 2j]), numpy.arange(6, dtype=">i2").reshape(2, 3)]
        arrays += [numpy.full(n, n) for n in range(1, 40)]
        for array in arrays:
            self.put(server, array)
        self.put(server, numpy.arange(123), "elsewhere")
        done = self.tiffin(server, "--json", "catalogue", self.out)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(json.loads(done.stdout), {"file": self.out, "blobs": len(arrays)})
        with h5py.File(self.out) as file:
            self.assertEqual(len(file), len(arrays))
            for array in arrays:
                found = file[text_of(name_of(array).key)][...]
                numpy.testing.assert_array_equal(found, array)
                self.assertEqual(found.dtype, array.dtype)
        # As the design says it.
        self.assertEqual(h5py.File(self.out)["4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU="][3], 3)
        nobody = self.tiffin(server, "--namespace", "nobody", "--json", "catalogue", self.out + "2")
        self.assertEqual(json.loads(nobody.stdout)["blobs"], 0)
        again = self.tiffin(server, "catalogue", self.out)
        self.assertEqual(again.returncode, 2)
        self.assertIn("--force", again.stderr)
        self.assertEqual(self.tiffin(server, "catalogue", "--force", self.out).returncode, 0)

    def test_messages_are_short_however_long_the_names(self):
        server = self.serve("--allow-local")
        dtype = numpy.dtype([("field %d" % i, "i1") for i in range(2000)])
        arrays = [numpy.full(1, i, dtype) for i in range(60)]  # of names of 40 kB
        for array in arrays:
            self.put(server, array)
        pages = list(server.admin.Catalogue(admin_pb2.CatalogueRequest(caller=caller())))
        self.assertGreater(len(pages), 1)
        self.assertLess(max(page.ByteSize() for page in pages), 1 << 21)
        self.assertEqual({entry.name.key for page in pages for entry in page.entries},
                         {name_of(array).key for array in arrays})

    def test_blobs_of_one_key_have_numbers(self):
        server = self.serve("--allow-local")
        # int64 [0] and an empty (1, 0) share their key.
        one, empty = numpy.array([0]), numpy.zeros((1, 0), "int64")
        key = self.put(server, one)
        self.assertEqual(self.put(server, empty), key)
        self.assertEqual(self.tiffin(server, "catalogue", self.out).returncode, 0)
        with h5py.File(self.out) as file:
            self.assertEqual({file[key].shape, file[key + "#2"].shape}, {(1,), (1, 0)})

    def test_a_server_that_does_not_tell_is_said_and_leaves_no_file(self):
        server = self.serve()
        self.put(server, numpy.arange(10))
        done = self.tiffin(server, "catalogue", self.out)
        self.assertEqual(done.returncode, 3)
        self.assertIn("--allow-local", done.stderr)
        self.assertEqual(os.listdir(os.path.dirname(self.out)), [])


if __name__ == "__main__":
    unittest.main()
