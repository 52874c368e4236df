"""A data folder on a network file system: refused, and nothing done to it, unless its operator says that it may be one."""
import os, unittest

from crash_server import CrashServer, DidNotStart
from support import get, job, store, submit

NETWORK = {0x6969: "NFS", 0xff534d42: "CIFS", 0xfe534d42: "SMB2", 0x0bd00bd0: "Lustre", 0x65735546: "FUSE"}
EXT4 = 0xef53


class NetworkFolder(unittest.TestCase):
    def server(self, file_system, *flags):
        server = CrashServer(*flags, tape=False)
        self.addCleanup(server.close)
        server.file_system = file_system
        return server

    def uses(self, server):
        answer = submit(server, job("f", 1))
        store(server, answer, 7)
        self.assertEqual(get(server, answer.key).record.json, b"7")
        return answer.key

    def test_it_is_refused(self):
        for number, name in NETWORK.items():
            server = self.server(number)
            with self.assertRaises(DidNotStart) as refused:
                server.start()
            self.assertEqual(server.process.returncode, 1)
            for part in (server.data, f"is on {name}", "--allow-network-folder"):
                self.assertIn(part, str(refused.exception))
            self.assertEqual(os.listdir(server.data), [])

    def test_one_in_use_is_refused_and_left_as_it_is(self):
        server = self.server(EXT4)
        server.start()
        key = self.uses(server)
        self.assertEqual(server.stop(), 0)
        before = sorted(os.listdir(server.data))
        server.file_system = 0x6969
        self.assertRaises(DidNotStart, server.start)
        self.assertEqual(sorted(os.listdir(server.data)), before)
        server.file_system = None
        server.start()
        self.assertEqual(get(server, key).record.json, b"7")

    def test_it_is_taken_if_that_is_said(self):
        server = self.server(0x6969, "--allow-network-folder")
        server.start()
        key = self.uses(server)
        self.assertEqual(server.stop(), 0)
        server.start()
        self.assertEqual(get(server, key).record.json, b"7")


if __name__ == "__main__":
    unittest.main()
