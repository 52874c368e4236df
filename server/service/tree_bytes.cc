#include "server/service/tree_bytes.h"

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "common/value.h"
#include "tiffin/v1/common.pb.h"

namespace tiffin::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Lists grow by doubling.
constexpr size_t kItem = 2 * sizeof(Value);
constexpr size_t kName = 2 * sizeof(std::string);

constexpr std::array<uint8_t, 256> kCosts = [] {
  static_assert(kItem < 256 && kName < 256);
  std::array<uint8_t, 256> costs{};
  costs[','] = costs['['] = costs['{'] = kItem;
  costs[':'] = kName;
  return costs;
}();

size_t TreeBytesOf(std::string_view json) {
  size_t bytes = json.size();
  for (const char c : json) bytes += kCosts[static_cast<unsigned char>(c)];
  return bytes;
}

}  // namespace

size_t TreeBytes(const Message& message) {
  if (message.GetDescriptor() == v1::Record::descriptor()) {
    return TreeBytesOf(static_cast<const v1::Record&>(message).json());
  }
  size_t bytes = 0;
  std::vector<const FieldDescriptor*> fields;
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      bytes += TreeBytes(reflection.GetMessage(message, field));
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      bytes += TreeBytes(reflection.GetRepeatedMessage(message, field, i));
    }
  }
  return bytes;
}

}  // namespace tiffin::server
