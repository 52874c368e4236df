// MessageObject of output.h: any message of the API as a JSON object, by protobuf's reflection.
#include <string>

#include "absl/time/time.h"
#include "client/cli/output.h"
#include "common/base64.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace tiffin::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

Value MessageValue(const Message& message) {
  if (const auto* duration = dynamic_cast<const google::protobuf::Duration*>(&message)) {
    return static_cast<double>(duration->seconds()) + duration->nanos() * 1e-9;
  }
  if (const auto* time = dynamic_cast<const google::protobuf::Timestamp*>(&message)) {
    return TimeText(absl::FromUnixSeconds(time->seconds()));
  }
  return MessageObject(message);
}

Value StringValue(const FieldDescriptor& field, const std::string& text) {
  if (field.type() == FieldDescriptor::TYPE_BYTES) return Base64UrlEncode(text);
  return text;
}

Value SingleValue(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return int64_t{reflection.GetInt32(message, &field)};
    case FieldDescriptor::CPPTYPE_INT64:
      return int64_t{reflection.GetInt64(message, &field)};
    case FieldDescriptor::CPPTYPE_UINT32:
      return uint64_t{reflection.GetUInt32(message, &field)};
    case FieldDescriptor::CPPTYPE_UINT64:
      return uint64_t{reflection.GetUInt64(message, &field)};
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetDouble(message, &field);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return static_cast<double>(reflection.GetFloat(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.GetEnum(message, &field)->name();
    case FieldDescriptor::CPPTYPE_STRING:
      return StringValue(field, reflection.GetString(message, &field));
    default:
      return MessageValue(reflection.GetMessage(message, &field));
  }
}

Value RepeatedItem(const Message& message, const FieldDescriptor& field, int i) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT64:
      return uint64_t{reflection.GetRepeatedUInt64(message, &field, i)};
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.GetRepeatedEnum(message, &field, i)->name();
    case FieldDescriptor::CPPTYPE_STRING:
      return StringValue(field, reflection.GetRepeatedString(message, &field, i));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageValue(reflection.GetRepeatedMessage(message, &field, i));
    default:
      return nullptr;  // v1 has no other repeated members
  }
}

}  // namespace

Object MessageObject(const Message& message) {
  const Reflection& reflection = *message.GetReflection();
  Object object;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    if (field.is_repeated()) {
      List items;
      for (int j = 0; j < reflection.FieldSize(message, &field); ++j) {
        items.push_back(RepeatedItem(message, field, j));
      }
      object.Set(field.name(), std::move(items));
    } else if (!field.has_presence() || reflection.HasField(message, &field)) {
      object.Set(field.name(), SingleValue(message, field));
    }
  }
  return object;
}

}  // namespace tiffin::cli
