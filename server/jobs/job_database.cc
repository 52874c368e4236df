#include "server/jobs/job_database.h"

#include <future>
#include <memory>
#include <utility>

#include "absl/strings/cord.h"
#include "common/strings.h"

namespace tiffin::server {
namespace {

constexpr char kDamagedRow[] = "tiffin/damaged-job-row";  // a payload of statuses

}  // namespace

absl::Status DamagedJobRow() {
  absl::Status status = absl::DataLossError(
      "the row of this job differs from its checksum; stop the server and run `tiffin-server "
      "--rebuild --data …`, "
      "after which it is a new job");
  status.SetPayload(kDamagedRow, absl::Cord());
  return status;
}

absl::Status DamagedIndexedRow(std::string_view what) {
  return absl::DataLossError(
      StrCat("the row of ", what,
             " differs from its checksum and from its index; stop the server and "
             "run `tiffin-server --rebuild --data …`"));
}

bool IsDamagedJobRow(const absl::Status& status) {
  return absl::IsDataLoss(status) && status.GetPayload(kDamagedRow).has_value();
}

absl::Status JobDatabase::WriteAndWait(std::function<absl::Status(JobTransaction&)> apply) {
  // Shared: the writer may still be inside set_value when the waiter has its answer and returns.
  auto answer = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> fate = answer->get_future();
  Write({.apply = std::move(apply),
         .done = [answer](absl::Status status) { answer->set_value(std::move(status)); }});
  return fate.get();
}

}  // namespace tiffin::server
