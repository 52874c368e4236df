#include "server/service/grouped_gets.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace tiffin::server {

void GroupedGets::Add(Get get) {
  {
    std::unique_lock lock(mutex_);
    if (lookers_ > 0 || looking_here_) {
      lock.unlock();
      return HandOver(std::move(get));
    }
    looking_here_ = true;
  }
  const std::vector<JobStore::Found> found =
      store_->GetResults(get.name_space, {&get.job, 1}, kBytes);
  {
    std::lock_guard lock(mutex_);
    looking_here_ = false;
  }
  get.done(found[0]);
}

void GroupedGets::HandOver(Get get) {
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(get));
    if (lookers_ == most_lookers_) return;  // one of them comes to it
    ++lookers_;
  }
  executor_->Add([self = shared_from_this()] { self->LookUp(); });
}

std::vector<GroupedGets::Get> GroupedGets::TakeGroup() {
  std::vector<Get> group;
  std::lock_guard lock(mutex_);
  const size_t share = std::min(kMost, (waiting_.size() + lookers_ - 1) / lookers_);
  while (group.size() < share) {
    if (!group.empty() && waiting_.front().name_space != group[0].name_space) break;
    group.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  if (group.empty()) --lookers_;
  return group;
}

void GroupedGets::GiveBack(std::vector<Get> rest) {
  std::lock_guard lock(mutex_);
  waiting_.insert(waiting_.begin(), std::make_move_iterator(rest.begin()),
                  std::make_move_iterator(rest.end()));
}

void GroupedGets::LookUp() {
  // Its share of what waits now; then other reads get their turn.
  size_t left;
  {
    std::lock_guard lock(mutex_);
    left = waiting_.size() / lookers_ + 1;
  }
  while (left > 0) {
    std::vector<Get> group = TakeGroup();
    if (group.empty()) return;
    std::vector<JobAddress> jobs;
    for (const Get& get : group) jobs.push_back(get.job);
    std::vector<JobStore::Found> found = store_->GetResults(group[0].name_space, jobs, kBytes);
    const auto rest = group.begin() + static_cast<ptrdiff_t>(found.size());
    if (rest != group.end()) {
      GiveBack({std::make_move_iterator(rest), std::make_move_iterator(group.end())});
    }
    for (size_t i = 0; i < found.size(); ++i) group[i].done(std::move(found[i]));
    left -= std::min(left, found.size());
  }
  executor_->Add([self = shared_from_this()] { self->LookUp(); });
}

}  // namespace tiffin::server
