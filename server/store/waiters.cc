#include "server/store/waiters.h"

#include <utility>

namespace tiffin::server {

Waiters::SessionId Waiters::Open(AwaitSession session) {
  std::lock_guard lock(mutex_);
  const SessionId id = next_++;
  open_[id].session = std::move(session);
  return id;
}

void Waiters::Close(SessionId session) {
  std::lock_guard lock(mutex_);
  auto it = open_.find(session);
  if (it == open_.end()) return;
  for (const auto& [index, key] : it->second.items) {
    auto list = by_key_.find(key);
    if (list == by_key_.end()) continue;
    list->second.remove_if([session](const Waiter& w) { return w.session == session; });
    if (list->second.empty()) by_key_.erase(list);
  }
  open_.erase(it);
}

void Waiters::AddCapacity(SessionId session, uint64_t leases) {
  std::lock_guard lock(mutex_);
  if (auto it = open_.find(session); it != open_.end()) it->second.capacity += leases;
}

bool Waiters::TakeCapacity(SessionId session) {
  std::lock_guard lock(mutex_);
  auto it = open_.find(session);
  if (it == open_.end() || !it->second.session.can_compute || it->second.capacity == 0) {
    return false;
  }
  --it->second.capacity;
  return true;
}

bool Waiters::Add(SessionId session, uint64_t index, const WaitKey& key, int64_t after_epoch) {
  std::lock_guard lock(mutex_);
  auto it = open_.find(session);
  if (it == open_.end()) return false;
  if (it->second.items.emplace(index, key).second) {
    by_key_[key].push_back({session, index, after_epoch});
  }
  return true;
}

std::vector<std::pair<uint64_t, WaitKey>> Waiters::Pending(SessionId session) {
  std::lock_guard lock(mutex_);
  auto it = open_.find(session);
  if (it == open_.end()) return {};
  return {it->second.items.begin(), it->second.items.end()};
}

void Waiters::TellLocked(SessionId session, uint64_t index, WaitEvent event) {
  open_.at(session).session.tell(index, std::move(event));
}

void Waiters::End(const WaitKey& key, const WaitEvent& event) {
  std::lock_guard lock(mutex_);
  auto it = by_key_.find(key);
  if (it == by_key_.end()) return;
  for (const Waiter& waiter : it->second) {
    open_.at(waiter.session).items.erase(waiter.index);
    TellLocked(waiter.session, waiter.index, event);
  }
  by_key_.erase(it);
}

void Waiters::Tell(const WaitKey& key, const WaitEvent& event) {
  std::lock_guard lock(mutex_);
  auto it = by_key_.find(key);
  if (it == by_key_.end()) return;
  for (const Waiter& waiter : it->second) TellLocked(waiter.session, waiter.index, event);
}

bool Waiters::EndOne(SessionId session, uint64_t index, const WaitKey& key, WaitEvent event) {
  std::lock_guard lock(mutex_);
  auto it = open_.find(session);
  if (it == open_.end() || it->second.items.erase(index) == 0) return false;
  auto list = by_key_.find(key);
  list->second.remove_if(
      [&](const Waiter& w) { return w.session == session && w.index == index; });
  if (list->second.empty()) by_key_.erase(list);
  TellLocked(session, index, std::move(event));
  return true;
}

bool Waiters::TellOne(SessionId session, uint64_t index, WaitEvent event) {
  std::lock_guard lock(mutex_);
  if (!open_.contains(session)) return false;
  TellLocked(session, index, std::move(event));
  return true;
}

std::optional<Waiters::Candidate> Waiters::TakeCandidate(const WaitKey& key) {
  std::lock_guard lock(mutex_);
  auto it = by_key_.find(key);
  if (it == by_key_.end()) return std::nullopt;
  for (const Waiter& waiter : it->second) {
    Open_& open = open_.at(waiter.session);
    if (!open.session.can_compute || open.capacity == 0) continue;
    --open.capacity;
    return Candidate{waiter.session, waiter.index, open.session.caller, open.session.term};
  }
  return std::nullopt;
}

std::optional<Waiters::Candidate> Waiters::AsCandidate(SessionId session, uint64_t index) {
  std::lock_guard lock(mutex_);
  auto it = open_.find(session);
  if (it == open_.end() || !it->second.session.can_compute || it->second.capacity == 0) {
    return std::nullopt;
  }
  --it->second.capacity;
  return Candidate{session, index, it->second.session.caller, it->second.session.term};
}

size_t Waiters::waiting() {
  std::lock_guard lock(mutex_);
  size_t n = 0;
  for (const auto& [id, open] : open_) n += open.items.size();
  return n;
}

}  // namespace tiffin::server
