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

void Waiters::WhenTaken(SessionId session, std::function<void()> next) {
  {
    std::lock_guard lock(mutex_);
    const auto it = open_.find(session);
    if (it == open_.end()) return;
    if (it->second.session.when_taken) return it->second.session.when_taken(std::move(next));
  }
  next();
}

std::vector<WaitKey> Waiters::ToOffer(const Open_& open) {
  std::vector<WaitKey> keys;
  if (!open.session.can_compute) return keys;
  for (const uint64_t index : open.open) {
    if (keys.size() >= open.capacity) break;
    keys.push_back(open.items.at(index));
  }
  return keys;
}

std::vector<WaitKey> Waiters::AddCapacity(SessionId session, uint64_t leases) {
  std::lock_guard lock(mutex_);
  auto it = open_.find(session);
  if (it == open_.end()) return {};
  it->second.capacity += leases;
  return ToOffer(it->second);
}

std::vector<WaitKey> Waiters::GiveBack(const Candidate& candidate, const WaitKey& key, bool open) {
  std::lock_guard lock(mutex_);
  if (auto list = by_key_.find(key); list != by_key_.end()) {
    for (const Waiter& waiter : list->second) {
      std::set<uint64_t>& marks = open_.at(waiter.session).open;
      if (open) {
        marks.insert(waiter.index);
      } else {
        marks.erase(waiter.index);
      }
    }
  }
  auto it = open_.find(candidate.session);
  if (it == open_.end()) return {};
  ++it->second.capacity;
  return open ? std::vector<WaitKey>() : ToOffer(it->second);
}

bool Waiters::Add(SessionId session, uint64_t index, const WaitKey& key, int64_t after_epoch,
                  absl::Time now) {
  std::lock_guard lock(mutex_);
  auto it = open_.find(session);
  if (it == open_.end()) return false;
  if (it->second.items.emplace(index, key).second) {
    by_key_[key].push_back({session, index, after_epoch, now});
  }
  return true;
}

void Waiters::TellLocked(SessionId session, uint64_t index, WaitEvent event) {
  Open_& open = open_.at(session);
  if (event.kind == WaitEvent::Kind::kOpen && open.items.contains(index)) {
    open.open.insert(index);
  } else {
    open.open.erase(index);
  }
  open.session.tell(index, std::move(event));
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
  list->second.remove_if([&](const Waiter& w) { return w.session == session && w.index == index; });
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
    open.open.erase(waiter.index);  // not offered twice at a time
    return Candidate{waiter.session, waiter.index, open.session.caller, open.session.term};
  }
  // For when one of them gets capacity.
  for (const Waiter& waiter : it->second) open_.at(waiter.session).open.insert(waiter.index);
  return std::nullopt;
}

size_t Waiters::waiting() {
  std::lock_guard lock(mutex_);
  size_t n = 0;
  for (const auto& [id, open] : open_) n += open.items.size();
  return n;
}

size_t Waiters::WaitingFor(const WaitKey& key) {
  std::lock_guard lock(mutex_);
  const auto it = by_key_.find(key);
  return it == by_key_.end() ? 0 : it->second.size();
}

std::vector<WaiterInfo> Waiters::WhoWaitsFor(const WaitKey& key, size_t most) {
  std::vector<WaiterInfo> who;
  std::lock_guard lock(mutex_);
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return who;
  for (const Waiter& waiter : it->second) {
    if (who.size() == most) break;
    const AwaitSession& session = open_.at(waiter.session).session;
    who.push_back({session.caller.session, waiter.since, session.can_compute});
  }
  return who;
}

}  // namespace tiffin::server
