// Random events from many clients, restarts in between: after each, the store's rows and what
// waiters heard are as the reference says.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <condition_variable>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>

#include "common/strings.h"
#include "server/blobs/memory_blob_store.h"
#include "server/jobs/memory_job_database.h"
#include "server/store/job_store.h"
#include "tests/model/reference.h"
#include "tests/support/manual_clock.h"
#include "tests/support/store_calls.h"

namespace tiffin::server {
namespace {

constexpr int kEvents = 120'000;
constexpr int kJobs = 10;
constexpr int kClients = 5;

// Knows when everything that was written, and what followed from it, is finished.
class CountingDatabase : public JobDatabase {
 public:
  explicit CountingDatabase(std::unique_ptr<JobDatabase> base) : base_(std::move(base)) {}
  void Write(WriteOp op) override {
    {
      std::lock_guard lock(mutex_);
      ++running_;
    }
    base_->Write({std::move(op.apply), [this, done = std::move(op.done)](absl::Status status) {
                    if (done) done(std::move(status));
                    std::lock_guard lock(mutex_);
                    if (--running_ == 0) idle_.notify_all();
                  }});
  }
  absl::Status Read(const std::function<absl::Status(JobReader&)>& look) override {
    return base_->Read(look);
  }
  void Close() override { base_->Close(); }
  void OnFatal(std::function<void(absl::Status)> callback) override {
    base_->OnFatal(std::move(callback));
  }
  uint64_t DiskBytes() const override { return base_->DiskBytes(); }
  void WaitUntilIdle() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return running_ == 0; });
  }

 private:
  const std::unique_ptr<JobDatabase> base_;
  std::mutex mutex_;
  std::condition_variable idle_;
  int running_ = 0;
};

// One open Await of a client.
struct Stream {
  Waiters::SessionId id = 0;
  bool can_compute = false;
  uint64_t capacity = 0;
  uint64_t next = 0;
  std::map<uint64_t, int> waiting;  // index to job
};

struct Heard {
  Waiters::SessionId stream;
  uint64_t index;
  WaitEvent event;
};

// $TIFFIN_SEED plays a run again.
uint64_t Seed() {
  const char* text = std::getenv("TIFFIN_SEED");
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10)
                                          : std::random_device()();
}

class JobModelTest : public testing::Test {
 protected:
  JobModelTest()
      : seed_(Seed()),
        random_(seed_),
        database_(MakeMemoryJobDatabase()),
        bytes_(MakeMemoryBlobStore()),
        blobs_(&database_, bytes_.get(), &clock_) {
    spdlog::set_level(spdlog::level::warn);
    EXPECT_TRUE(blobs_.Start().ok());
    StartStore();
    for (int i = 0; i < kJobs; ++i) keys_.push_back(store_->Prepare(Json(i))->row.key);
  }
  ~JobModelTest() override {
    store_->Stop();
    blobs_.Stop();
    database_.Close();
  }

  void StartStore() {
    JobStore::Options options;
    options.limits.max_lost = Reference::kMaxLost;
    options.max_hold = absl::FromChrono(Reference::kMaxHold);
    store_ = std::make_unique<JobStore>(&database_, &blobs_, &clock_, options);
    EXPECT_TRUE(store_->Start().ok());
  }

  int Below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  static std::string Json(int job) {
    return StrCat(R"({"function": "f", "arguments": [)", job, "]}");
  }
  static CallerInfo Caller(int client) {
    CallerInfo caller;
    caller.session.token = StrCat("session", client);
    caller.session.host = StrCat("host", client);
    return caller;
  }
  static std::string Workflow(int n) {
    return StrCat(R"({"_noodles":"0.3.0","type":"<object>","class":)",
                  R"("noodles.workflow.model.Workflow","data":{"root":)", n,
                  R"(,"nodes":[],"links":[]}})");
  }
  ReferenceLease Adopt(const LeaseRow& lease) {
    EXPECT_GT(lease.epoch, last_epoch_) << "epochs only grow";
    last_epoch_ = lease.epoch;
    leases_.push_back({lease.lease_id, lease.epoch});
    return {.id = lease.lease_id,
            .request = lease.request_id,
            .epoch = lease.epoch,
            .term = Millis(absl::ToInt64Milliseconds(lease.term))};
  }

  // ---- events ---------------------------------------------------------------------------------

