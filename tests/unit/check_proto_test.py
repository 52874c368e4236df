"""deploy/check_proto.py catches each way to break v1 on the wire, and lets additions pass.

Run by itself: /usr/bin/python3 tests/unit/check_proto_test.py
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "check_proto.py"

PROTO = """\
syntax = "proto3";
package tiffin.v1;

message Box {
  reserved 7, 9 to 11;
  reserved "old_name";
  string label = 1;
  int64 weight = 2;
  repeated Box inner = 3;
  optional int32 rank = 4;
  oneof content {
    bytes raw = 5;
    string text = 6;
  }
  map<string, int32> counts = 8;
  Kind kind = 12;
  enum Shape { ROUND = 0; SQUARE = 1; }
}

enum Kind {
  reserved 5;
  KIND_UNSPECIFIED = 0;
  KIND_WOODEN = 1;
}

message Empty {}

service Boxes {
  rpc Get(Empty) returns (Box);
  rpc Watch(Empty) returns (stream Box);
}
"""


class CheckProtoTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.proto = self.root / "tiffin/v1/box.proto"
        self.proto.parent.mkdir(parents=True)
        self.proto.write_text(PROTO)
        self.assertEqual(self.check("--update").returncode, 0)

    def check(self, *options):
        return subprocess.run([sys.executable, SCRIPT, "--proto", self.root, *options],
                              capture_output=True, text=True, check=False)

    def replace(self, old, new):
        text = self.proto.read_text()
        self.assertIn(old, text)
        self.proto.write_text(text.replace(old, new))

    def assert_breaks(self, old, new, *expected):
        """With `old` replaced by `new`, each of `expected` is reported, and the lock kept."""
        self.replace(old, new)
        for options in ((), ("--complete",), ("--update",)):
            answer = self.check(*options)
            self.assertEqual(answer.returncode, 1, answer)
            for line in expected:
                self.assertIn(line, answer.stderr)

    def test_nothing_changed(self):
        self.assertEqual(self.check("--complete").returncode, 0)

    def test_comments_and_order_do_not_count(self):
        self.replace("  string label = 1;\n  int64 weight = 2;\n",
                     "  // Heavy.\n  int64 weight = 2;\n  string label = 1;\n")
        self.assertEqual(self.check("--complete").returncode, 0)

    def test_additions_pass_and_are_kept_once_recorded(self):
        self.replace("message Empty {}", "message Empty { bool yes = 1; }\nmessage New {}")
        self.replace("KIND_WOODEN = 1;", "KIND_WOODEN = 1; KIND_METAL = 2;")
        self.replace("rpc Get(Empty)", "rpc Put(Box) returns (Empty);\n  rpc Get(Empty)")
        answer = self.check()
        self.assertEqual(answer.returncode, 0, answer)
        for line in ("message tiffin.v1.New", "message tiffin.v1.Empty, field yes = 1",
                     "enum tiffin.v1.Kind, value KIND_METAL = 2", "rpc tiffin.v1.Boxes/Put"):
            self.assertIn(line, answer.stdout)
        self.assertEqual(self.check("--complete").returncode, 1)
        self.assertEqual(self.check("--update").returncode, 0)
        self.assertEqual(self.check("--complete").returncode, 0)
        self.assert_breaks(" KIND_METAL = 2;", "", "value KIND_METAL = 2 was removed")

    def test_message_removed(self):
        self.replace("message Empty {}", "")
        self.assert_breaks("(Empty)", "(Box)", "message tiffin.v1.Empty was removed")

    def test_nested_enum_removed(self):
        self.assert_breaks("  enum Shape { ROUND = 0; SQUARE = 1; }\n", "",
                           "enum tiffin.v1.Box.Shape was removed")

    def test_field_removed(self):
        self.assert_breaks("  int64 weight = 2;\n", "",
                           "message tiffin.v1.Box, field weight = 2 was removed")

    def test_field_removed_and_reserved(self):
        self.assert_breaks("  int64 weight = 2;\n", "  reserved 2;\n", "field weight = 2 was removed")

    def test_field_renumbered(self):
        self.assert_breaks("weight = 2", "weight = 20", "field weight = 2: its number is now 20")

    def test_field_numbers_swapped(self):
        self.replace("string label = 1", "string label = 2")
        self.assert_breaks("int64 weight = 2", "int64 weight = 1",
                           "field label = 1: its number is now 2",
                           "field weight = 2: its number is now 1")

    def test_field_renamed(self):
        self.assert_breaks("weight = 2", "mass = 2",
                           "field weight = 2: name was weight, is mass")

    def test_field_type_changed(self):
        self.assert_breaks("int64 weight", "sint64 weight",
                           "field weight = 2: type was int64, is sint64")

    def test_field_message_type_changed(self):
        self.assert_breaks("repeated Box inner", "repeated Empty inner",
                           "field inner = 3: type was tiffin.v1.Box, is tiffin.v1.Empty")

    def test_map_value_changed(self):
        self.assert_breaks("map<string, int32>", "map<string, string>", "CountsEntry", "is string")

    def test_field_made_repeated(self):
        self.assert_breaks("string label", "repeated string label",
                           "field label = 1: label was singular, is repeated")

    def test_field_loses_its_presence(self):
        self.assert_breaks("optional int32 rank", "int32 rank",
                           "field rank = 4: label was optional, is singular")

    def test_field_leaves_its_oneof(self):
        self.assert_breaks("    string text = 6;\n  }", "  }\n  string text = 6;",
                           "field text = 6: oneof was content, is none")

    def test_field_enters_a_oneof(self):
        self.replace("  int64 weight = 2;\n", "")
        self.assert_breaks("    bytes raw = 5;\n", "    bytes raw = 5;\n    int64 weight = 2;\n",
                           "field weight = 2: oneof was none, is content")

    def test_oneof_renamed(self):
        self.assert_breaks("oneof content", "oneof filling", "oneof was content, is filling")

    def test_reserved_number_freed(self):
        self.assert_breaks("  reserved 7, 9 to 11;\n", "  reserved 9 to 10;\n",
                           "[7, 7] is no longer reserved", "[9, 11] is no longer reserved")

    def test_reserved_range_may_grow(self):
        self.replace("reserved 7, 9 to 11;", "reserved 7, 9 to 11, 13 to 20;")
        self.assertEqual(self.check().returncode, 0)

    def test_reserved_name_freed(self):
        self.assert_breaks('  reserved "old_name";\n', "", "old_name is no longer reserved")

    def test_enum_value_removed(self):
        self.assert_breaks("  KIND_WOODEN = 1;\n", "",
                           "enum tiffin.v1.Kind, value KIND_WOODEN = 1 was removed")

    def test_enum_value_renumbered(self):
        self.assert_breaks("KIND_WOODEN = 1", "KIND_WOODEN = 2", "KIND_WOODEN = 1: is now 2")

    def test_enum_number_freed(self):
        self.assert_breaks("  reserved 5;\n", "", "enum tiffin.v1.Kind: [5, 5] is no longer reserved")

    def test_rpc_removed(self):
        self.assert_breaks("  rpc Get(Empty) returns (Box);\n", "",
                           "rpc tiffin.v1.Boxes/Get was removed")

    def test_rpc_request_changed(self):
        self.assert_breaks("rpc Get(Empty)", "rpc Get(Box)",
                           "rpc tiffin.v1.Boxes/Get: request was tiffin.v1.Empty, is tiffin.v1.Box")

    def test_rpc_response_changed(self):
        self.assert_breaks("Get(Empty) returns (Box)", "Get(Empty) returns (Empty)",
                           "response was tiffin.v1.Box")

    def test_rpc_streaming_changed(self):
        self.replace("rpc Get(Empty)", "rpc Get(stream Empty)")
        self.assert_breaks("returns (stream Box)", "returns (Box)",
                           "Get: client_streaming was False, is True",
                           "Watch: server_streaming was True, is False")

    def test_service_removed(self):
        text = self.proto.read_text()
        self.assert_breaks(text[text.index("service Boxes"):], "",
                           "service tiffin.v1.Boxes was removed")

    def test_package_changed(self):
        self.replace("package tiffin.v1;", "package tiffin.v2;")
        self.assertEqual(self.check().returncode, 1)

    def test_lock_missing(self):
        (self.proto.parent / "v1.lock.json").unlink()
        answer = self.check()
        self.assertEqual(answer.returncode, 1)
        self.assertIn("is missing", answer.stderr)


if __name__ == "__main__":
    unittest.main()
