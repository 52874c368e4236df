#include "tests/fuzz/message/methods.h"

#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>

#include <algorithm>

#include "tests/fuzz/fuzzing.h"
#include "tiffin/v1/admin.pb.h"
#include "tiffin/v1/blobs.pb.h"
#include "tiffin/v1/jobs.pb.h"

namespace tiffin::fuzzing {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptorProto;
using google::protobuf::FileDescriptor;
using google::protobuf::Message;

std::unique_ptr<Message> New(const Descriptor* type) {
  static auto& factory = *[] {
    auto* dynamic = new google::protobuf::DynamicMessageFactory;
    dynamic->SetDelegateToGeneratedFactory(true);
    return dynamic;
  }();
  return std::unique_ptr<Message>(factory.GetPrototype(type)->New());
}

// grpc.health.v1, whose .proto does not come with gRPC.
const FileDescriptor* HealthFile() {
  google::protobuf::FileDescriptorProto file;
  file.set_name("grpc/health/v1/health.proto");
  file.set_package("grpc.health.v1");
  file.set_syntax("proto3");
  auto* request = file.add_message_type();
  request->set_name("HealthCheckRequest");
  auto* service_name = request->add_field();
  service_name->set_name("service");
  service_name->set_number(1);
  service_name->set_label(FieldDescriptorProto::LABEL_OPTIONAL);
  service_name->set_type(FieldDescriptorProto::TYPE_STRING);
  auto* response = file.add_message_type();
  response->set_name("HealthCheckResponse");
  auto* status = response->add_field();
  status->set_name("status");
  status->set_number(1);
  status->set_label(FieldDescriptorProto::LABEL_OPTIONAL);
  status->set_type(FieldDescriptorProto::TYPE_INT32);  // an enum, on the wire the same
  auto* service = file.add_service();
  service->set_name("Health");
  for (const char* name : {"Check", "Watch"}) {
    auto* method = service->add_method();
    method->set_name(name);
    method->set_input_type(".grpc.health.v1.HealthCheckRequest");
    method->set_output_type(".grpc.health.v1.HealthCheckResponse");
    method->set_server_streaming(method->name() == "Watch");
  }
  static auto& pool = *new google::protobuf::DescriptorPool;
  return pool.BuildFile(file);
}

std::vector<Method> FindMethods() {
  std::vector<Method> methods;
  for (const FileDescriptor* file :
       {v1::SubmitRequest::descriptor()->file(), v1::PutRequest::descriptor()->file(),
        v1::StatsRequest::descriptor()->file(), HealthFile()}) {
    FUZZ_CHECK(file != nullptr && file->service_count() == 1);
    const auto* service = file->service(0);
    for (int i = 0; i < service->method_count(); ++i) {
      const auto* method = service->method(i);
      const std::string name = service->name() + "." + method->name();
      methods.push_back({name, "/" + service->full_name() + "/" + method->name(), method,
                         name == "Jobs.Await" || name == "Health.Watch" ||
                             name == "Admin.Verify" /* with few bytes_per_second */});
    }
  }
  return methods;
}

}  // namespace

std::unique_ptr<Message> Method::NewRequest() const { return New(descriptor->input_type()); }
std::unique_ptr<Message> Method::NewResponse() const { return New(descriptor->output_type()); }

const std::vector<Method>& Methods() {
  static const auto& methods = *new std::vector<Method>(FindMethods());
  return methods;
}

const Method* FindMethod(std::string_view name) {
  const auto found = std::find_if(Methods().begin(), Methods().end(),
                                  [&](const Method& method) { return method.name == name; });
  return found == Methods().end() ? nullptr : &*found;
}

std::string FieldName(const google::protobuf::FieldDescriptor& field) {
  const std::string& package = field.file()->package();
  return field.full_name().substr(package.empty() ? 0 : package.size() + 1);
}

}  // namespace tiffin::fuzzing
