// What the server can be asked: the rpcs of the generated descriptors, so that a new one is fuzzed
// as soon as it is there, and those of grpc.health.
#ifndef TIFFIN_TESTS_FUZZ_MESSAGE_METHODS_H_
#define TIFFIN_TESTS_FUZZ_MESSAGE_METHODS_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tiffin::fuzzing {

struct Method {
  std::string name;  // `Jobs.Submit`
  std::string path;  // `/tiffin.v1.Jobs/Submit`
  const google::protobuf::MethodDescriptor* descriptor;
  bool may_wait;  // by design, for as long as nothing happens

  std::unique_ptr<google::protobuf::Message> NewRequest() const;
  std::unique_ptr<google::protobuf::Message> NewResponse() const;
};

const std::vector<Method>& Methods();
// nullptr: there is none of this name.
const Method* FindMethod(std::string_view name);

// A name for a field that stays apart from others: `BlobName.key`, `DerefResponse.Header.name`.
std::string FieldName(const google::protobuf::FieldDescriptor& field);

}  // namespace tiffin::fuzzing

#endif  // TIFFIN_TESTS_FUZZ_MESSAGE_METHODS_H_
