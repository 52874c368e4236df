#include "server/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>

#include <exception>
#include <limits>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "common/status.h"

namespace tiffin::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

class Families {
 public:
  void Gauge(const char* name, const char* help, double value) {
    Add(name, help, MetricType::Gauge).gauge.value = value;
  }
  // Since the start.
  void Counter(const char* name, const char* help, double value) {
    Add(name, help, MetricType::Counter).counter.value = value;
  }
  MetricFamily& New(const char* name, const char* help, MetricType type) {
    families_.push_back({name, help, type, {}});
    return families_.back();
  }
  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  ClientMetric& Add(const char* name, const char* help, MetricType type) {
    return New(name, help, type).metric.emplace_back();
  }
  std::vector<MetricFamily> families_;
};

double Number(uint64_t value) { return static_cast<double>(value); }

void AddCalls(const std::vector<CallMeter::Rpc>& rpcs, Families* out) {
  MetricFamily& ended = out->New("tiffin_rpcs_total", "Calls that ended.", MetricType::Counter);
  for (const CallMeter::Rpc& rpc : rpcs) {
    for (size_t code = 0; code < rpc.codes.size(); ++code) {
      if (rpc.codes[code] == 0) continue;
      ClientMetric& metric = ended.metric.emplace_back();
      metric.label = {{"rpc", rpc.name},
                      {"code", std::string(CodeName(static_cast<grpc::StatusCode>(code)))}};
      metric.counter.value = Number(rpc.codes[code]);
    }
  }
  MetricFamily& took = out->New(
      "tiffin_rpc_seconds", "How long calls took; streams until their end.", MetricType::Histogram);
  for (const CallMeter::Rpc& rpc : rpcs) {
    ClientMetric& metric = took.metric.emplace_back();
    metric.label = {{"rpc", rpc.name}};
    uint64_t sum = 0;
    for (size_t i = 0; i < rpc.buckets.size(); ++i) {
      sum += rpc.buckets[i];
      metric.histogram.bucket.push_back({sum, i < CallMeter::kBounds.size()
                                                  ? CallMeter::kBounds[i]
                                                  : std::numeric_limits<double>::infinity()});
    }
    metric.histogram.sample_count = sum;
    metric.histogram.sample_sum = rpc.seconds;
  }
}

void AddStored(const DatabaseCounts& counts, Families* out) {
  const auto gauge = [out](const char* name, const char* help, int64_t value) {
    out->Gauge(name, help, static_cast<double>(value));
  };
  gauge("tiffin_namespaces", "Namespaces.", counts.namespaces);
  gauge("tiffin_jobs", "Jobs that are known.", counts.jobs);
  gauge("tiffin_jobs_done", "Jobs whose result is stored.", counts.done);
  gauge("tiffin_jobs_failed", "Jobs whose last ending was an error.", counts.failed);
  gauge("tiffin_leases", "Leases that are out.", counts.leases);
  gauge("tiffin_aliases", "Aliases.", counts.aliases);
  gauge("tiffin_sessions", "Sessions that were ever seen.", counts.sessions);
  gauge("tiffin_blobs", "Blobs.", counts.blobs);
  gauge("tiffin_blob_bytes", "Bytes of blobs.", counts.blob_bytes);
  gauge("tiffin_nondeterministic_results", "Results that differed from the stored one.",
        counts.evidence);
}

void AddJobs(JobStore& jobs, Families* out) {
  const JobCounters& since = jobs.counters();
  out->Gauge("tiffin_waiting", "Jobs awaited on open streams.", Number(jobs.waiting()));
  out->Counter("tiffin_submits_total", "Jobs submitted.", Number(since.submits));
  out->Counter("tiffin_retrieved_total", "Jobs answered with their result.",
               Number(since.retrieved));
  out->Counter("tiffin_granted_total", "Leases granted.", Number(since.granted));
  out->Counter("tiffin_attached_total", "Jobs that somebody computed already.",
               Number(since.attached));
  out->Counter("tiffin_stored_results_total", "Results stored.", Number(since.stored));
  out->Counter("tiffin_damaged_results_total", "Results that differed from their checksums.",
               Number(since.damaged));
  out->Counter("tiffin_lapsed_leases_total", "Leases that lapsed.", Number(since.lapsed));
}

