#include "tests/fuzz/message/values.h"

#include <map>

#include "common/base64.h"
#include "common/strings.h"
#include "tests/fuzz/message/tokens.h"

namespace tiffin::fuzzing {
namespace {

using Values = std::vector<std::string>;

std::string Object(std::string_view type, std::string_view class_name, std::string_view rest) {
  return StrCat(R"({"_noodles": "0.3.0", "type": ")", type, R"(", "class": ")", class_name,
                R"(", )", rest, "}");
}

std::string Ref(std::string_view key, std::string_view dtype, std::string_view shape) {
  return Object("<object>", "numpy.ndarray",
                StrCat(R"("ref": true, "data": {"hdf5_path": ")", key, R"(", "dtype": ")", dtype,
                       R"(", "shape": )", shape, "}"));
}

// `arange(8)` as int64, an `.npy` in base64: longer than the inline limit of the fuzzed server.
std::string Array() {
  std::string npy("\x93NUMPY\x01\x00", 8);
  std::string header = "{'descr': '<i8', 'fortran_order': False, 'shape': (8,), }";
  header.resize(117, ' ');
  header += '\n';
  npy += static_cast<char>(header.size());
  npy += '\0';
  npy += header;
  for (char i = 0; i < 8; ++i) npy += std::string(1, i) + std::string(7, '\0');
  std::string text = Base64UrlEncode(npy);
  for (char& c : text) c = c == '-' ? '+' : c == '_' ? '/' : c;
  return Object("<object>", "numpy.ndarray", StrCat(R"("data": ")", text, "\""));
}

std::string Bytes(size_t n) {
  return Object("<object>", "builtins.bytes",
                StrCat(R"("data": ")", std::string(n / 3 * 4, 'A'), "\""));
}

std::string Function(std::string_view name, std::string_view argument) {
  return Object(
      "<object>", "noodles.workflow.model.FunctionNode",
      StrCat(R"("data": {"function": )",
             Object("<unwrapped>", "builtins.function", StrCat(R"("data": ")", name, "\"")),
             R"(, "arguments": [)",
             Object("<object>", "builtins.tuple", StrCat(R"("data": [)", argument, "]")),
             R"(], "hints": {"version": "1"}})"));
}

Values Records() {
  const std::string workflow =
      StrCat(R"({"root": 0, "links": [], "nodes": [)", Function("m.f", "1"), "]}");
  return {
      "null",
      "1",
      "1.0",
      "true",
      "\"x\"",
      "[]",
      "{}",
      "NaN",
      "1e400",
      "-0",
      "\"\\ud800\"",
      "[1, [2, [3]]]",
      "123456789012345678901234567890",
      R"({"a": 1, "a": 2})",
      R"({"function": "f", "arguments": [1]})",
      R"({"function": "f", "arguments": [2]})",
      R"({"function": "f", "arguments": [1], "version": "2"})",
      R"({"function": "f", "arguments": [1], "version": null, "salt": "s"})",
      R"({"function": "g", "arguments": {"a": [1, 2], "b": null}})",
      R"({"function": "__main__.f", "arguments": []})",
      R"({"function": "f"})",
      R"({"function": "f", "arguments": ["$MiB"]})",
      StrCat(R"({"function": "f", "arguments": [)", Array(), "]}"),
      StrCat(R"({"function": "f", "arguments": [)", Ref("$$BlobName.key", "uint8", "[3]"), "]}"),
      StrCat(R"({"function": "f", "arguments": [)", Ref(std::string(43, 'A') + "=", "int64", "[1]"),
             "]}"),
      Function("m.f", "1"),
      Function("__main__.f", "{}"),
      Function("m.f", Bytes(99)),
      Array(),
      Bytes(3),
      Bytes(99),
      Bytes(6000),
      Ref("$$BlobName.key", "int64", "[8]"),
      Ref("$$BlobName.key", "|V1", "[99]"),
      Ref("$$BlobName.key", "uint8", "[3]"),
      Ref("../../x", "int64", "[1]"),
      Object("<object>", "m.Model", R"("ref": true, "data": [1, 2, 3])"),
      Object("<automagic>", "m.Model",
             R"("ref": true, "data": {"value": "$$BlobName.key", "size": 3})"),
      Object("<object>", "pathlib.PosixPath",
             R"("ref": true, "host": "h", "files": ["/etc/passwd"], "data": "/etc/passwd")"),
      Object("<object>", "noodles.interface.decorator.PromisedObject",
             StrCat(R"("data": {"workflow": )",
                    Object("<object>", "noodles.workflow.model.Workflow",
                           StrCat(R"("data": )", workflow)),
                    "}")),
      Object("<object>", "noodles.workflow.model.Workflow", StrCat(R"("data": )", workflow)),
      Object("<object>", "noodles.interface.decorator.PromisedObject", R"("data": {})"),
      Object("<exception>", "builtins.ValueError", R"("data": "no")"),
      Object("<object>", "builtins.set", R"("data": [1, 2])"),
      std::string(250, '[') + std::string(250, ']'),
  };
}

