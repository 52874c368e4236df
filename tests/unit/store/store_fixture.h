// A job store on backends in memory and a clock that the test moves.
#ifndef TIFFIN_TESTS_UNIT_STORE_STORE_FIXTURE_H_
#define TIFFIN_TESTS_UNIT_STORE_STORE_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "common/strings.h"
#include "server/blobs/memory_blob_store.h"
#include "server/jobs/memory_job_database.h"
#include "server/store/job_history.h"
#include "server/store/job_store.h"
#include "tests/support/manual_clock.h"

namespace tiffin::server {

class StoreFixture : public testing::Test {
 protected:
  StoreFixture()
      : database_(MakeMemoryJobDatabase()), bytes_(MakeMemoryBlobStore()),
        blobs_(database_.get(), bytes_.get(), &clock_),
        store_(database_.get(), &blobs_, &clock_, {}), history_(database_.get(), &store_) {
    EXPECT_TRUE(blobs_.Start().ok());
    EXPECT_TRUE(store_.Start().ok());
  }
  ~StoreFixture() override {
    store_.Stop();
    blobs_.Stop();
    database_->Close();
  }

  static CallerInfo Caller(const std::string& host) {
    CallerInfo caller;
    caller.session.token = "session-" + host;
    caller.session.host = host;
    return caller;
  }
  static std::string Job(int n) {
    return StrCat(R"({"function": "f", "arguments": [)", n, "]}");
  }
  SubmitAnswer Submit(const std::string& host, const std::string& job) {
    auto answer = store_.Submit(Caller(host), job, {.can_compute = true});
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.ok() ? *answer : SubmitAnswer();
  }
  absl::Status Store(const SubmitAnswer& answer, const std::string& record,
                     std::optional<ResultKind> kind = std::nullopt) {
    StoreRequest request;
    request.key = answer.key;
    request.lease_id = answer.lease->lease_id;
    request.epoch = answer.lease->epoch;
    request.record = record;
    request.kind = kind;
    StoreAnswer stored;
    return store_.StoreResult(Caller("a"), request, &stored);
  }
  // Submitted and stored.
  Digest Done(const std::string& job, const std::string& record = "1") {
    const SubmitAnswer answer = Submit("a", job);
    EXPECT_TRUE(Store(answer, record).ok());
    return answer.key;
  }
  RowId RowOf(const Digest& key) {
    RowId id = 0;
    EXPECT_TRUE(database_->Read([&](JobReader& reader) -> absl::Status {
      id = (*reader.FindJob(*reader.FindNamespace("default"), key))->id;
      return absl::OkStatus();
    }).ok());
    return id;
  }

  ManualClock clock_;
  std::unique_ptr<JobDatabase> database_;
  std::unique_ptr<BlobStore> bytes_;
  BlobCatalogue blobs_;
  JobStore store_;
  JobHistory history_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_TESTS_UNIT_STORE_STORE_FIXTURE_H_