class Collected : public prometheus::Collectable {
 public:
  explicit Collected(const MetricsSources& sources) : sources_(sources) {}

  std::vector<MetricFamily> Collect() const override {
    Families out;
    MetricFamily& build = out.New("tiffin_build_info", "The running version.", MetricType::Gauge);
    build.metric.emplace_back().label = {{"version", TIFFIN_VERSION}};
    build.metric.back().gauge.value = 1;
    out.Gauge("tiffin_start_time_seconds", "When the server started, Unix time.",
              absl::ToDoubleSeconds(started_ - absl::UnixEpoch()));
    // What cannot be read is left out: Prometheus tells an absent number from a zero.
    if (const auto counts = sources_.jobs->Counts(); counts.ok()) AddStored(*counts, &out);
    if (const auto damaged = sources_.blobs->SetAsideBlobs(); damaged.ok()) {
      out.Gauge("tiffin_damaged_blobs", "Blobs set aside until they are stored again.",
                Number(*damaged));
    }
    AddJobs(*sources_.jobs, &out);
    out.Counter("tiffin_damage_found_total", "Blobs found damaged.",
                Number(sources_.blobs->damage_found()));
    const VerifyCounters& verified = sources_.verifier->counters();
    out.Counter("tiffin_verified_blobs_total", "Blobs read to find damage.",
                Number(verified.blobs));
    out.Counter("tiffin_verified_bytes_total", "Bytes read to find damage.",
                Number(verified.bytes));
    out.Counter("tiffin_verify_passes_total", "Readings of all blobs.", Number(verified.passes));
    AddDisk(&out);
    out.Gauge("tiffin_memory_in_flight_bytes", "Bytes of calls in flight.",
              Number(sources_.calls->bytes_in_flight()));
    AddCalls(sources_.calls->meter().Snapshot(), &out);
    return out.Take();
  }

 private:
  void AddDisk(Families* out) const {
    const BlobStoreStats bytes = sources_.blobs->StoreStats();
    out->Gauge("tiffin_database_bytes", "Bytes of the database and its log on disk.",
               Number(sources_.database->DiskBytes()));
    out->Gauge("tiffin_open_pack_bytes", "Bytes in packs not sealed yet.",
               Number(bytes.open_bytes));
    out->Gauge("tiffin_upload_bytes", "Bytes of uploads that can be resumed.",
               Number(bytes.upload_bytes));
    if (sources_.disk == nullptr) return;
    const DiskRoom::State disk = sources_.disk->state();
    out->Gauge("tiffin_disk_bytes", "Size of the data folder's file system.",
               Number(disk.total_bytes));
    out->Gauge("tiffin_disk_free_bytes", "What is free of it.", Number(disk.free_bytes));
    out->Gauge("tiffin_disk_full", "1 while writes are refused.", disk.full ? 1 : 0);
    out->Gauge("tiffin_disk_reserve_bytes", "Kept to be given up when the disk is full.",
               Number(disk.reserve_bytes));
  }

  const MetricsSources sources_;
  const absl::Time started_ = absl::Now();
};

class MetricsServerImpl : public MetricsServer {
 public:
  MetricsServerImpl(const std::string& address, const MetricsSources& sources)
      : exposer_(address), collected_(std::make_shared<Collected>(sources)) {
    exposer_.RegisterCollectable(collected_);
    const std::vector<int> ports = exposer_.GetListeningPorts();
    address_ =
        address.substr(0, address.rfind(':') + 1) + std::to_string(ports.empty() ? 0 : ports[0]);
  }
  const std::string& address() const override { return address_; }

 private:
  prometheus::Exposer exposer_;
  const std::shared_ptr<Collected> collected_;  // the exposer has a weak one
  std::string address_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& address,
                                                                    const MetricsSources& sources) {
  try {
    return std::make_unique<MetricsServerImpl>(address, sources);
  } catch (const std::exception& error) {
    return absl::FailedPreconditionError(
        StrCat("--metrics ", address, ": cannot listen there (", error.what(), ")"));
  }
}

}  // namespace tiffin::server