Values Keys() {
  Values keys = {std::string(32, '\0'), std::string(32, 'k'), std::string(31, 'k'),
                 std::string(33, 'k'), std::string(43, 'A') + "="};
  for (const std::string& name : Tokens::Names()) {
    if (name.ends_with(".key")) keys.push_back(name);
  }
  for (const char* often : {"$SubmitResponse.key", "$SubmitResponse.key~1", "$SubmitResponse.key~2",
                            "$BlobName.key", "$BlobName.key~1"}) {
    keys.insert(keys.end(), 3, often);
  }
  return keys;
}

std::map<std::string, Values, std::less<>> MakeValues() {
  const Values names = {"a",
                        "",
                        ".",
                        "..",
                        "../x",
                        "/x",
                        "a/b",
                        std::string("a\0b", 3),
                        "%2e%2e",
                        "\n",
                        "\"",
                        "gr\u00fc\u00df",
                        "noodles/json",
                        std::string(127, 'n'),
                        std::string(128, 'n'),
                        std::string(129, 'n'),
                        std::string(1025, 'n'),
                        "f",
                        "m.f"};
  const Values leases = {"$Lease.id", "$Lease.id", "$Lease.id~1", std::string(16, 'l'), "l"};
  const Values bulk = {"",
                       "x",
                       "abc",
                       std::string(8, '\0'),
                       std::string(64, 'x'),
                       std::string(100, 'y'),
                       std::string(kMebibyte)};
  std::map<std::string, Values, std::less<>> values = {
      {"json", Records()},
      {"dtype",
       {"uint8",
        "int64",
        "float64",
        "|V1",
        "|V0",
        "<U5",
        "<U0",
        "|S3",
        "|S0",
        ">f8",
        "bool",
        "object",
        "complex128",
        "datetime64[ns]",
        "[('a', '<i4')]",
        "[('a', '<i4'), ('b', '<f8', (2,))]",
        "|V1048576",
        "|V99999999999",
        "<i8",
        "float16",
        "longdouble",
        "[]",
        "[("}},
      {"key", Keys()},
      {"keys", Keys()},
      {"target", Keys()},
      {"value", Keys()},
      {"values", Keys()},
      {"lease", leases},
      {"leases", leases},
      {"page_token",
       {"$ListJobsResponse.next_page_token", "$AliasResponse.next_page_token", "AAAA", "x",
        "bm9vZGxlcwA=", "////////////"}},
      {"namespace",
       {"", "n", "a/b:c", "..", std::string(120, 'n'), std::string(128, 'n'), " ", "\u00fc"}},
      {"chunk", bulk},
      {"data", bulk},
      {"log", {"", "l", std::string(256, 'l'), std::string(257, 'l'), "\u00fc\n\x1b[0m"}},
      {"function", {"f", "m.f", "g", "__main__.f"}},
      {"version", {"", "1", "2"}},
      {"service", {"", "tiffin.v1.Jobs", "x"}},
  };
  Values& all = values[""];
  for (const auto& [name, some] : values) {
    if (name != "") all.insert(all.end(), some.begin(), some.end());
  }
  all.insert(all.end(), names.begin(), names.end());
  all.insert(all.end(), Tokens::Names().begin(), Tokens::Names().end());
  for (const char* name :
       {"name", "profile", "id", "user", "host", "script", "request_id", "session"}) {
    values[name] = names;
  }
  return values;
}

}  // namespace

const Values& ValuesFor(std::string_view field) {
  static const auto& values = *new std::map<std::string, Values, std::less<>>(MakeValues());
  const auto found = values.find(field);
  return found == values.end() ? values.at("") : found->second;
}

}  // namespace tiffin::fuzzing
