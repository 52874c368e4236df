#include "tests/fuzz/message/mutator.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "common/utf8.h"
#include "tests/fuzz/fuzzing.h"
#include "tests/fuzz/message/tokens.h"
#include "tests/fuzz/message/values.h"

namespace tiffin::fuzzing {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kMaxText = 4096;  // that is mutated; tokens make longer ones
constexpr int kMaxItems = 100;     // of a repeated field

// `message` and all messages in it.
void Gather(Message* message, std::vector<Message*>* out) {
  out->push_back(message);
  const Reflection& reflection = *message->GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(*message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->message_type() == nullptr) continue;
    if (!field->is_repeated()) {
      Gather(reflection.MutableMessage(message, field), out);
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(*message, field); ++i) {
      Gather(reflection.MutableRepeatedMessage(message, field, i), out);
    }
  }
}

}  // namespace

std::string Mutator::Mutated(std::string bytes) {
  const size_t size = bytes.size();
  bytes.resize(std::min(size + 64, std::max(size, kMaxText)));
  bytes.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(bytes.data()), size, bytes.size()));
  return bytes;
}

uint64_t Mutator::Number(uint64_t old) {
  static constexpr uint64_t kNumbers[] = {0,
                                          1,
                                          2,
                                          3,
                                          8,
                                          99,
                                          100,
                                          1000,
                                          1001,
                                          uint64_t{1} << 20,
                                          uint64_t{1} << 31,
                                          uint64_t{1} << 32,
                                          uint64_t{1} << 48,
                                          uint64_t{1} << 62,
                                          uint64_t{1} << 63,
                                          ~uint64_t{0},
                                          ~uint64_t{0} >> 1,
                                          static_cast<uint64_t>(kLastEpoch),
                                          999'999'999,
                                          1'000'000'000,
                                          253'402'300'800};
  switch (Below(6)) {
    case 0:
      return old + 1;
    case 1:
      return old - 1;
    case 2:
      return uint64_t{0} - old;
    case 3:
      return Below(20);
    case 4:
      return (uint64_t{1} << Below(64)) - Below(2);
    default:
      return kNumbers[Below(std::size(kNumbers))];
  }
}

int Mutator::Enumerator(const FieldDescriptor& field) {
  if (OneIn(8)) return static_cast<int>(Number(0));
  return field.enum_type()
      ->value(static_cast<int>(Below(field.enum_type()->value_count())))
      ->number();
}

std::string Mutator::Text(const FieldDescriptor& field, std::string old) {
  const std::vector<std::string>& values = ValuesFor(OneIn(10) ? std::string() : field.name());
  const std::string& value = values[Below(values.size())];
  std::string text;
  if (OneIn(3)) {
    text = Mutated(std::move(old));
  } else if (OneIn(8)) {
    text = old.insert(Below(old.size() + 1), value);
  } else {
    text = value;
  }
  // Else the whole message would be refused by its parser.
  return field.type() == FieldDescriptor::TYPE_STRING ? ToValidUtf8(text) : text;
}

void Mutator::SetNumber(Message* message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message->GetReflection();
  const auto set = [&](auto get, auto set_one, auto get_repeated, auto set_repeated, auto make) {
    if (index < 0) {
      (reflection.*set_one)(message, &field, make((reflection.*get)(*message, &field)));
    } else {
      (reflection.*set_repeated)(message, &field, index,
                                 make((reflection.*get_repeated)(*message, &field, index)));
    }
  };
  const auto number = [&](auto old) {
    return static_cast<decltype(old)>(Number(static_cast<uint64_t>(old)));
  };
  using R = Reflection;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return set(&R::GetInt32, &R::SetInt32, &R::GetRepeatedInt32, &R::SetRepeatedInt32, number);
    case FieldDescriptor::CPPTYPE_INT64:
      return set(&R::GetInt64, &R::SetInt64, &R::GetRepeatedInt64, &R::SetRepeatedInt64, number);
    case FieldDescriptor::CPPTYPE_UINT32:
      return set(&R::GetUInt32, &R::SetUInt32, &R::GetRepeatedUInt32, &R::SetRepeatedUInt32,
                 number);
    case FieldDescriptor::CPPTYPE_UINT64:
      return set(&R::GetUInt64, &R::SetUInt64, &R::GetRepeatedUInt64, &R::SetRepeatedUInt64,
                 number);
    case FieldDescriptor::CPPTYPE_BOOL:
      return set(&R::GetBool, &R::SetBool, &R::GetRepeatedBool, &R::SetRepeatedBool,
                 [](bool old) { return !old; });
    case FieldDescriptor::CPPTYPE_ENUM:
      return set(&R::GetEnumValue, &R::SetEnumValue, &R::GetRepeatedEnumValue,
                 &R::SetRepeatedEnumValue, [&](int) { return Enumerator(field); });
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      static constexpr double kDoubles[] = {0,
                                            -1,
                                            0.5,
                                            1e300,
                                            std::numeric_limits<double>::infinity(),
                                            std::numeric_limits<double>::quiet_NaN()};
      const auto one_of = [&](auto old) {
        return static_cast<decltype(old)>(kDoubles[Below(std::size(kDoubles))]);
      };
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT) {
        return set(&R::GetFloat, &R::SetFloat, &R::GetRepeatedFloat, &R::SetRepeatedFloat, one_of);
      }
      return set(&R::GetDouble, &R::SetDouble, &R::GetRepeatedDouble, &R::SetRepeatedDouble,
                 one_of);
    }
    case FieldDescriptor::CPPTYPE_STRING:
      if (index < 0) {
        reflection.SetString(message, &field, Text(field, reflection.GetString(*message, &field)));
      } else {
        reflection.SetRepeatedString(
            message, &field, index,
            Text(field, reflection.GetRepeatedString(*message, &field, index)));
      }
      return;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ChangeOne(index < 0 ? reflection.MutableMessage(message, &field)
                                 : reflection.MutableRepeatedMessage(message, &field, index));
  }
}

