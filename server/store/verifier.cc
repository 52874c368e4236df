#include "server/store/verifier.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "common/status.h"
#include "server/store/damaged.h"

namespace tiffin::server {
namespace {

constexpr int kPage = 500;          // rows read at a time
constexpr size_t kJobsTold = 100;   // of one damaged blob
constexpr size_t kFoundTold = 100;  // damaged blobs of one progress
constexpr auto kTellEvery = std::chrono::milliseconds(200);
constexpr auto kFirstDelay = std::chrono::minutes(1);
constexpr int kTries = 3;  // of a blob that moves, or of a disk that fails
constexpr auto kRetryAfter = std::chrono::seconds(1);

// A blob that is set aside, as it was.
BlobRow Unmarked(BlobRow row) {
  row.location = std::string(WithoutDamage(row.location));
  return row;
}

std::string Text(const std::vector<DamagedRange>& ranges) {
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(ranges.size(), 20); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : "; ", "bytes [", ranges[i].begin, ", ", ranges[i].end,
                    ") ", ranges[i].how);
  }
  if (ranges.size() > 20) absl::StrAppend(&text, "; and ", ranges.size() - 20, " more ranges");
  return text;
}

}  // namespace

// One pass, or what is left of one. Used by one thread.
class Verifier::Pass {
 public:
  Pass(Verifier* owner, const Options& options, Tell tell)
      : owner_(*owner), options_(options), tell_(std::move(tell)), told_(owner_.clock_->Steady()) {}