  void Submit(int job) {
    SubmitOptions options{.can_compute = Below(4) != 0,
                          .term = absl::Seconds(5 + Below(50)),
                          .discard_result = Below(8) == 0,
                          .answer_failures = absl::Seconds(Below(2) * 20)};
    const int client = Below(kClients);
    CallerInfo caller = Caller(client);
    // Clients that count their calls have the same ids: only their own are the same call.
    if (Below(3) == 0) caller.request_id = StrCat("r", Below(3));
    const auto answer = SubmitAndWait(*store_, caller, Json(job), options);
    ASSERT_TRUE(answer.ok()) << answer.status();
    using Outcome = SubmitAnswer::Outcome;
    ReferenceJob& ref = reference_.jobs[job];
    ref.known = true;
    const ReferenceJob& end = reference_.jobs[reference_.End(job)];
    if (end.state == JobState::kDone) {
      ASSERT_EQ(answer->outcome, Outcome::kRetrieved);
      EXPECT_EQ(answer->result->row.record, end.record);
    } else if (end.lease) {
      if (&end == &ref && !caller.request_id.empty() && end.lease->request == caller.request_id &&
          end.lease->client == client) {
        ASSERT_EQ(answer->outcome, Outcome::kGranted);
        EXPECT_EQ(answer->lease->lease_id, end.lease->id);
      } else {
        ASSERT_EQ(answer->outcome, Outcome::kAttached);
        EXPECT_EQ(answer->holder->epoch, end.lease->epoch);
      }
    } else if (end.state == JobState::kFailed &&
               absl::FromChrono(reference_.now - end.stored_at) < options.answer_failures) {
      ASSERT_EQ(answer->outcome, Outcome::kFailed);
    } else if (options.can_compute) {
      ASSERT_EQ(answer->outcome, Outcome::kGranted);
      const bool workflow = ref.state == JobState::kUnfolding || ref.state == JobState::kLinked;
      EXPECT_EQ(answer->workflow.has_value(), workflow);
      ReferenceLease lease = Adopt(*answer->lease);
      lease.client = client;
      reference_.Grant(job, std::move(lease), !options.discard_result);
    } else {
      ASSERT_EQ(answer->outcome, Outcome::kOpen);
      ref.keep = !options.discard_result;
    }
  }

  // The job's live lease, one of another time, or none.
  std::pair<std::string, int64_t> SomeLease(int job) {
    const auto& lease = reference_.jobs[job].lease;
    const int what = Below(10);
    if (lease && what < 7) return {lease->id, what == 0 ? 0 : lease->epoch};
    if (what == 7 || leases_.empty()) return {"", 0};
    // An epoch between the job's grants that another job had is taken (server/DESIGN.md): only such
    // that were this job's are tried.
    const auto& epochs = reference_.jobs[job].epochs;
    if (epochs.empty()) return {"", 0};
    auto it = epochs.begin();
    std::advance(it, Below(static_cast<int>(epochs.size())));
    return {"lapsed", *it};
  }

  void Store(int job) {
    const int what = Below(10);
    const auto kind = what < 5   ? Reference::Kind::kValue
                      : what < 7 ? Reference::Kind::kError
                                 : Reference::Kind::kWorkflow;
    StoreRequest request;
    request.key = keys_[job];
    std::tie(request.lease_id, request.epoch) = SomeLease(job);
    const int n = Below(2);
    request.record = kind == Reference::Kind::kWorkflow ? Workflow(n) : std::to_string(n);
    if (kind == Reference::Kind::kError) request.kind = ResultKind::kError;
    StoreAnswer answer;
    const absl::Status status = StoreAndWait(*store_, Caller(0), request, &answer);
    EXPECT_EQ(status.code(),
              reference_.Store(job, kind, request.lease_id, request.epoch, request.record))
        << status;
  }

  void Link(int job) {
    const std::string lease = SomeLease(job).first;
    const int target = Below(kJobs);
    const absl::Status status = store_->Link(Caller(0), keys_[job], lease, keys_[target]);
    EXPECT_EQ(status.code(), reference_.Link(job, lease, target)) << status;
  }

  void Renew() {
    std::vector<std::string> ids;
    std::vector<int> jobs;
    for (int job = 0; job < kJobs; ++job) {
      if (!reference_.jobs[job].lease || Below(2) == 0) continue;
      ids.push_back(reference_.jobs[job].lease->id);
      jobs.push_back(job);
    }
    const bool progress = Below(4) == 0;
    for (const Renewal renewal : store_->Renew(ids, progress)) {
      EXPECT_EQ(renewal, Renewal::kRenewed);
    }
    for (const int job : jobs) reference_.Renew(job, progress);
  }

