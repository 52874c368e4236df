// What callers say and what the store answers, in its own words: no gRPC, no SQL, no HDF5.
#ifndef TIFFIN_SERVER_STORE_ANSWERS_H_
#define TIFFIN_SERVER_STORE_ANSWERS_H_

#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "common/record.h"
#include "server/jobs/job_database.h"

namespace tiffin::server {

struct CallerInfo {
  std::string name_space = "default";
  SessionRow session;  // id and namespace_id are not set
  std::string request_id;
};

// A result and where it came from.
struct StoredResult {
  ResultRow row;
  std::string session;  // its token
  std::string host;
  std::optional<Digest> linked_to;  // the job whose result it is, if another's
};

// Of what may be large in it: its record and log.
inline size_t TextBytes(const StoredResult& result) {
  return result.row.record.size() + result.row.log.size();
}

struct HolderInfo {
  SessionRow session;
  absl::Time since;
  int64_t epoch = 0;
};

// Refs that nothing in the namespace stands behind.
struct Missing {
  std::vector<BlobName> blobs;
  std::vector<Digest> values;
  bool empty() const { return blobs.empty() && values.empty(); }
  // "2 blobs are absent: …", naming the first ones.
  std::string ToText() const;
};

struct SubmitOptions {
  bool can_compute = false;
  absl::Duration term = absl::Seconds(30);
  bool discard_result = false;
  // A failure stored less than this ago is the answer, instead of another try.
  absl::Duration answer_failures;
  // Whether nobody waits for the answer any more: asked on the writer's thread, must not block.
  // Null: somebody does.
  std::function<bool()> gone;
};

struct SubmitAnswer {
  enum class Outcome { kRetrieved, kGranted, kAttached, kOpen, kFailed };
  Digest key;
  Outcome outcome = Outcome::kOpen;
  std::optional<StoredResult> result;    // kRetrieved, kFailed
  bool present = false;                  // instead of `result`: there, but over a batch's budget
  std::optional<LeaseRow> lease;         // kGranted
  std::optional<HolderInfo> holder;      // kAttached
  std::optional<StoredResult> workflow;  // kGranted of an unfolding job
  Missing missing;                       // kGranted: of the arguments
};

struct StoreRequest {
  std::optional<Digest> key;
  std::string lease_id;  // empty: none
  int64_t epoch = 0;
  std::optional<ResultKind> kind;  // absent: a workflow if the record is one, else a value
  std::string record;              // JSON text
  bool retryable = false;
  double compute_seconds = 0;
  int32_t exit_status = 0;
  std::string log;
  std::vector<Array> blobs;
  std::string job;  // JSON text; empty: the job was submitted before
};

struct StoreAnswer {
  Digest key;
  Digest digest;
  bool repeated = false;
  std::vector<BlobName> blobs;
  Missing missing;  // filled in when the status is FAILED_PRECONDITION for it
};

// What a waiter is told. The first two go on, the others end.
struct WaitEvent {
  enum class Kind { kAttached, kOpen, kResult, kFailed, kGranted, kError };
  Kind kind = Kind::kOpen;
  Digest key;
  std::shared_ptr<const StoredResult> result;  // one for all who wait: it may be large
  // Where `result` came from. What was pushed while they waited, and is stored, can be looked up
  // later instead.
  enum class From { kLookUp, kPushed, kDiscarded };
  From from = From::kLookUp;
  std::optional<HolderInfo> holder;
  std::optional<LeaseRow> lease;
  std::optional<StoredResult> workflow;
  absl::Status error;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_ANSWERS_H_
