// Calls of the job store that wait for their answer, as tests want them.
#ifndef TIFFIN_TESTS_SUPPORT_STORE_CALLS_H_
#define TIFFIN_TESTS_SUPPORT_STORE_CALLS_H_

#include <functional>
#include <future>
#include <string_view>
#include <utility>

#include "common/status.h"
#include "server/store/job_store.h"

namespace tiffin::server {

// A hit, or what a miss is answered.
inline absl::StatusOr<SubmitAnswer> SubmitAndWait(JobStore& store, const CallerInfo& caller,
                                                  std::string_view job_json,
                                                  const SubmitOptions& options) {
  TIFFIN_ASSIGN_OR_RETURN(PreparedJob job, store.Prepare(job_json));
  TIFFIN_ASSIGN_OR_RETURN(std::optional<SubmitAnswer> hit, store.SubmitHit(caller, job));
  if (hit) return *std::move(hit);
  const auto told = std::make_shared<std::promise<absl::StatusOr<SubmitAnswer>>>();
  std::future<absl::StatusOr<SubmitAnswer>> answer = told->get_future();
  store.SubmitMiss(
      caller, std::move(job), options, [](const std::function<void()>& wait) { wait(); },
      [told](absl::StatusOr<SubmitAnswer> given) { told->set_value(std::move(given)); });
  return answer.get();
}

inline absl::Status StoreAndWait(JobStore& store, const CallerInfo& caller, StoreRequest request,
                                 StoreAnswer* answer) {
  using Fate = std::pair<absl::Status, StoreAnswer>;
  const auto told = std::make_shared<std::promise<Fate>>();
  std::future<Fate> fate = told->get_future();
  store.StoreResult(
      caller, std::move(request), [](const std::function<void()>& wait) { wait(); },
      [told](const absl::Status& status, const StoreAnswer& given) {
        told->set_value({status, given});
      });
  Fate got = fate.get();
  *answer = std::move(got.second);
  return std::move(got.first);
}

}  // namespace tiffin::server

#endif  // TIFFIN_TESTS_SUPPORT_STORE_CALLS_H_
