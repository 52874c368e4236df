// The C++ client of tiffin: asks for results by job, computes what nobody has, and stores it.
//
//   tiffin::Client client(tiffin::MakeGrpcConnection({.server = "127.0.0.1:7410"}));
//   auto result = client.Run(job, [] { return tiffin::Value(6 * 7); });
#ifndef TIFFIN_CLIENT_CLIENT_H_
#define TIFFIN_CLIENT_CLIENT_H_

#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/connection.h"
#include "client/mapped_blob.h"
#include "common/crypto.h"
#include "common/npy.h"
#include "common/record.h"
#include "common/slab.h"
#include "common/value.h"

namespace tiffin {

// Who this process is, for the server's history; what is empty is filled in from the system.
struct SessionInfo {
  std::string name, user, host, script;
};

struct RetryOptions {
  // How long a call waits, in all its pauses between tries, for a server that does not bring it
  // further; counted anew whenever a try got further than those before (a job ended, bytes came).
  // Zero: one try.
  absl::Duration patience = absl::Seconds(30);
  // Pauses grow from one to the other, with jitter. A server may ask for longer ones.
  absl::Duration first_delay = absl::Milliseconds(50);
  absl::Duration max_delay = absl::Seconds(5);
};

// What Run does when the server is away for longer than RetryOptions::patience.
enum class OnUnavailable {
  kCompute,  // computes without it; the result waits in the spool until it can be delivered
  kFail,     // UNAVAILABLE
};

struct ClientOptions {
  std::string name_space;  // empty: `default`
  SessionInfo session;
  RetryOptions retry;
  absl::Duration lease_term = absl::Seconds(30);  // 5 s to 1 h; `Run` renews at a third of it
  bool verify = true;                             // whole blobs are checked against their key
  // Run gives back a failure that was stored less than this ago instead of calling the function.
  // Zero: it calls.
  absl::Duration answer_failures;
  bool allow_unversioned_main = false;  // as the server's flag; for keys computed here
  int threads = 8;                      // of RunAsync
  OnUnavailable on_unavailable = OnUnavailable::kCompute;
  std::string spool;  // folder; empty: Spool::DefaultFolder()
  // What waits there is tried again so often (less often while the server has no room for it), from
  // the first result that had to wait until the client is destroyed. Infinite: by the next Run that
  // reaches the server, and by `tiffin flush`, only.
  absl::Duration deliver_every = absl::Seconds(10);
  // Told of what was computed without the server and cannot be kept for it either: Run returns the
  // value all the same.
  std::function<void(const Digest& key, const absl::Status& why)> on_lost;
};

enum class Bulk { kRefs, kInline };

// A stored result of a job.
struct StoredResult {
  enum class Kind { kValue, kError, kWorkflow };
  Kind kind = Kind::kValue;
  Value value;
  Digest digest;
  absl::Time stored;
  std::string session;
  std::string host;
  bool retryable = true;
  absl::Duration compute_time;
  int exit_status = 0;
  std::string log;
  std::optional<Digest> linked_to;
};

// The right to compute a job now.
struct Lease {
  std::string id;
  int64_t epoch = 0;
  absl::Duration term;
};

struct Holder {
  std::string session, name, user, host;
  absl::Time since;
  int64_t epoch = 0;
};

struct Submitted {
  enum class Outcome { kRetrieved, kGranted, kAttached, kOpen, kFailed };
  Digest key;
  Outcome outcome = Outcome::kOpen;
  // kRetrieved; kFailed: the error. Absent if over a batch's budget: Get brings it; a failure,
  // Await with `after_epoch` 1.
  std::optional<StoredResult> result;
  std::optional<Lease> lease;            // kGranted
  std::optional<Holder> holder;          // kAttached
  std::optional<StoredResult> workflow;  // kGranted of an unfolding job
  std::vector<BlobName> missing_blobs;   // kGranted: blobs of the arguments that are not there
  std::vector<Digest> missing_values;
};

struct SubmitOptions {
  bool can_compute = true;
  Bulk bulk = Bulk::kRefs;
  bool discard_result = false;
  // A failure stored less than this ago is the answer (kFailed) instead of another try. Zero: none
  // is.
  absl::Duration answer_failures;
  std::optional<uint32_t> max_grants;  // of a batch
};

// What a job's function gives besides its value.
struct StoreOptions {
  absl::Duration compute_time;
  int exit_status = 0;
  std::string log;
  bool retryable = true;  // of an error
};

struct Stored {
  Digest key;
  Digest digest;
  bool repeated = false;  // it was already stored
  std::vector<BlobName> blobs;
};

// What became of a job that was awaited.
struct Awaited {
  enum class Event { kResult, kFailed, kGranted };
  size_t index = 0;  // in the span given
  Digest key;
  Event event = Event::kResult;
  std::optional<StoredResult> result;    // kResult, kFailed
  std::optional<Lease> lease;            // kGranted
  std::optional<StoredResult> workflow;  // kGranted of an unfolding job
};

struct AwaitOptions {
  uint32_t capacity = 0;  // leases that may be granted; 0: only results and failures
  Bulk bulk = Bulk::kRefs;
  // Failures of this epoch and later ones are told even if they came before the call; 0: none are.
  // `holder->epoch` of an attached Submit leaves no gap between the two.
  int64_t after_epoch = 0;
  // DEADLINE_EXCEEDED after it; UNAVAILABLE if the server was away then.
  absl::Time deadline = absl::InfiniteFuture();
};

// The function of a job: returns its value, or a status that is stored as its failure.
using JobFunction = std::function<absl::StatusOr<Value>()>;

// Cheap to copy: copies share session, renewals and memory of uploads. Thread-safe.
//
// Errors have the server's codes and messages (proto/tiffin/v1). Calls whose repetition does no
// harm are repeated while the server is UNAVAILABLE, or RESOURCE_EXHAUSTED with a time to come
// back, as RetryOptions says; every call a Client makes is such a call, since Submit carries a
// request id, but SetAlias with `replace`, which is sent once.
//
// Functions given to a client may destroy it: the call that runs them goes on to its end.
class Client {
 private:
  class Impl;
  class Route;

