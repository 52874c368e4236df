// A server of tiffin in memory behind the client's Connection, with the faults that tests ask for.
#ifndef TIFFIN_TESTS_UNIT_CLIENT_FAKE_SERVER_H_
#define TIFFIN_TESTS_UNIT_CLIENT_FAKE_SERVER_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "client/connection.h"
#include "common/crypto.h"
#include "common/npy.h"
#include "common/value.h"

namespace tiffin::testing {

// It keeps no time: leases lapse when a test says so. Threads: all methods may be called from any
// thread.
class FakeServer : public Connection {
 public:
  // ---- faults -----------------------------------------------------------------------------------

  // The next `times` calls of `rpc` ("Submit") end with `status`, before anything is done.
  void FailNext(const std::string& rpc, const absl::Status& status, int times = 1);
  // The next call of `rpc` is done, but its answer is lost.
  void LoseNextAnswer(const std::string& rpc);
  // The next Put breaks when it has taken so many chunks; the one after that, as the next number
  // says.
  std::deque<int> put_breaks_after;
  // Whether the server keeps what came of a broken Put, and tells so.
  bool keeps_uploads = false;
  // Whether it says that an open call sends what is asked about.
  bool somebody_sends = false;
  // The next Deref breaks when it has sent so many bytes.
  std::deque<uint64_t> deref_breaks_after;
  // The next batches break when they have answered so many items, one each.
  std::deque<int> batch_breaks_after;
  // Called when one broke.
  std::function<void()> on_deref_broken;
  // Where a Deref that asks for it is told that the blobs lie; absent: nowhere.
  std::optional<v1::LocalPlace> local_place;
  // Bytes of one chunk of Deref.
  size_t deref_chunk = 4;
  // Awaited jobs that end with AWAIT_ERROR.
  std::map<Digest, absl::Status> await_errors;
  // Of leases.
  absl::Duration term = absl::Seconds(30);
  // Called once, before anything of the next Await or Put is done.
  std::function<void()> on_await, on_put;

  // ---- what others do ---------------------------------------------------------------------------

  // The job is computed by somebody else. Returns the epoch.
  int64_t HoldElsewhere(const Digest& key);
  void StoreElsewhere(const Digest& key, const Value& value);
  // The holder stores a failure.
  void FailElsewhere(const Digest& key, const std::string& message);
  // The lease ends; the first waiter with capacity is granted.
  void Lapse(const Digest& key);
  // All open Await streams end with `status`.
  void BreakStreams(const absl::Status& status);

  // ---- what was seen ----------------------------------------------------------------------------

  int Calls(const std::string& rpc);
  std::vector<v1::SubmitRequest> submits();
  std::vector<std::vector<v1::SubmitBatchRequest>> submit_batches();
  // One for each message of each stream.
  std::vector<v1::AwaitRequest> awaits();
  std::vector<v1::StoreResultRequest> stores();
  std::vector<v1::RenewRequest> renews();
  std::vector<v1::BatchPutRequest> batch_puts();
  std::vector<v1::DerefRequest> derefs();
  // The offsets that Puts began at.
  std::vector<uint64_t> put_offsets();
  // How often a lease was renewed.
  int Renewals(const std::string& lease);
  // Blobs by name; tests may damage them.
  std::map<BlobName, std::string> blobs;

  // Blocks until `condition` holds; it is looked at whenever something happened here. It may ask
  // what was seen.
  void WaitUntil(const std::function<bool()>& condition);

  // ---- Connection -------------------------------------------------------------------------------