  // Behind row `*after`, which moves along.
  absl::Status Run(RowId* after) {
    TIFFIN_RETURN_IF_ERROR(owner_.database_->Read([&](JobReader& reader) -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const DatabaseCounts counts, reader.Counts());
      progress_.total_blobs = static_cast<uint64_t>(counts.blobs);
      progress_.total_bytes = static_cast<uint64_t>(counts.blob_bytes);
      return absl::OkStatus();
    }));
    paced_from_ = owner_.clock_->Steady();
    if (*after == 0) {
      TIFFIN_RETURN_IF_ERROR(GoOn(CheckJobs(), "the rows of jobs"));
      TIFFIN_RETURN_IF_ERROR(GoOn(CheckResults(), "results"));
      TIFFIN_RETURN_IF_ERROR(GoOn(CheckAliases(), "aliases"));
      TIFFIN_RETURN_IF_ERROR(GoOn(CheckValues(), "the digests of values"));
    }
    TIFFIN_RETURN_IF_ERROR(
        EachPage<BlobRow>([&](JobReader& reader) { return reader.ListAllBlobs(*after, kPage); },
                          [&](const std::vector<BlobRow>& page) -> absl::Status {
                            for (const BlobRow& row : page) {
                              TIFFIN_RETURN_IF_ERROR(CheckBlob(row));
                              *after = row.id;
                            }
                            return absl::OkStatus();
                          }));
    ++owner_.counters_.passes;
    *after = 0;
    finished_ = true;
    TIFFIN_RETURN_IF_ERROR(TellNow());
    return obstacle_;
  }
  // Run came to the end, whatever it met on the way.
  bool finished() const { return finished_; }

 private:
  // What cannot be looked at keeps nothing else from being checked: it is told at the end. Only who
  // stops the pass does.
  absl::Status GoOn(const absl::Status& status, std::string_view what) {
    if (status.ok() || absl::IsCancelled(status)) return status;
    const absl::Status told =
        absl::DataLossError(StrCat("not all could be checked: ", what, ": ", status.message()));
    spdlog::error("event=verify error=\"{}\"", told.ToString());
    if (obstacle_.ok()) obstacle_ = told;
    return absl::OkStatus();
  }

  // Until a page is empty, each on a snapshot of its own. `check` moves on what `list` begins with.
  template <typename Row>
  absl::Status EachPage(const std::function<absl::StatusOr<std::vector<Row>>(JobReader&)>& list,
                        const std::function<absl::Status(const std::vector<Row>&)>& check) {
    while (true) {
      std::vector<Row> page;
      TIFFIN_RETURN_IF_ERROR(owner_.database_->Read([&](JobReader& reader) -> absl::Status {
        TIFFIN_ASSIGN_OR_RETURN(page, list(reader));
        return absl::OkStatus();
      }));
      if (page.empty()) return absl::OkStatus();
      TIFFIN_RETURN_IF_ERROR(check(page));
    }
  }

  // Rows are small beside blobs, so that a pass which goes on does not look at them again.
  absl::Status CheckJobs() {
    RowId after = 0;
    return EachPage<JobRow>(
        [&](JobReader& reader) { return reader.ListAllJobs(after, kPage); },
        [&](const std::vector<JobRow>& page) {
          uint64_t bytes = 0;
          for (const JobRow& row : page) {
            after = row.id;
            ++progress_.jobs;
            bytes += sizeof(row) + row.function.size() + row.version.size();
            if (!row.damaged) continue;
            ++progress_.damaged_jobs;
            progress_.found_jobs.push_back({row.id, row.key});
            spdlog::error(
                "event=damaged row={} key={} error=\"the row of a job differs from its checksum\"",
                row.id, row.key.ToText());
          }
          return progress_.found_jobs.size() < kFoundTold ? Pace(bytes) : TellNow();
        });
  }

  absl::Status CheckResults() {
    RowId after = 0;
    while (true) {
      uint64_t bytes = 0;
      size_t rows = 0;
      TIFFIN_RETURN_IF_ERROR(owner_.database_->Read([&](JobReader& reader) -> absl::Status {
        TIFFIN_ASSIGN_OR_RETURN(const std::vector<ResultUse> page,
                                reader.ListResultUses(after, kPage));
        rows = page.size();
        for (const ResultUse& use : page) {
          after = use.job;
          TIFFIN_ASSIGN_OR_RETURN(const std::optional<ResultRow> result,
                                  reader.FindResult(use.job));
          if (!result) continue;
          ++progress_.results;
          bytes += result->record.size() + result->log.size();
          if (!result->damaged) continue;
          ++progress_.damaged_results;
          owner_.jobs_->WithdrawDamagedResult(use.job);
          TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> job, FindSoundJob(reader, use.job));
          if (job) progress_.found_results.push_back(job->key);
        }
        return absl::OkStatus();
      }));
      if (rows == 0) return absl::OkStatus();
      if (!progress_.found_results.empty()) {  // told when they are taken back
        TIFFIN_RETURN_IF_ERROR(
            owner_.database_->WriteAndWait([](JobTransaction&) { return absl::OkStatus(); }));
      }
      TIFFIN_RETURN_IF_ERROR(Pace(bytes));
    }
  }

  absl::Status CheckAliases() {
    AliasRow after;
    return EachPage<AliasRow>(
        [&](JobReader& reader) { return reader.ListAllAliases(after, kPage); },
        [&](const std::vector<AliasRow>& page) {
          uint64_t bytes = 0;
          for (const AliasRow& row : page) {
            ++progress_.rows;
            bytes += sizeof(row) + row.profile.size() + row.name.size();
            if (row.damaged) NoteDamagedRow("aliases", StrCat(row.profile, " ", row.name));
          }
          after = page.back();
          return progress_.found_rows.size() < kFoundTold ? Pace(bytes) : TellNow();
        });
  }

  absl::Status CheckValues() {
    std::optional<Digest> after;
    return EachPage<ValueRow>([&](JobReader& reader) { return reader.ListValues(after, kPage); },
                              [&](const std::vector<ValueRow>& page) {
                                for (const ValueRow& row : page) {
                                  ++progress_.rows;
                                  if (row.damaged)
                                    NoteDamagedRow("value_digests", row.value.ToText());
                                }
                                after = page.back().value;
                                const uint64_t bytes = page.size() * sizeof(ValueRow);
                                return progress_.found_rows.size() < kFoundTold ? Pace(bytes)
                                                                                : TellNow();
                              });
  }

  void NoteDamagedRow(std::string table, std::string what) {
    ++progress_.damaged_rows;
    spdlog::error("event=damaged table={} row=\"{}\" error=\"the row differs from its checksum\"",
                  table, absl::CHexEscape(what));
    progress_.found_rows.push_back({std::move(table), std::move(what)});
  }

  absl::Status CheckBlob(BlobRow row) {
    for (int attempt = 0;; ++attempt) {
      const absl::StatusOr<Finding> found = Examine(Unmarked(row));
      const bool gone = absl::IsNotFound(found.status());
      if (!found.ok() && !gone) return GoOn(found.status(), row.name.ToText());
      if (found.ok() && found->what.empty() && !IsDamaged(row)) break;
      // A disk that fails may work again in a moment: its blobs are not given up for that.
      if (found.ok() && found->unreadable && attempt + 1 < kTries) {
        TIFFIN_RETURN_IF_ERROR(WaitUntil(owner_.clock_->Steady() + kRetryAfter));
        continue;
      }
      // It may have moved, or been removed, since the row was read.
      std::optional<BlobRow> now;
      TIFFIN_RETURN_IF_ERROR(owner_.database_->Read([&](JobReader& reader) -> absl::Status {
        TIFFIN_ASSIGN_OR_RETURN(now, reader.FindBlob(row.id));
        return absl::OkStatus();
      }));
      if (!now) return absl::OkStatus();
      const bool moved = WithoutDamage(now->location) != WithoutDamage(row.location);
      row = *std::move(now);
      if (moved && attempt < kTries) continue;
      TIFFIN_RETURN_IF_ERROR(NoteDamage(row, gone ? std::string("its pack is gone") : found->what));
      break;
    }
    ++progress_.blobs;
    ++owner_.counters_.blobs;
    progress_.total_blobs = std::max(progress_.total_blobs, progress_.blobs);
    return TellInTime();
  }

  struct Finding {
    std::string what;         // is wrong; empty: nothing
    bool unreadable = false;  // that is that the disk fails
  };
  absl::StatusOr<Finding> Examine(const BlobRow& row) {
    std::optional<Sha256> hash;
    if (options_.keys) hash = StartBlobKey(row.name.dtype, row.name.shape);
    const auto on_block = [&](std::string_view bytes) {
      if (hash) hash->Update(bytes);
      progress_.bytes += bytes.size();
      owner_.counters_.bytes += bytes.size();
      progress_.total_bytes = std::max(progress_.total_bytes, progress_.bytes);
      return Pace(bytes.size());
    };
    TIFFIN_ASSIGN_OR_RETURN(
        const std::vector<DamagedRange> ranges,
        owner_.store_->Verify({row.location, row.checksums, nullptr}, row.size, on_block));
    if (!ranges.empty()) {
      const bool unreadable = std::all_of(
          ranges.begin(), ranges.end(), [](const DamagedRange& range) { return range.unreadable; });
      return Finding{Text(ranges), unreadable};
    }
    if (!hash) return Finding();
    const Digest key = hash->Finish();
    if (key == row.name.key) return Finding();
    return Finding{StrCat("its bytes have the key ", key.ToText())};
  }

  absl::Status NoteDamage(const BlobRow& row, std::string what) {
    DamageFound found{row.name, "", 0, std::move(what), {}};
    if (IsDamaged(row)) {
      found.what = found.what.empty() ? "set aside before; its bytes are sound now: put it again"
                                      : "set aside before: " + found.what;
    }
    if (const auto place = owner_.store_->Locate(WithoutDamage(row.location))) {
      found.file = place->path;
      found.offset = place->offset;
    }
    TIFFIN_RETURN_IF_ERROR(owner_.database_->Read([&](JobReader& reader) -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> jobs, ResultsNeeding(reader, row.id));
      for (const RowId id : jobs) {
        if (found.jobs.size() == kJobsTold) break;
        TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> job, FindSoundJob(reader, id));
        if (job && job->state == JobState::kDone) found.jobs.push_back(job->key);
      }
      return absl::OkStatus();
    }));
    if (IsDamaged(row)) {
      owner_.blobs_->TellDamage(row.id);  // as it may not have been possible then
    } else {
      (void)owner_.blobs_->ReportDamage(row, absl::DataLossError(found.what));
    }
    ++progress_.damaged;
    progress_.found.push_back(std::move(found));
    return progress_.found.size() < kFoundTold ? absl::OkStatus() : TellNow();
  }

  // Counts bytes that were read, and waits until they may have been.
  absl::Status Pace(uint64_t bytes) {
    paced_ += bytes;
    TIFFIN_RETURN_IF_ERROR(TellInTime());
    if (options_.bytes_per_second == 0) return absl::OkStatus();
    const std::chrono::duration<double> due(static_cast<double>(paced_) /
                                            static_cast<double>(options_.bytes_per_second));
    return WaitUntil(paced_from_ + std::chrono::duration_cast<SteadyTime::duration>(due));
  }

  absl::Status WaitUntil(SteadyTime until) {
    for (SteadyTime now = owner_.clock_->Steady(); now < until; now = owner_.clock_->Steady()) {
      {
        std::unique_lock lock(owner_.mutex_);
        if (owner_.stop_) return absl::CancelledError("the server is stopping");
        owner_.clock_->WaitUntil(lock, owner_.wake_, std::min(until, now + kTellEvery));
      }
      TIFFIN_RETURN_IF_ERROR(TellInTime());
    }
    return absl::OkStatus();
  }

  absl::Status TellInTime() {
    if (owner_.clock_->Steady() - told_ < kTellEvery) return absl::OkStatus();
    return TellNow();
  }
  absl::Status TellNow() {
    told_ = owner_.clock_->Steady();
    const bool go_on = tell_(progress_);
    progress_.found.clear();
    progress_.found_results.clear();
    progress_.found_jobs.clear();
    progress_.found_rows.clear();
    return go_on ? absl::OkStatus() : absl::CancelledError("nobody listens any more");
  }

  Verifier& owner_;
  const Options options_;
  const Tell tell_;
  VerifyProgress progress_;
  absl::Status obstacle_;  // the first
  bool finished_ = false;
  uint64_t paced_ = 0;  // bytes read, of results too
  SteadyTime told_, paced_from_;
};

