// What copies of a Client share. Private to the library.
#ifndef TIFFIN_CLIENT_CLIENT_IMPL_H_
#define TIFFIN_CLIENT_CLIENT_IMPL_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "client/client.h"
#include "client/spool.h"

namespace tiffin {

// Renews the leases of one client in one call, at a third of their term.
// Threads: all methods may be called from any thread.
class LeaseKeeper {
 public:
  using RenewCall = std::function<void(const std::vector<std::string>&)>;
  LeaseKeeper(absl::Duration period, RenewCall renew)
      : period_(period), renew_(std::move(renew)) {}
  ~LeaseKeeper();
  void Add(const std::string& lease);
  void Remove(const std::string& lease);

 private:
  void Run();
  const absl::Duration period_;
  const RenewCall renew_;
  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  std::set<std::string> leases_;
  bool stop_ = false;
  std::thread thread_;  // started with the first lease
};

class Client::Impl {
 public:
  Impl(std::shared_ptr<Connection> connection, ClientOptions options);
  ~Impl();

  // Calls until the status is not UNAVAILABLE, or patience is over.
  absl::Status Repeat(const std::function<absl::Status()>& call);
  v1::Caller caller(const std::string& request_id = "") const;
  void RunOnPool(std::function<void()> task);

  // Names of blobs known to be on the server; bounded.
  bool Knows(const BlobName& name);
  void Learn(const BlobName& name);
  // One upload of a name at a time: waits while another thread sends the same.
  void BeginUpload(const BlobName& name);
  void EndUpload(const BlobName& name);

  const std::shared_ptr<Connection> connection;
  const ClientOptions options;
  Spool spool;
  LeaseKeeper keeper;

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

  v1::Caller caller_;
  const std::shared_ptr<Pool> pool_ = std::make_shared<Pool>();
  std::mutex mutex_;  // guards all below
  std::condition_variable uploaded_;
  std::set<BlobName> known_, uploading_;
};

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_CLIENT_IMPL_H_
