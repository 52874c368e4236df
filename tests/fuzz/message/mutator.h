// Changes to messages that leave them messages: fields are set, cleared, doubled and swapped by
// reflection, with values that reach far. Bytes at random seldom parse.
#ifndef TIFFIN_TESTS_FUZZ_MESSAGE_MUTATOR_H_
#define TIFFIN_TESTS_FUZZ_MESSAGE_MUTATOR_H_

#include <google/protobuf/message.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/message/frames.h"

namespace tiffin::fuzzing {

// The same seed makes the same changes.
class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  // One change to the frames: most often to a message, else to their order, number, or raw bytes.
  void Change(std::vector<Frame>* frames);
  // Some of both, in their order.
  std::vector<Frame> Cross(const std::vector<Frame>& one, const std::vector<Frame>& other);

 private:
  size_t Below(size_t n) { return random_() % n; }
  bool OneIn(size_t n) { return Below(n) == 0; }

  void ChangeBytes(Frame* frame);
  void ChangeMessage(Frame* frame);
  Frame NewFrame();
  void ChangeOne(google::protobuf::Message* message);
  void ChangeField(google::protobuf::Message* message,
                   const google::protobuf::FieldDescriptor& field);
  void ChangeRepeated(google::protobuf::Message* message,
                      const google::protobuf::FieldDescriptor& field);
  void Add(google::protobuf::Message* message, const google::protobuf::FieldDescriptor& field);
  void SetNumber(google::protobuf::Message* message, const google::protobuf::FieldDescriptor& field,
                 int index);
  uint64_t Number(uint64_t old);
  int Enumerator(const google::protobuf::FieldDescriptor& field);
  std::string Text(const google::protobuf::FieldDescriptor& field, std::string old);
  std::string Mutated(std::string bytes);

  std::mt19937 random_;
};

}  // namespace tiffin::fuzzing

#endif  // TIFFIN_TESTS_FUZZ_MESSAGE_MUTATOR_H_