  absl::StatusOr<v1::SubmitResponse> Submit(const v1::SubmitRequest& request) override;
  absl::Status SubmitBatch(
      const std::vector<v1::SubmitBatchRequest>& requests,
      const std::function<void(const v1::SubmitBatchResponse&)>& on_response) override;
  absl::StatusOr<v1::GetResultResponse> GetResult(const v1::GetResultRequest& request) override;
  absl::Status BatchGetResults(
      const std::vector<v1::BatchGetResultsRequest>& requests,
      const std::function<void(const v1::BatchGetResultsResponse&)>& on_response) override;
  std::unique_ptr<AwaitStream> Await() override;
  absl::StatusOr<v1::RenewResponse> Renew(const v1::RenewRequest& request) override;
  absl::StatusOr<v1::ReleaseResponse> Release(const v1::ReleaseRequest& request) override;
  absl::StatusOr<v1::StoreResultResponse> StoreResult(
      const v1::StoreResultRequest& request) override;
  absl::StatusOr<v1::LinkResponse> Link(const v1::LinkRequest& request) override;
  absl::StatusOr<v1::AliasResponse> Alias(const v1::AliasRequest& request) override;
  absl::StatusOr<v1::FindMissingResponse> FindMissing(
      const v1::FindMissingRequest& request) override;
  absl::StatusOr<v1::PutResponse> Put(const v1::PutRequest::Header& header,
                                      const std::function<std::string_view()>& next_chunk) override;
  absl::StatusOr<v1::QueryPutResponse> QueryPut(const v1::QueryPutRequest& request) override;
  absl::Status BatchPut(
      const std::vector<v1::BatchPutRequest>& requests,
      const std::function<void(const v1::BatchPutResponse&)>& on_response) override;
  absl::Status Deref(const v1::DerefRequest& request,
                     const std::function<absl::Status(const v1::DerefResponse::Header&)>& on_header,
                     const std::function<absl::Status(std::string_view)>& on_chunk) override;
  absl::Status BatchDeref(
      const std::vector<v1::BatchDerefRequest>& requests,
      const std::function<void(const v1::BatchDerefResponse&)>& on_response) override;
  absl::StatusOr<v1::StatResponse> Stat(const v1::StatRequest& request) override;
  absl::StatusOr<v1::DescribeResponse> Describe(const v1::DescribeRequest& request) override;
  absl::StatusOr<v1::StatsResponse> Stats(const v1::StatsRequest& request) override;
  absl::StatusOr<v1::SealResponse> Seal(const v1::SealRequest& request) override;
  absl::Status CheckHealth(absl::Duration timeout) override;

 private:
  class Stream;
  struct Job {
    std::optional<v1::Result> result, failure;
    int64_t failure_epoch = 0;
    std::optional<v1::Lease> lease;
    std::string request_id;  // of the Submit that was granted the lease
  };

  // Calls the function and forgets it.
  void CallOnce(std::function<void()>* function);
  // Wakes who waits. It and what follows need mutex_.
  void Changed() {
    ++changes_;
    changed_.notify_all();
  }
  // Answers after which the next batch breaks; -1: it does not.
  int NextBreak();
  // Counts a call; the status it is to fail with.
  absl::Status Begin(const std::string& rpc);
  // UNAVAILABLE if the answer is to be lost.
  absl::Status End(const std::string& rpc);
  v1::Lease NewLease();
  v1::Holder HolderOf(const Job& job) const;
  absl::StatusOr<v1::SubmitResponse> SubmitOne(const std::string& json, bool can_compute,
                                               const std::string& request_id, bool answer_failures);
  // Tells all streams that wait for the job.
  void Tell(const Digest& key, v1::AwaitResponse response);
  void Offer(const Digest& key);

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  uint64_t changes_ = 0;
  std::map<std::string, int> calls_;
  std::map<std::string, std::deque<absl::Status>> failures_;
  std::set<std::string> lost_answers_;
  std::map<Digest, Job> jobs_;
  std::set<Stream*> streams_;
  int64_t epochs_ = 0;
  std::map<std::string, int> renewals_;
  std::vector<v1::SubmitRequest> submits_;
  std::vector<std::vector<v1::SubmitBatchRequest>> submit_batches_;
  std::vector<v1::AwaitRequest> awaits_;
  std::vector<v1::StoreResultRequest> stores_;
  std::vector<v1::RenewRequest> renews_;
  std::vector<v1::BatchPutRequest> batch_puts_;
  std::vector<v1::DerefRequest> derefs_;
  std::vector<uint64_t> put_offsets_;
  std::map<BlobName, std::string> uploads_;  // what was kept of broken ones
};

// A job that differs from others by its argument.
Value JobOf(int argument);
Digest KeyOf(const Value& job);

}  // namespace tiffin::testing

#endif  // TIFFIN_TESTS_UNIT_CLIENT_FAKE_SERVER_H_