void Mutator::Add(Message* message, const FieldDescriptor& field) {
  const Reflection& reflection = *message->GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      reflection.AddInt32(message, &field, 0);
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      reflection.AddInt64(message, &field, 0);
      break;
    case FieldDescriptor::CPPTYPE_UINT32:
      reflection.AddUInt32(message, &field, 0);
      break;
    case FieldDescriptor::CPPTYPE_UINT64:
      reflection.AddUInt64(message, &field, 0);
      break;
    case FieldDescriptor::CPPTYPE_BOOL:
      reflection.AddBool(message, &field, false);
      break;
    case FieldDescriptor::CPPTYPE_ENUM:
      reflection.AddEnumValue(message, &field, 0);
      break;
    case FieldDescriptor::CPPTYPE_FLOAT:
      reflection.AddFloat(message, &field, 0);
      break;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      reflection.AddDouble(message, &field, 0);
      break;
    case FieldDescriptor::CPPTYPE_STRING:
      reflection.AddString(message, &field, "");
      break;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      reflection.AddMessage(message, &field);
      break;
  }
  SetNumber(message, field, reflection.FieldSize(*message, &field) - 1);
}

void Mutator::ChangeRepeated(Message* message, const FieldDescriptor& field) {
  const Reflection& reflection = *message->GetReflection();
  const int size = reflection.FieldSize(*message, &field);
  const auto any = [&] { return static_cast<int>(Below(static_cast<size_t>(size))); };
  if (size == 0 || (size < kMaxItems && OneIn(4))) return Add(message, field);
  switch (Below(4)) {
    case 0:
      reflection.SwapElements(message, &field, any(), size - 1);
      reflection.RemoveLast(message, &field);
      return;
    case 1:
      reflection.SwapElements(message, &field, any(), any());
      return;
    case 2: {  // one of them, or all, twice
      if (size * 2 > kMaxItems) return;
      const std::unique_ptr<Message> copy(message->New());
      copy->CopyFrom(*message);
      while (OneIn(2) && reflection.FieldSize(*copy, &field) > 1) {
        reflection.RemoveLast(copy.get(), &field);
      }
      std::vector<const FieldDescriptor*> others;
      reflection.ListFields(*copy, &others);
      for (const FieldDescriptor* other : others) {
        if (other != &field) reflection.ClearField(copy.get(), other);
      }
      message->MergeFrom(*copy);
      return;
    }
    default:
      return SetNumber(message, field, any());
  }
}

void Mutator::ChangeField(Message* message, const FieldDescriptor& field) {
  const Reflection& reflection = *message->GetReflection();
  if (field.is_repeated()) return ChangeRepeated(message, field);
  if (reflection.HasField(*message, &field) && OneIn(4))
    return reflection.ClearField(message, &field);
  SetNumber(message, field, -1);
}

void Mutator::ChangeOne(Message* message) {
  const int fields = message->GetDescriptor()->field_count();
  if (fields == 0) return;
  ChangeField(message, *message->GetDescriptor()->field(
                           static_cast<int>(Below(static_cast<size_t>(fields)))));
}

void Mutator::ChangeMessage(Frame* frame) {
  const std::unique_ptr<Message> message = frame->method->NewRequest();
  if (!message->ParseFromString(frame->message)) return ChangeBytes(frame);
  for (size_t times = 1 + Below(3); times > 0; --times) {
    std::vector<Message*> all;
    Gather(message.get(), &all);
    ChangeOne(all[Below(all.size())]);
  }
  frame->message = message->SerializeAsString();
}

void Mutator::ChangeBytes(Frame* frame) { frame->message = Mutated(std::move(frame->message)); }

Frame Mutator::NewFrame() {
  Frame frame{&Methods()[Below(Methods().size())], OneIn(4) ? Then::kMore : Then::kEnd, ""};
  for (size_t times = Below(4); times > 0; --times) ChangeMessage(&frame);
  return frame;
}

void Mutator::Change(std::vector<Frame>* frames) {
  const auto place = [&] {
    return frames->begin() + static_cast<ptrdiff_t>(Below(frames->size()));
  };
  if (frames->empty()) return frames->push_back(NewFrame());
  switch (Below(20)) {
    case 0:
    case 1:
      frames->insert(place(), NewFrame());
      return;
    case 2:
      frames->push_back(NewFrame());
      return;
    case 3: {
      const Frame copy = *place();
      frames->insert(place(), copy);
      return;
    }
    case 4:
      frames->push_back(Frame(*place()));
      return;
    case 5:
      frames->erase(place());
      return;
    case 6:
      std::iter_swap(place(), place());
      return;
    case 7:
      place()->then = OneIn(2) ? Then::kMore : OneIn(3) ? Then::kCancel : Then::kEnd;
      return;
    case 8:
      return ChangeBytes(&*place());
    default:
      return ChangeMessage(&*place());
  }
}

std::vector<Frame> Mutator::Cross(const std::vector<Frame>& one, const std::vector<Frame>& other) {
  std::vector<Frame> both;
  auto next = one.begin(), next_other = other.begin();
  while (next != one.end() || next_other != other.end()) {
    auto& from = next_other == other.end() || (next != one.end() && OneIn(2)) ? next : next_other;
    if (!OneIn(8)) both.push_back(*from);
    ++from;
  }
  return both;
}

}  // namespace tiffin::fuzzing
