#include "server/jobs/job_database.h"

#include <future>
#include <memory>
#include <utility>

namespace tiffin::server {

absl::Status JobDatabase::WriteAndWait(std::function<absl::Status(JobTransaction&)> apply) {
  // Shared: the writer may still be inside set_value when the waiter has its answer and returns.
  auto answer = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> fate = answer->get_future();
  Write({.apply = std::move(apply),
         .done = [answer](absl::Status status) { answer->set_value(std::move(status)); }});
  return fate.get();
}

}  // namespace tiffin::server