  void Release(int job) {
    if (Below(2) == 0) {
      EXPECT_EQ(*store_->ForceRelease("default", {keys_[job]}),
                reference_.jobs[job].lease.has_value());
    } else {
      const std::string id = reference_.jobs[job].lease ? reference_.jobs[job].lease->id : "none";
      EXPECT_EQ(*store_->Release({id}), reference_.jobs[job].lease.has_value());
    }
    reference_.Release(job);
  }

  void Withdraw(int job) {
    RowId id = 0;
    Look([&](JobReader& reader, RowId ns) {
      const auto row = reader.FindJob(ns, keys_[job]);
      if (*row) id = (*row)->id;
    });
    const auto why = static_cast<Tombstone>(1 + Below(3));
    EXPECT_EQ(*store_->Withdraw({id}, why), reference_.Withdraw(job, why));
  }

  void Listen() {
    Stream stream;
    stream.can_compute = Below(3) != 0;
    AwaitSession session;
    session.can_compute = stream.can_compute;
    session.term = absl::Seconds(5 + Below(50));
    session.caller = Caller(Below(kClients));
    session.tell = [this, id = streams_.size()](uint64_t index, WaitEvent event) {
      std::lock_guard lock(heard_mutex_);
      heard_.push_back({id, index, std::move(event)});
    };
    stream.id = store_->OpenAwait(std::move(session));
    streams_.push_back(stream);
  }

  Stream* AnyStream() {
    std::vector<Stream*> open;
    for (Stream& stream : streams_) {
      if (stream.id != 0) open.push_back(&stream);
    }
    return open.empty() ? nullptr : open[Below(static_cast<int>(open.size()))];
  }

  void Wait() {
    Stream* stream = AnyStream();
    if (!stream) return Listen();
    std::vector<AwaitItem> items;
    for (int i = Below(4); i >= 0; --i) {
      const int job = Below(kJobs);
      stream->waiting[stream->next] = job;
      // Failures of the past are asked for now and then.
      items.push_back({stream->next++, keys_[job], Below(2)});
    }
    store_->Await(stream->id, Caller(0), std::move(items));
  }

  void AddCapacity() {
    Stream* stream = AnyStream();
    if (!stream || !stream->can_compute) return;
    const int more = 1 + Below(3);
    stream->capacity += more;
    store_->AddCapacity(stream->id, more);
  }

  void CloseStream(Stream* stream) {
    if (!stream) return;
    store_->CloseAwait(stream->id);
    stream->id = 0;
    stream->waiting.clear();
  }

  void Restart() {
    for (Stream& stream : streams_) {
      if (stream.id != 0) CloseStream(&stream);
    }
    database_.WaitUntilIdle();
    Drain();
    store_.reset();
    reference_.Restart();
    StartStore();
  }

  void Advance(Millis by) {
    reference_.Advance(by);
    clock_.Advance(by);
  }

