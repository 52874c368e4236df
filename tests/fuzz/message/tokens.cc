#include "tests/fuzz/message/tokens.h"

#include <algorithm>
#include <functional>
#include <set>

#include "absl/strings/ascii.h"
#include "common/base64.h"
#include "common/utf8.h"
#include "tests/fuzz/message/methods.h"
#include "tiffin/v1/common.pb.h"

namespace tiffin::fuzzing {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kRemembered = 4;  // values of one name
constexpr size_t kLongest = 4096;  // that is remembered
constexpr int kMebibytes = 3;

// What a later request may want to say again.
bool IsToken(const FieldDescriptor& field) {
  return field.type() == FieldDescriptor::TYPE_BYTES ||
         (field.type() == FieldDescriptor::TYPE_STRING &&
          field.name().find("token") != std::string::npos);
}

bool IsNameChar(char c) { return absl::ascii_isalnum(c) || c == '_' || c == '.'; }

int Count(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  return field.is_repeated() ? reflection.FieldSize(message, &field)
                             : static_cast<int>(reflection.HasField(message, &field));
}

}  // namespace

const std::vector<std::string>& Tokens::Names() {
  static const auto& names = *[] {
    std::set<std::string> found;
    std::set<const Descriptor*> seen;
    const std::function<void(const Descriptor*)> look = [&](const Descriptor* type) {
      if (!seen.insert(type).second) return;
      for (int i = 0; i < type->field_count(); ++i) {
        const FieldDescriptor& field = *type->field(i);
        if (IsToken(field)) found.insert("$" + FieldName(field));
        if (field.message_type() != nullptr) look(field.message_type());
      }
    };
    for (const Method& method : Methods()) look(method.descriptor->output_type());
    return new std::vector<std::string>(found.begin(), found.end());
  }();
  return names;
}

void Tokens::Keep(const std::string& name, const std::string& value) {
  if (value.empty() || value.size() > kLongest) return;
  std::deque<std::string>& values = values_[name];
  if (!values.empty() && values.front() == value) return;
  values.push_front(value);
  if (values.size() > kRemembered) values.pop_back();
}

void Tokens::Learn(const Message& reply) {
  const Reflection& reflection = *reply.GetReflection();
  for (int i = 0; i < reply.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *reply.GetDescriptor()->field(i);
    const int count = Count(reply, field);
    for (int n = 0; n < count; ++n) {
      if (field.message_type() != nullptr) {
        Learn(field.is_repeated() ? reflection.GetRepeatedMessage(reply, &field, n)
                                  : reflection.GetMessage(reply, &field));
      } else if (IsToken(field)) {
        Keep(FieldName(field), field.is_repeated() ? reflection.GetRepeatedString(reply, &field, n)
                                                   : reflection.GetString(reply, &field));
      } else if (FieldName(field) == "Lease.epoch") {
        epoch_ = reflection.GetInt64(reply, &field);
      }
    }
  }
}

std::string Tokens::Expanded(std::string_view text, bool utf8) {
  std::string out;
  while (!text.empty()) {
    const size_t at = std::min(text.find('$'), text.size());
    out += text.substr(0, at);
    text.remove_prefix(at);
    if (text.empty()) break;
    const bool base64 = text.starts_with("$$");
    size_t end = base64 ? 2 : 1;
    const size_t begin = end;
    while (end < text.size() && IsNameChar(text[end])) ++end;
    const std::string name(text.substr(begin, end - begin));
    size_t age = 0;
    if (end + 1 < text.size() && text[end] == '~' && absl::ascii_isdigit(text[end + 1])) {
      age = static_cast<size_t>(text[end + 1] - '0');
      end += 2;
    }
    const auto found = values_.find(name);
    if (name == kMebibyte.substr(1) && mebibytes_ < kMebibytes) {
      ++mebibytes_;
      out.append(size_t{1} << 20, 'x');
    } else if (found != values_.end() && age < found->second.size()) {
      const std::string& value = found->second[age];
      out += base64 || (utf8 && ToValidUtf8(value) != value) ? Base64UrlEncode(value) : value;
    } else {
      out += text.substr(0, end);
    }
    text.remove_prefix(end);
  }
  return out;
}

void Tokens::Expand(Message* request) {
  const Reflection& reflection = *request->GetReflection();
  for (int i = 0; i < request->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *request->GetDescriptor()->field(i);
    if (field.message_type() == v1::Caller::descriptor() && !field.is_repeated()) {
      auto* caller = static_cast<v1::Caller*>(reflection.MutableMessage(request, &field));
      caller->set_namespace_(name_space_ + caller->namespace_());
    }
    const int count = Count(*request, field);
    for (int n = 0; n < count; ++n) {
      if (field.message_type() != nullptr) {
        Expand(field.is_repeated() ? reflection.MutableRepeatedMessage(request, &field, n)
                                   : reflection.MutableMessage(request, &field));
      } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        const bool utf8 = field.type() == FieldDescriptor::TYPE_STRING;
        if (field.is_repeated()) {
          reflection.SetRepeatedString(
              request, &field, n,
              Expanded(reflection.GetRepeatedString(*request, &field, n), utf8));
        } else {
          reflection.SetString(request, &field,
                               Expanded(reflection.GetString(*request, &field), utf8));
        }
      } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64 && !field.is_repeated() &&
                 reflection.GetInt64(*request, &field) == kLastEpoch) {
        reflection.SetInt64(request, &field, epoch_);
      }
    }
  }
}

}  // namespace tiffin::fuzzing
