// What the server counts, for Prometheus: http://ADDRESS/metrics in its text format.
#ifndef TIFFIN_SERVER_METRICS_H_
#define TIFFIN_SERVER_METRICS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/service/calls.h"
#include "server/store/blob_catalogue.h"
#include "server/store/job_store.h"
#include "server/store/verifier.h"

namespace tiffin::server {

// Where the numbers come from; all outlive the server. They are read when somebody asks.
struct MetricsSources {
  JobStore* jobs = nullptr;
  BlobCatalogue* blobs = nullptr;
  JobDatabase* database = nullptr;
  Verifier* verifier = nullptr;
  DiskRoom* disk = nullptr;  // may be null
  Calls* calls = nullptr;
};

class MetricsServer {
 public:
  // `address` is HOST:PORT, port 0 a free one. FAILED_PRECONDITION if it cannot be listened on.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& address,
                                                              const MetricsSources& sources);
  virtual ~MetricsServer() = default;
  // With the port it got.
  virtual const std::string& address() const = 0;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_METRICS_H_
