#include "client/client_impl.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"
#include "common/status.h"
#include "common/utf8.h"

namespace tiffin {
namespace {

std::string HostName() {
  if (const char* name = std::getenv("TIFFIN_HOST")) return name;
  char name[256] = "";
  return gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

std::string UserName() {
  char buffer[4096];
  passwd user;
  passwd* found = nullptr;
  getpwuid_r(getuid(), &user, buffer, sizeof buffer, &found);
  return found ? found->pw_name : std::to_string(getuid());
}

// What the system says may be any bytes; the wire takes UTF-8 only.
std::string Or(const std::string& given, const std::string& found) {
  return ToValidUtf8(given.empty() ? found : given);
}

}  // namespace

Client::Impl::Impl(std::shared_ptr<Connection> used, ClientOptions given)
    : route(std::make_shared<const Route>(used, given.retry)),
      options(std::move(given)),
      spool(options.spool.empty() ? Spool::DefaultFolder() : options.spool),
      keeper([this](const RenewalPlan::Batch& batch) { return RenewOnce(*route, batch); }),
      delivery(std::move(used), spool.folder(), options.deliver_every) {
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

absl::StatusOr<std::vector<Client::Renewal>> Client::Impl::RenewOnce(
    const Route& over, const RenewalPlan::Batch& batch) const {
  v1::RenewRequest request;
  *request.mutable_caller() = caller_;
  for (const std::string& id : batch.ids) request.add_leases(id);
  request.set_progress(batch.progress);
  TIFFIN_ASSIGN_OR_RETURN(const v1::RenewResponse response,
                          over.connection().RenewWithin(batch.timeout, request));
  if (response.outcomes_size() != request.leases_size()) {
    return absl::InternalError("the server answered another number of leases");
  }
  std::vector<Renewal> outcomes;
  for (const int outcome : response.outcomes()) {
    outcomes.push_back(outcome == v1::RenewResponse::RENEWED          ? Renewal::kRenewed
                       : outcome == v1::RenewResponse::DONE_ELSEWHERE ? Renewal::kDoneElsewhere
                                                                      : Renewal::kLost);
  }
  return outcomes;
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

}  // namespace tiffin
