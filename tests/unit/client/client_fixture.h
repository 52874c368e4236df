// A client of a FakeServer that repeats without much of a pause.
#ifndef TIFFIN_TESTS_UNIT_CLIENT_CLIENT_FIXTURE_H_
#define TIFFIN_TESTS_UNIT_CLIENT_CLIENT_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <utility>

#include "client/client.h"
#include "common/json.h"
#include "tests/unit/client/fake_server.h"

namespace tiffin {

inline void PrintTo(const Value& value, std::ostream* out) { *out << PrintJson(value); }

namespace testing {

class ClientTest : public ::testing::Test {
 protected:
  static ClientOptions Quick() {
    ClientOptions options;
    options.retry.first_delay = absl::Milliseconds(1);
    options.retry.max_delay = absl::Milliseconds(1);
    return options;
  }
  static Value WorkflowRecord() {
    return Object{{"_noodles", "0.3.0"},
                  {"type", "<object>"},
                  {"class", "noodles.workflow.model.Workflow"},
                  {"data", Object{{"root", 0}, {"nodes", List{}}, {"links", List{}}}}};
  }
  Client MakeClient(ClientOptions options = Quick()) { return Client(server_, std::move(options)); }

  const std::shared_ptr<FakeServer> server_ = std::make_shared<FakeServer>();
};

inline const absl::Status kAway = absl::UnavailableError("the server is away");

inline absl::Status StatusOf(const absl::Status& status) { return status; }
template <typename T>
absl::Status StatusOf(const absl::StatusOr<T>& value) {
  return value.status();
}

// These are for a Status or any StatusOr.

MATCHER(IsOk, "") {
  *result_listener << "whose status is " << StatusOf(arg);
  return arg.ok();
}

MATCHER_P2(Fails, code, message, "") {
  const absl::Status status = StatusOf(arg);
  *result_listener << "whose status is " << status;
  return status.code() == code && std::string(status.message()).find(message) != std::string::npos;
}

// Of a StatusOr<Value>.
MATCHER_P(Gives, value, "") {
  if (!arg.ok()) {
    *result_listener << "whose status is " << arg.status();
    return false;
  }
  *result_listener << "whose value is " << PrintJson(*arg);
  return *arg == Value(value);
}

}  // namespace testing
}  // namespace tiffin

#endif  // TIFFIN_TESTS_UNIT_CLIENT_CLIENT_FIXTURE_H_