absl::Status Verifier::Run(const Options& options, const Tell& tell) {
  RowId after = 0;
  return Pass(this, options, tell).Run(&after);
}

void Verifier::Start(const Background& background) {
  if (background.bytes_per_second == 0) return;
  const SteadyTime first =
      clock_->Steady() + std::min<std::chrono::milliseconds>(background.every, kFirstDelay);
  thread_ = std::thread([=, this] { RunInBackground(background, first); });
}

void Verifier::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Verifier::RunInBackground(Background background, SteadyTime next) {
  const auto stopped = [this] {
    std::lock_guard lock(mutex_);
    return stop_;
  };
  RowId after = 0;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      while (!stop_ && clock_->Steady() < next) clock_->WaitUntil(lock, wake_, next);
      if (stop_) return;
    }
    next = clock_->Steady() + background.every;
    Pass pass(this, {true, background.bytes_per_second},
              [&](const VerifyProgress&) { return !stopped(); });
    const absl::Status status = pass.Run(&after);
    if (status.ok()) {
      after = 0;
    } else if (!absl::IsCancelled(status)) {
      spdlog::warn("event=verify error=\"{}\"", status.ToString());
      // A pass that was broken off goes on soon.
      if (!pass.finished()) {
        next =
            clock_->Steady() + std::min<std::chrono::milliseconds>(background.every, kFirstDelay);
      }
    }
  }
}

}  // namespace tiffin::server
