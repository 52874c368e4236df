#include "client/client_impl.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>

#include "absl/strings/escaping.h"

namespace tiffin {
namespace {

constexpr size_t kKnownBlobs = 100'000;

std::string HostName() {
  if (const char* name = std::getenv("TIFFIN_HOST")) return name;
  char name[256] = "";
  return gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

std::string UserName() {
  const passwd* user = getpwuid(getuid());
  return user ? user->pw_name : std::to_string(getuid());
}

std::string Or(const std::string& given, const std::string& found) {
  return given.empty() ? found : given;
}

}  // namespace

LeaseKeeper::~LeaseKeeper() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void LeaseKeeper::Add(const std::string& lease) {
  std::lock_guard lock(mutex_);
  leases_.insert(lease);
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
}

void LeaseKeeper::Remove(const std::string& lease) {
  std::lock_guard lock(mutex_);
  leases_.erase(lease);
}

void LeaseKeeper::Run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    wake_.wait_for(lock, absl::ToChronoNanoseconds(period_), [this] { return stop_; });
    if (stop_ || leases_.empty()) continue;
    const std::vector<std::string> leases(leases_.begin(), leases_.end());
    lock.unlock();
    renew_(leases);
    lock.lock();
  }
}

Client::Impl::Impl(std::shared_ptr<Connection> used, ClientOptions given)
    : connection(std::move(used)), options(std::move(given)),
      spool(options.spool.empty() ? Spool::DefaultFolder() : options.spool),
      keeper(options.lease_term / 3, [this](const std::vector<std::string>& leases) {
        v1::RenewRequest request;
        *request.mutable_caller() = caller_;
        for (const std::string& lease : leases) request.add_leases(lease);
        // A lost lease does not stop the work: its value may still be stored.
        (void)connection->Renew(request);
      }) {
  caller_.set_namespace_(options.name_space);
  v1::Session* session = caller_.mutable_session();
  session->set_id(absl::BytesToHexString(RandomBytes(16)));
  session->set_name(Or(options.session.name, program_invocation_short_name));
  session->set_user(Or(options.session.user, UserName()));
  session->set_host(Or(options.session.host, HostName()));
  session->set_script(Or(options.session.script, program_invocation_name));
  session->mutable_since()->set_seconds(absl::ToUnixSeconds(absl::Now()));
}

Client::Impl::~Impl() {
  {
    std::lock_guard lock(pool_->mutex);
    pool_->stop = true;
    pool_->wake.notify_all();
  }
  for (std::thread& thread : pool_->threads) {
    if (thread.get_id() == std::this_thread::get_id()) {
      thread.detach();
    } else {
      thread.join();
    }
  }
}

v1::Caller Client::Impl::caller(const std::string& request_id) const {
  v1::Caller caller = caller_;
  caller.set_request_id(request_id);
  return caller;
}

absl::Status Client::Impl::Repeat(const std::function<absl::Status()>& call) {
  const RetryOptions& retry = options.retry;
  const absl::Time until = absl::Now() + retry.patience;
  absl::Duration delay = retry.first_delay;
  std::minstd_rand random(std::random_device{}());
  while (true) {
    const absl::Status status = call();
    if (!absl::IsUnavailable(status) || absl::Now() + delay > until) return status;
    // Half to all of it, so that clients of a restarted server do not come all at once.
    absl::SleepFor(delay * (0.5 + 0.5 * (random() % 1000) / 1000.0));
    delay = std::min(delay * 2, retry.max_delay);
  }
}

void Client::Impl::RunOnPool(std::function<void()> task) {
  std::lock_guard lock(pool_->mutex);
  pool_->tasks.push_back(std::move(task));
  if (pool_->threads.size() < static_cast<size_t>(std::max(1, options.threads))) {
    pool_->threads.emplace_back([pool = pool_] { pool->Work(); });
  }
  pool_->wake.notify_one();
}

void Client::Impl::Pool::Work() {
  std::unique_lock lock(mutex);
  while (true) {
    wake.wait(lock, [this] { return stop || !tasks.empty(); });
    if (tasks.empty()) return;
    std::function<void()> task = std::move(tasks.front());
    tasks.pop_front();
    lock.unlock();
    task();
    task = nullptr;
    lock.lock();
  }
}

bool Client::Impl::Knows(const BlobName& name) {
  std::lock_guard lock(mutex_);
  return known_.contains(name);
}

void Client::Impl::Learn(const BlobName& name) {
  std::lock_guard lock(mutex_);
  if (known_.size() >= kKnownBlobs) known_.clear();
  known_.insert(name);
}

void Client::Impl::BeginUpload(const BlobName& name) {
  std::unique_lock lock(mutex_);
  uploaded_.wait(lock, [&] { return !uploading_.contains(name); });
  uploading_.insert(name);
}

void Client::Impl::EndUpload(const BlobName& name) {
  std::lock_guard lock(mutex_);
  uploading_.erase(name);
  uploaded_.notify_all();
}

}  // namespace tiffin