  void AnyEvent() {
    const int job = Below(kJobs);
    const int what = Below(200);
    if (what < 60) return Submit(job);
    if (what < 105) return Store(job);
    if (what < 120) return Link(job);
    if (what < 130) return Renew();
    if (what < 137) return Release(job);
    if (what < 145) return Withdraw(job);
    if (what < 149) return Listen();
    if (what < 170) return Wait();
    if (what < 180) return AddCapacity();
    if (what < 184) return CloseStream(AnyStream());
    if (what < 185) return Restart();
    Advance(Millis(Below(20'000)));
  }

  // ---- checks ---------------------------------------------------------------------------------

  void Look(const std::function<void(JobReader&, RowId)>& look) {
    EXPECT_TRUE(database_
                    .Read([&](JobReader& reader) -> absl::Status {
                      look(reader, *reader.FindNamespace("default"));
                      return absl::OkStatus();
                    })
                    .ok());
  }

  // What waiters heard: each ending once, and true.
  void Drain() {
    std::vector<Heard> heard;
    {
      std::lock_guard lock(heard_mutex_);
      heard.swap(heard_);
    }
    for (const Heard& each : heard) {
      Stream& stream = streams_[each.stream];
      if (stream.id == 0) continue;  // closed in this very step
      using Kind = WaitEvent::Kind;
      const Kind kind = each.event.kind;
      ASSERT_TRUE(stream.waiting.contains(each.index)) << "told after its ending";
      if (kind == Kind::kAttached || kind == Kind::kOpen) continue;
      const int job = stream.waiting.at(each.index);
      stream.waiting.erase(each.index);
      const ReferenceJob& end = reference_.jobs[reference_.End(job)];
      if (kind == Kind::kGranted) {
        ASSERT_TRUE(reference_.Free(job)) << "granted what is not free";
        ASSERT_GT(stream.capacity, 0u);
        --stream.capacity;
        reference_.Grant(job, Adopt(*each.event.lease), reference_.jobs[job].keep);
        continue;
      }
      ASSERT_NE(kind, Kind::kError);
      const std::string& record = each.event.result->row.record;
      bool true_now = end.state == (kind == Kind::kResult ? JobState::kDone : JobState::kFailed) &&
                      (record == end.record || end.record == "LOST");
      for (const auto& [ended, with] : reference_.endings) {
        true_now |= ended == job && (record == with || with == "LOST");
      }
      EXPECT_TRUE(true_now) << "an ending that is not so: " << record;
    }
  }

  void Check() {
    database_.WaitUntilIdle();
    const auto endings = reference_.endings;
    // Who waited before the event must hear of what it ended; a grant may come after.
    Drain();
    reference_.endings.clear();
    for (const Stream& stream : streams_) {
      for (const auto& [index, job] : stream.waiting) {
        const ReferenceJob& end = reference_.jobs[reference_.End(job)];
        EXPECT_NE(end.state, JobState::kDone) << "nobody told of a result";
        for (const auto& [ended, record] : endings) EXPECT_NE(ended, job) << "an ending not told";
        const bool could = stream.can_compute && stream.capacity > 0;
        EXPECT_FALSE(could && reference_.jobs[job].known && reference_.Free(job))
            << "a free job was not granted to one who waits for it";
      }
    }
    Look([&](JobReader& reader, RowId ns) {
      for (int job = 0; job < kJobs; ++job) {
        const ReferenceJob& ref = reference_.jobs[job];
        const std::optional<JobRow> row = *reader.FindJob(ns, keys_[job]);
        ASSERT_EQ(row.has_value(), ref.known);
        if (!row) continue;
        EXPECT_EQ(row->state, ref.state);
        EXPECT_EQ(row->epoch, ref.last_epoch);
        EXPECT_EQ(row->keep, ref.keep);
        const std::optional<LeaseRow> lease = *reader.FindLease(row->id);
        ASSERT_EQ(lease.has_value(), ref.lease.has_value());
        if (lease) {
          EXPECT_EQ(lease->lease_id, ref.lease->id);
        }
        const std::optional<JobRow> link = *reader.FindJob(row->link);
        EXPECT_EQ(link.has_value(), ref.link >= 0);
        if (link) {
          EXPECT_EQ(link->key, keys_[ref.link]);
        }
      }
    });
  }

  const uint64_t seed_;
  std::mt19937_64 random_;
  ManualClock clock_;
  CountingDatabase database_;
  std::unique_ptr<BlobStore> bytes_;
  BlobCatalogue blobs_;
  std::unique_ptr<JobStore> store_;
  std::vector<Digest> keys_;
  Reference reference_{kJobs};
  std::vector<std::pair<std::string, int64_t>> leases_;
  int64_t last_epoch_ = 0;
  std::vector<Stream> streams_;
  std::mutex heard_mutex_;
  std::vector<Heard> heard_;
};

TEST_F(JobModelTest, TheStoreDoesWhatTheReferenceSays) {
  std::cout << "seed " << seed_ << std::endl;
  SCOPED_TRACE(StrCat("seed ", seed_));
  RecordProperty("seed", std::to_string(seed_));
  for (int event = 0; event < kEvents && !HasFailure(); ++event) {
    AnyEvent();
    Check();
  }
  // Nothing stays unfolding or linked for ever: whoever asks gets a result, a holder or the lease.
  for (Stream& stream : streams_) {
    if (stream.id != 0) CloseStream(&stream);
  }
  Advance(Reference::kMaxHold);
  Check();
  for (int job = 0; job < kJobs && !HasFailure(); ++job) {
    const auto answer = SubmitAndWait(*store_, Caller(0), Json(job), {.can_compute = true});
    ASSERT_TRUE(answer.ok());
    if (answer->outcome == SubmitAnswer::Outcome::kRetrieved) continue;
    ASSERT_EQ(answer->outcome, SubmitAnswer::Outcome::kGranted);
    StoreRequest request{.key = keys_[job],
                         .lease_id = answer->lease->lease_id,
                         .epoch = answer->lease->epoch,
                         .record = "0"};
    StoreAnswer stored;
    EXPECT_TRUE(StoreAndWait(*store_, Caller(0), request, &stored).ok());
  }
}

}  // namespace
}  // namespace tiffin::server
