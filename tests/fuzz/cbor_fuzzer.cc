// E: equal values have equal encodings, whatever the order of their members and the printer's
// style; different doubles, integers and kinds have different ones.
#include <algorithm>

#include "common/cbor.h"
#include "common/json.h"
#include "common/record.h"
#include "tests/fuzz/fuzzing.h"

namespace {

// The members of plain objects the other way round: E sorts them.
tiffin::Value Reversed(const tiffin::Value& value) {
  if (const tiffin::List* list = value.if_list()) {
    tiffin::List items;
    for (const tiffin::Value& item : *list) items.push_back(Reversed(item));
    return items;
  }
  const tiffin::Object* object = value.if_object();
  if (object == nullptr) return value;
  tiffin::Object members;
  for (auto member = object->end(); member != object->begin();) {
    --member;
    members.Append(member->first, Reversed(member->second));
  }
  return members;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto value = tiffin::ParseJson(tiffin::fuzzing::Text(data, size));
  if (!value.ok()) return 0;
  const auto encoded = tiffin::EncodeCbor(*value);
  const auto reversed = tiffin::EncodeCbor(Reversed(*value));
  FUZZ_CHECK(encoded.ok() == reversed.ok());
  if (!encoded.ok()) return 0;  // a malformed ref
  FUZZ_CHECK(*encoded == *reversed);
  const auto printed = tiffin::ParseJson(tiffin::PrintJson(*value, tiffin::JsonStyle::Ujson()),
                                         tiffin::fuzzing::WideLimits());
  FUZZ_CHECK(printed.ok());
  FUZZ_CHECK(tiffin::EncodeCbor(*printed).value() == *encoded);
  // In a list it is the same bytes after the list's head.
  FUZZ_CHECK(tiffin::EncodeCbor(tiffin::List{*value}).value() == "\x81" + *encoded);
  return 0;
}