 public:
  explicit Client(std::shared_ptr<Connection> connection, ClientOptions options = {});

  // The same client, each of whose calls ends by then, with all its tries: DEADLINE_EXCEEDED, or
  // UNAVAILABLE if the server was away. What was sent may have been done all the same. But Run and
  // RunAsync take as long as their functions do. Cheap: `client.Until(absl::Now() +
  // absl::Seconds(5)).Get(key)`.
  Client Until(absl::Time deadline) const;

  // The stored result; or that of whoever computes it now, waited for; or else calls `function`
  // under a lease that is renewed meanwhile, stores what it returns and gives that back. What comes
  // back has passed through the store: equal to what `function` returned, apart from bulk that
  // became refs (Bulk::kInline brings it back). While the server is away, `function` is called
  // without a lease and its value given back as it is; it is delivered by a later Run, or by
  // `tiffin flush`. It is called once, whatever happens. ABORTED: the job failed, here or elsewhere
  // (lately, with ClientOptions::answer_failures); the message is the error's. A function fails by
  // a status or by an exception; both are stored as the job's failure. FAILED_PRECONDITION: the job
  // unfolds into a workflow (here, or before), which Run does not go on with. Other errors: the
  // server's. A value that it refuses ends the lease, so that others can compute.
  absl::StatusOr<Value> Run(const Value& job, const JobFunction& function, Bulk bulk = Bulk::kRefs);
  // The same on a thread of the client's pool. CANCELLED: the last copy of the client was destroyed
  // before the job's turn came.
  std::future<absl::StatusOr<Value>> RunAsync(Value job, JobFunction function,
                                              Bulk bulk = Bulk::kRefs);

  absl::StatusOr<Submitted> Submit(const Value& job, const SubmitOptions& options = {});
  // In the order given, each with its own status. Should the server be lost on the way, jobs that
  // it has answered keep their answers; the call itself fails only if there are none.
  absl::StatusOr<std::vector<absl::StatusOr<Submitted>>> SubmitBatch(
      std::span<const Value> jobs, const SubmitOptions& options = {});

  // NOT_FOUND: none.
  absl::StatusOr<StoredResult> Get(const Digest& key, Bulk bulk = Bulk::kRefs);
  absl::StatusOr<StoredResult> GetByAlias(std::string_view profile, std::string_view name,
                                          Bulk bulk = Bulk::kRefs);
  absl::StatusOr<std::vector<absl::StatusOr<StoredResult>>> BatchGet(std::span<const Digest> keys,
                                                                     Bulk bulk = Bulk::kRefs);

  // Waits until the job has a result, failed, or was granted to us. Survives broken connections and
  // restarts of the server.
  absl::StatusOr<Awaited> Await(const Digest& key, const AwaitOptions& options = {});
  // Of many jobs: calls back as each ends, from this thread; an error from `on_end` ends the call.
  // So does an error of a single job (a result that is damaged, or too large to be brought inline).
  // Leases that are granted are the caller's to renew.
  absl::Status AwaitAll(std::span<const Digest> keys, const AwaitOptions& options,
                        const std::function<absl::Status(const Awaited&)>& on_end);

