// Uses the installed library as its users do: runs a job over a Connection of its own, which a test
// of theirs would mock, and makes one over gRPC.
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "client/client.h"
#include "common/base64.h"
#include "common/bulk.h"
#include "common/cbor.h"
#include "common/job.h"
#include "common/json.h"
#include "common/plugin.h"
#include "common/status.h"

namespace {

using tiffin::Value;
namespace v1 = tiffin::v1;

absl::Status NotNeeded() { return absl::UnimplementedError("not needed here"); }

// Remembers one result.
class OneResult : public tiffin::Connection {
 public:
  absl::StatusOr<v1::SubmitResponse> Submit(const v1::SubmitRequest& request) override {
    TIFFIN_ASSIGN_OR_RETURN(const Value job, tiffin::ParseJson(request.job().json()));
    TIFFIN_ASSIGN_OR_RETURN(const tiffin::Digest key, tiffin::JobKey(job));
    v1::SubmitResponse response;
    response.set_key(std::string(key.view()));
    if (result_.has_record()) {
      response.set_outcome(v1::RETRIEVED);
      *response.mutable_result() = result_;
    } else {
      response.set_outcome(v1::GRANTED);
      response.mutable_lease()->set_id("lease");
    }
    return response;
  }
  absl::StatusOr<v1::StoreResultResponse> StoreResult(
      const v1::StoreResultRequest& request) override {
    *result_.mutable_record() = request.record();
    result_.set_digest(std::string(tiffin::Sha256::Of(request.record().json()).view()));
    v1::StoreResultResponse response;
    response.set_key(request.key());
    response.set_digest(result_.digest());
    return response;
  }

  absl::Status SubmitBatch(const std::vector<v1::SubmitBatchRequest>&,
                           const std::function<void(const v1::SubmitBatchResponse&)>&) override {
    return NotNeeded();
  }
  absl::StatusOr<v1::GetResultResponse> GetResult(const v1::GetResultRequest&) override {
    return NotNeeded();
  }
  absl::Status BatchGetResults(
      const std::vector<v1::BatchGetResultsRequest>&,
      const std::function<void(const v1::BatchGetResultsResponse&)>&) override {
    return NotNeeded();
  }
  std::unique_ptr<tiffin::AwaitStream> Await() override { return nullptr; }
  absl::StatusOr<v1::RenewResponse> Renew(const v1::RenewRequest&) override { return NotNeeded(); }
  absl::StatusOr<v1::ReleaseResponse> Release(const v1::ReleaseRequest&) override {
    return NotNeeded();
  }
  absl::StatusOr<v1::LinkResponse> Link(const v1::LinkRequest&) override { return NotNeeded(); }
  absl::StatusOr<v1::AliasResponse> Alias(const v1::AliasRequest&) override { return NotNeeded(); }
  absl::StatusOr<v1::FindMissingResponse> FindMissing(const v1::FindMissingRequest&) override {
    return NotNeeded();
  }
  absl::StatusOr<v1::PutResponse> Put(const v1::PutRequest::Header&,
                                      const std::function<std::string_view()>&) override {
    return NotNeeded();
  }
  absl::Status BatchPut(const std::vector<v1::BatchPutRequest>&,
                        const std::function<void(const v1::BatchPutResponse&)>&) override {
    return NotNeeded();
  }
  absl::Status Deref(const v1::DerefRequest&,
                     const std::function<absl::Status(const v1::DerefResponse::Header&)>&,
                     const std::function<absl::Status(std::string_view)>&) override {
    return NotNeeded();
  }
  absl::Status BatchDeref(const std::vector<v1::BatchDerefRequest>&,
                          const std::function<void(const v1::BatchDerefResponse&)>&) override {
    return NotNeeded();
  }
  absl::StatusOr<v1::StatResponse> Stat(const v1::StatRequest&) override { return NotNeeded(); }
  absl::StatusOr<v1::DescribeResponse> Describe(const v1::DescribeRequest&) override {
    return NotNeeded();
  }
  absl::StatusOr<v1::StatsResponse> Stats(const v1::StatsRequest&) override { return NotNeeded(); }
  absl::StatusOr<v1::SealResponse> Seal(const v1::SealRequest&) override { return NotNeeded(); }
  absl::Status CheckHealth(absl::Duration) override { return absl::OkStatus(); }

 private:
  v1::Result result_;
};

// Says what differs; the number of differences.
int Expect(const std::string& what, const std::string& got, const std::string& expected) {
  if (got == expected) return 0;
  std::cerr << what << ": got " << got << ", expected " << expected << "\n";
  return 1;
}

}  // namespace

// argv[1]: a plug-in.
int main(int argc, char** argv) {
  int differences = 0;
  const Value job(tiffin::Object{
      {"function", "f"}, {"arguments", tiffin::List{1, 2.5, "x"}}, {"version", "1"}});

  // SHA-256 of E(["tiffin.job/1", "f", [1, 2.5, "x"], "1", null]).
  const auto key = tiffin::JobKey(job);
  differences += Expect("key", key.ok() ? key->ToText() : key.status().ToString(),
                        "fJzKWxlzD-WYdoCzQKYu80XXZ0PBDO7kNWfhP5d1Sgg=");

  tiffin::Client client(std::make_shared<OneResult>());
  int computed = 0;
  for (int i = 0; i < 2; ++i) {
    const auto value = client.Run(job, [&] {
      ++computed;
      return Value(42);
    });
    differences +=
        Expect("result", value.ok() ? tiffin::PrintJson(*value) : value.status().ToString(), "42");
  }
  differences += Expect("computed", std::to_string(computed), "1");

  // Nobody listens there: gRPC is linked, and says so.
  tiffin::ConnectionOptions nowhere{.server = "unix:/nonexistent/tiffin.socket"};
  const absl::Status health = tiffin::MakeGrpcConnection(nowhere)->CheckHealth(absl::Seconds(60));
  differences += Expect("health", absl::StatusCodeToString(health.code()), "UNAVAILABLE");

  const auto plugin = tiffin::LoadPlugin(argc > 1 ? argv[1] : "");
  const auto known = plugin.ok() ? plugin->Describe() : std::vector<tiffin::Registry::Entry>();
  differences += Expect(
      "plug-in", known.empty() ? plugin.status().ToString() : known[0].record_type, "<moon>");
  return differences;
}
