// Pickles, and what no serialiser knows.
#include <optional>

#include "common/base64.h"
#include "common/json.h"
#include "common/registries.h"
#include "common/shape_check.h"
#include "common/strings.h"
#include "common/utf8.h"

namespace tiffin {
namespace {

constexpr std::string_view kPickleHook = "<pickle>";
constexpr size_t kMaxShown = 200;

// True if the text is base64 that starts as a pickle of protocol 2 to 5 does, with the bytes 0x80
// and the protocol, and ends with its last opcode, '.'.
bool LooksLikePickle(std::string_view text) {
  if (text.size() < 8 || !text.starts_with("gA") || text[2] < 'I' || text[2] > 'X') return false;
  if (!Base64DecodedSize(text)) return false;
  const std::optional<std::string> end = Base64Decode(text.substr(text.size() - 4));
  return end.has_value() && end->ends_with('.');
}

// Bytes may well hold a pickle: they are bytes. Files stay what they are.
absl::StatusOr<std::string> PickleHook(const Object& record) {
  if (RecordType(record) != kObjectType || RecordClass(record) == kBytesClass) return "";
  const Value* data = record.Find("data");
  const std::string* text = data == nullptr ? nullptr : data->if_string();
  if (text == nullptr || NamesFiles(record) || !LooksLikePickle(*text)) return "";
  return std::string(kPickleHook);
}

// Takes any record, even one without data.
class KeepingSerialiser : public RecordSerialiser {
 public:
  absl::Status Check(const Object&, const std::optional<RecordRef>&,
                     const PathLink&) const override {
    return absl::OkStatus();
  }
  std::string Keeps() const override {
    return "opaque base64 from inline_limit on, and what is marked with ref, as a value; else as "
           "it is";
  }
};

class RefusingSerialiser : public RecordSerialiser {
 public:
  absl::Status Check(const Object& record, const std::optional<RecordRef>&,
                     const PathLink& where) const override {
    std::string what = "no serialiser knows the type ";
    AppendJsonString(CutUtf8(RecordType(record), kMaxShown), {}, &what);
    what += ", class ";
    AppendJsonString(CutUtf8(RecordClass(record), kMaxShown), {}, &what);
    what += ", and this server refuses what is unknown";
    return BadRecord(where, what);
  }
  std::string Keeps() const override { return "refused"; }
};

}  // namespace

Registry PickleRegistry() {
  Registry registry;
  registry.AddHook(kPickleHook, MakeShapedSerialiser(Base64Text,
                                                     "opaque, never opened: from "
                                                     "inline_limit on as a value"));
  registry.SetHookFunction(PickleHook);
  return registry;
}

Registry UnknownRegistry(Unknown unknown) {
  Registry registry;
  if (unknown == Unknown::kKeep) {
    registry.SetDefault(std::make_shared<KeepingSerialiser>());
  } else {
    registry.SetDefault(std::make_shared<RefusingSerialiser>());
  }
  return registry;
}

}  // namespace tiffin
