// A whole server in this process, on a folder of its own.
#ifndef TIFFIN_TESTS_FUZZ_MESSAGE_SERVED_H_
#define TIFFIN_TESTS_FUZZ_MESSAGE_SERVED_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <memory>

#include "server/server.h"

namespace tiffin::fuzzing {

// Stopped, and its folder removed, when destroyed.
class Served {
 public:
  Served();
  ~Served();
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

  grpc::GenericStub& stub() { return *stub_; }
  // After each input: nothing lies beside the folders of the server, and copies that it made are
  // removed.
  void CheckFolder();

 private:
  const std::filesystem::path folder_;
  std::unique_ptr<server::Server> server_;
  std::unique_ptr<grpc::GenericStub> stub_;
};

}  // namespace tiffin::fuzzing

#endif  // TIFFIN_TESTS_FUZZ_MESSAGE_SERVED_H_