  // Stores a value (or workflow) under a lease, or without one.
  absl::StatusOr<Stored> Store(const Digest& key, const std::optional<Lease>& lease,
                               const Value& value, const StoreOptions& options = {});
  // Stores the value of a job that need not have been submitted.
  absl::StatusOr<Stored> StoreJob(const Value& job, const Value& value,
                                  const StoreOptions& options = {});
  // Stores a failure; the lease must be live.
  absl::StatusOr<Stored> StoreFailure(const Digest& key, const Lease& lease, const Value& error,
                                      const StoreOptions& options = {});
  absl::Status Link(const Digest& key, const Lease& lease, const Digest& target);
  absl::Status Release(const Lease& lease);
  // Per lease: kRenewed, kDoneElsewhere, kLost. DEADLINE_EXCEEDED if the server took so long (a
  // sixth of the shortest term) that it is better asked again.
  enum class Renewal { kRenewed, kDoneElsewhere, kLost };
  // `progress`: their computations have got on, so that they may go on for longer than the server's
  // --max-hold.
  absl::StatusOr<std::vector<Renewal>> Renew(std::span<const Lease> leases, bool progress = false);
  // The same of a job whose function Run or RunAsync is calling, told with its lease's next
  // renewal.
  void NoteProgress(const Digest& key);
  absl::Status SetAlias(std::string_view profile, std::string_view name, const Digest& key,
                        bool replace = false);

  // Uploads an array unless the server has it (asked by key: an array is hashed once, and sent
  // once). Equal uploads from threads of one client are sent once. It goes on with what the server
  // has kept of a broken upload, of this program or of another, or else starts at the front.
  absl::StatusOr<BlobName> Put(std::string_view dtype, const Shape& shape,
                               std::string_view c_order_bytes);
  absl::StatusOr<BlobName> Put(const Array& array);
  // The same of bytes whose key is known. Whether the server had them; `on_sent` is told how far it
  // has got, in bytes.
  absl::StatusOr<bool> PutNamed(const BlobName& name, std::string_view c_order_bytes,
                                const std::function<void(uint64_t sent)>& on_sent = nullptr);
  // Many: small ones travel together. The names in the order given; the first error ends it, and
  // says which array (`arrays[3]: …`); others may have been stored.
  absl::StatusOr<std::vector<BlobName>> PutBatch(std::span<const Array> arrays);
  // The ref record that stands for an uploaded array, to be used in jobs and results.
  static Value RefRecord(const BlobName& name, std::string_view class_name = "numpy.ndarray");

  // The array a ref record (or a blob's name) stands for. Goes on where a broken stream stopped.
  // DATA_LOSS if the bytes do not match the key.
  absl::StatusOr<Array> Deref(const BlobName& name);
  // The same into memory of just the array's size (else INVALID_ARGUMENT). After an error its
  // contents are undefined.
  absl::Status DerefInto(const BlobName& name, std::span<std::byte> memory);
  // A ref record of the first form.
  absl::StatusOr<Array> DerefArray(const Value& ref_record);
  // A ref record of the second form: the record's data.
  absl::StatusOr<Value> DerefValue(const Value& ref_record);
  // Bytes [offset, offset+limit) of a blob.
  absl::StatusOr<std::string> DerefRange(const BlobName& name, uint64_t offset, uint64_t limit);
  // Of each dimension the elements start, start + stride, … (`count` of them): only they travel.
  // They are not checked against the key, which is of the whole. INVALID_ARGUMENT or OUT_OF_RANGE:
  // no such selection.
  absl::StatusOr<Array> DerefSlab(const BlobName& name, std::span<const SlabDimension> dimensions);
  // All bytes without a copy, if the server is on this host and allows it (`--allow-local`): its
  // file is mapped. Else they are fetched. DATA_LOSS as for Deref; with `verify` they are all read
  // for that.
  absl::StatusOr<MappedBlob> Map(const BlobName& name);
  // Streams the bytes [offset, offset+limit) to `on_chunk` without holding or checking them. An
  // error from it ends the call and is returned.
  absl::StatusOr<v1::DerefResponse::Header> DerefTo(
      const v1::BlobRef& ref, uint64_t offset, std::optional<uint64_t> limit,
      const std::function<absl::Status(std::string_view)>& on_chunk);

  // The job's key, as the server computes it.
  absl::StatusOr<Digest> KeyOf(const Value& job) const;

  // The connection and the Caller of this client, for calls that have no method here. The
  // connection lives as long as the client, or a copy of it; that of `Until` only as long as what
  // Until returned.
  Connection& connection() const;
  v1::Caller caller() const;
  const ClientOptions& options() const;

 private:
  struct Computed;
  absl::StatusOr<Value> RunWithServer(const Value& job, const JobFunction& function, Bulk bulk,
                                      Computed* computed);
  absl::StatusOr<Value> RunWithoutServer(const Value& job, const JobFunction& function,
                                         Computed* computed);
  Client(std::shared_ptr<Impl> impl, std::shared_ptr<const Route> route);
  // The part of Run that holds the lease.
  absl::StatusOr<Value> Compute(const Digest& key, const Lease& lease, const JobFunction& function,
                                Bulk bulk, Computed* computed);
  std::shared_ptr<Impl> impl_;
  std::shared_ptr<const Route> route_;
};

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_CLIENT_H_
