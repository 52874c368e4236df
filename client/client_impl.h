// What copies of a Client share. Private to the library.
#ifndef TIFFIN_CLIENT_CLIENT_IMPL_H_
#define TIFFIN_CLIENT_CLIENT_IMPL_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/delivery.h"
#include "client/lease_keeper.h"
#include "client/route.h"
#include "client/spool.h"

namespace tiffin {

// Neither is owned.
struct NamedBytes {
  const BlobName* name;
  std::string_view bytes;
};

// Threads: all methods may be called from any thread.
class Client::Impl {
 public:
  Impl(std::shared_ptr<Connection> connection, ClientOptions options);
  ~Impl();

  v1::Caller caller(const std::string& request_id = "") const;
  void RunOnPool(std::function<void()> task);

  // One Renew, not repeated.
  absl::StatusOr<std::vector<Renewal>> RenewOnce(const Route& over,
                                                 const RenewalPlan::Batch& batch) const;

  // ---- put.cc
  // Sends a blob unless it is known to be there. Waits while another thread sends the same. Whether
  // it was there.
  absl::StatusOr<bool> Upload(const Route& over, const BlobName& name, std::string_view bytes,
                              const std::function<void(uint64_t sent)>& on_sent = nullptr);
  // Blobs below 1 MiB, each with its outcome; an error: not all were answered.
  absl::Status SendSmall(const Route& over, std::span<const NamedBytes> blobs,
                         std::vector<absl::Status>* outcomes, bool* last_existed = nullptr) const;
  // Of blobs known to be on the server; bounded, and forgotten before the server may collect them.
  bool Knows(const BlobName& name);
  void Learn(const BlobName& name);
  // One upload of a name at a time. False, and nothing begun: another was under way until the
  // deadline, or is (Try).
  bool BeginUpload(const BlobName& name, absl::Time deadline);
  bool TryBeginUpload(const BlobName& name);
  void EndUpload(const BlobName& name);

  // ---- deref.cc
  using OnHeader = std::function<absl::Status(const v1::DerefResponse::Header&)>;
  using OnChunk = std::function<absl::Status(std::string_view)>;
  // Brings what `request` asks for over as many streams as it takes. An error of the two functions
  // ends it and is returned.
  absl::StatusOr<v1::DerefResponse::Header> Stream(const Route& over, v1::DerefRequest request,
                                                   const OnHeader& on_header,
                                                   const OnChunk& on_chunk) const;
  absl::StatusOr<std::string> Collect(const Route& over, v1::DerefRequest request) const;
  // Brings a whole array of `size` bytes, checked against its key if the options say so.
  absl::Status Fetch(const Route& over, const BlobName& name, uint64_t size,
                     const std::function<void()>& begin,
                     const std::function<void(std::string_view)>& take) const;

  const std::shared_ptr<const Route> route;  // of calls without a deadline
  const ClientOptions options;
  Spool spool;

 private:
  // Threads that outlive Impl for a moment if the last Client was destroyed on one of them.
  struct Pool {
    void Work();
    std::mutex mutex;  // guards all below
    std::condition_variable wake;
    std::deque<std::function<void()>> tasks;
    std::vector<std::thread> threads;
    bool stop = false;
  };

  absl::StatusOr<bool> Send(const Route& over, const BlobName& name, std::string_view bytes,
                            const std::function<void(uint64_t sent)>& on_sent) const;
  // What the server has of an upload; nothing if it cannot say.
  absl::StatusOr<v1::QueryPutResponse> Received(const Route& over, const BlobName& name,
                                                size_t size) const;

  v1::Caller caller_;
  const std::shared_ptr<Pool> pool_ = std::make_shared<Pool>();
  std::mutex mutex_;  // guards all below
  std::condition_variable uploaded_;
  std::map<BlobName, absl::Time> known_;  // since when
  std::set<BlobName> uploading_;

 public:
  // Last: their threads use what stands above.
  LeaseKeeper keeper;
  Delivery delivery;
};

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_CLIENT_IMPL_H_
