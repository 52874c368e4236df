// Random operations, some of which fail, compared with plain maps.
#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "tests/contract/jobs/job_database_contract.h"

namespace tiffin::server {
namespace {

// Few names, so that operations meet.
constexpr int kNames = 8;
constexpr int kOperations = 2000;

// What the database should hold. Copied for every operation: one that fails drops its copy.
struct Model {
  int64_t epoch = 0;
  std::map<std::string, RowId> namespaces;
  std::map<RowId, SessionRow> sessions;
  std::map<RowId, JobRow> jobs;
  std::map<RowId, ResultRow> results;
  std::map<RowId, LeaseRow> leases;
  std::map<std::tuple<RowId, std::string, std::string>, RowId> aliases;
  std::map<RowId, std::vector<EvidenceRow>> evidence;
  std::map<RowId, HitsRow> hits;
  std::map<RowId, BlobRow> blobs;
  std::set<std::pair<RowId, RowId>> views;  // (namespace, blob)
  std::map<Digest, RowId> values;
  std::set<std::tuple<RowId, BlobUse, RowId>> uses;  // (job, use, blob)
  std::map<std::string, PackState> packs;

  DatabaseCounts Counts() const {
    DatabaseCounts counts{.jobs = std::ssize(jobs),
                          .leases = std::ssize(leases),
                          .aliases = std::ssize(aliases),
                          .sessions = std::ssize(sessions),
                          .blobs = std::ssize(blobs),
                          .namespaces = std::ssize(namespaces)};
    for (const auto& [id, job] : jobs) counts.done += job.state == JobState::kDone;
    for (const auto& [id, job] : jobs) counts.failed += job.state == JobState::kFailed;
    for (const auto& [id, blob] : blobs) counts.blob_bytes += static_cast<int64_t>(blob.size);
    for (const auto& [job, rows] : evidence) counts.evidence += std::ssize(rows);
    return counts;
  }
};

// Makes one random change on both. An error is one that the model foresees; a difference in whether
// there is one fails the test.
class RandomChange {
 public:
  RandomChange(std::mt19937_64& random, JobTransaction& tx, Model& model)
      : random_(random), tx_(tx), model_(model) {}

  absl::Status Make() {
    switch (Below(19)) {
      case 0:
        return Namespace();
      case 1:
        return Session();
      case 2:
      case 3:
        return InsertJob();
      case 4:
      case 5:
        return UpdateJob();
      case 6:
        return Result();
      case 7:
      case 8:
        return Lease();
      case 9:
        return Alias();
      case 10:
        return Evidence();
      case 11:
      case 12:
        return InsertBlob();
      case 13:
        return MoveBlob();
      case 14:
        return View();
      case 15:
        return Value();
      case 16:
        return Use();
      case 17:
        return Hits();
      default:
        return Pack();
    }
  }

 private:
  int64_t Below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }
  uint64_t Number() { return random_() % 1000; }
  std::string Name() { return absl::StrCat("n", Below(kNames)); }

  template <typename Map>
  RowId Any(const Map& rows) {
    auto it = rows.begin();
    std::advance(it, Below(std::ssize(rows)));
    return it->first;
  }
  RowId AnyNamespace() {
    auto it = model_.namespaces.begin();
    std::advance(it, Below(std::ssize(model_.namespaces)));
    return it->second;
  }

  absl::Status Namespace() {
    const std::string name = Name();
    const RowId id = Must(tx_.EnsureNamespace(name));
    const auto [it, added] = model_.namespaces.try_emplace(name, id);
    EXPECT_EQ(it->second, id);
    return absl::OkStatus();
  }

  absl::Status Session() {
    if (model_.namespaces.empty()) return absl::OkStatus();
    SessionRow row = TestSession(AnyNamespace(), Number());
    row.token = Name();
    row.id = Must(tx_.EnsureSession(row));
    for (const auto& [id, known] : model_.sessions) {
      if (known.namespace_id != row.namespace_id || known.token != row.token) continue;
      EXPECT_EQ(id, row.id);
      return absl::OkStatus();
    }
    EXPECT_TRUE(model_.sessions.emplace(row.id, row).second);
    return absl::OkStatus();
  }

  absl::Status InsertJob() {
    if (model_.namespaces.empty()) return absl::OkStatus();
    JobRow row = TestJob(AnyNamespace(), Number());
    row.key = TestDigest(static_cast<uint64_t>(Below(2 * kNames)));
    row.state = static_cast<JobState>(Below(6));
    row.link = Below(3);
    bool known = false;
    for (const auto& [id, job] : model_.jobs) {
      known |= job.namespace_id == row.namespace_id && job.key == row.key;
    }
    const absl::StatusOr<RowId> id = tx_.InsertJob(row);
    EXPECT_EQ(id.ok(), !known) << id.status();
    if (!id.ok()) return id.status();
    row.id = *id;
    EXPECT_TRUE(model_.jobs.emplace(row.id, row).second);
    return absl::OkStatus();
  }

  absl::Status UpdateJob() {
    if (model_.jobs.empty()) return absl::OkStatus();
    JobRow& job = model_.jobs.at(Any(model_.jobs));
    JobRow row = TestJob(job.namespace_id, Number());
    row.id = job.id;
    row.state = static_cast<JobState>(Below(6));
    row.link = Below(3);
    const absl::Status status = tx_.UpdateJob(row);
    EXPECT_TRUE(status.ok()) << status;
    row.key = job.key;
    row.record = job.record;
    row.created = job.created;
    job = row;
    return status;
  }

  absl::Status Result() {
    if (model_.jobs.empty()) return absl::OkStatus();
    const RowId job = Any(model_.jobs);
    if (Below(3) == 0) {
      model_.results.erase(job);
      return tx_.DeleteResult(job);
    }
    model_.results[job] = TestResult(job, Number());
    return tx_.PutResult(model_.results[job]);
  }

  absl::Status Lease() {
    if (model_.jobs.empty()) return absl::OkStatus();
    const RowId job = Any(model_.jobs);
    if (Below(3) == 0) {
      model_.leases.erase(job);
      return tx_.DeleteLease(job);
    }
    LeaseRow row = TestLease(job, Number());
    row.lease_id = absl::StrCat("lease", Below(4 * kNames));
    bool taken = false;
    for (const auto& [other, lease] : model_.leases) {
      taken |= other != job && lease.lease_id == row.lease_id;
    }
    const absl::Status status = tx_.PutLease(row);
    EXPECT_EQ(status.ok(), !taken) << status;
    model_.leases[job] = row;
    return status;
  }

  absl::Status Alias() {
    if (model_.jobs.empty()) return absl::OkStatus();
    const std::tuple key(AnyNamespace(), Name(), Name());
    const auto& [space, profile, name] = key;
    if (Below(3) == 0) {
      model_.aliases.erase(key);
      return tx_.DeleteAlias(space, profile, name);
    }
    model_.aliases[key] = Any(model_.jobs);
    return tx_.PutAlias({space, profile, name, model_.aliases[key]});
  }

  absl::Status Evidence() {
    if (model_.jobs.empty()) return absl::OkStatus();
    const RowId job = Any(model_.jobs);
    std::vector<EvidenceRow>& rows = model_.evidence[job];
    // The times go up, so that the order is that of adding.
    const EvidenceRow row = {job, TestDigest(static_cast<uint64_t>(Below(kNames))), 1,
                             absl::FromUnixSeconds(std::ssize(rows))};
    bool known = false;
    for (const EvidenceRow& other : rows) known |= other.digest == row.digest;
    if (!known) rows.push_back(row);
    return tx_.AddEvidence(row);
  }

  absl::Status Hits() {
    if (model_.jobs.empty()) return absl::OkStatus();
    const HitsRow row{Any(model_.jobs), Below(5), absl::FromUnixSeconds(Below(100))};
    HitsRow& known = model_.hits.try_emplace(row.job, HitsRow{row.job, 0, row.last}).first->second;
    known.hits += row.hits;
    known.last = std::max(known.last, row.last);
    return tx_.AddHits(row);
  }

  absl::Status InsertBlob() {
    BlobRow row = TestBlob(Number(), Name());
    row.name = {TestDigest(static_cast<uint64_t>(Below(kNames))), Name(), {7}};
    bool known = false;
    for (const auto& [id, blob] : model_.blobs) known |= blob.name == row.name;
    const absl::StatusOr<RowId> id = tx_.InsertBlob(row);
    EXPECT_EQ(id.ok(), !known) << id.status();
    if (!id.ok()) return id.status();
    row.id = *id;
    EXPECT_TRUE(model_.blobs.emplace(row.id, row).second);
    return absl::OkStatus();
  }

  absl::Status MoveBlob() {
    if (model_.blobs.empty()) return absl::OkStatus();
    BlobRow& row = model_.blobs.at(Any(model_.blobs));
    row.location = absl::StrCat(Name(), ":", Number());
    row.checksums = Name();
    return tx_.MoveBlob(row.id, row.location, row.checksums);
  }

  absl::Status View() {
    if (model_.blobs.empty() || model_.namespaces.empty()) return absl::OkStatus();
    const std::pair view(AnyNamespace(), Any(model_.blobs));
    model_.views.insert(view);
    return tx_.ShowBlob(view.first, view.second);
  }

  absl::Status Value() {
    if (model_.blobs.empty()) return absl::OkStatus();
    const Digest value = TestDigest(static_cast<uint64_t>(Below(kNames)));
    const RowId blob = Any(model_.blobs);
    model_.values.try_emplace(value, blob);
    return tx_.PutValue(value, blob);
  }

  absl::Status Use() {
    if (model_.blobs.empty() || model_.jobs.empty()) return absl::OkStatus();
    const RowId job = Any(model_.jobs);
    const auto use = static_cast<BlobUse>(1 + Below(2));
    if (Below(4) == 0) {
      std::erase_if(model_.uses, [&](const auto& row) {
        return std::get<0>(row) == job && std::get<1>(row) == use;
      });
      return tx_.DropUses(job, use);
    }
    const RowId blob = Any(model_.blobs);
    model_.uses.emplace(job, use, blob);
    return tx_.AddUse(job, blob, use);
  }

  absl::Status Pack() {
    switch (Below(4)) {
      case 0: {
        const std::string name = Name();
        model_.packs.erase(name);
        return tx_.DeletePack(name);
      }
      case 1: {
        const int64_t epoch = Must(tx_.NextEpoch());
        EXPECT_EQ(epoch, ++model_.epoch);
        return absl::OkStatus();
      }
      default: {
        const PackRow row = {Name(), static_cast<PackState>(Below(3))};
        model_.packs[row.name] = row.state;
        return tx_.PutPack(row);
      }
    }
  }

  std::mt19937_64& random_;
  JobTransaction& tx_;
  Model& model_;
};

template <typename Map, typename Wanted>
auto RowsWhere(const Map& map, Wanted wanted) {
  std::vector<typename Map::mapped_type> rows;
  for (const auto& [key, row] : map) {
    if (wanted(row)) rows.push_back(row);
  }
  return rows;
}

template <typename Map, typename Key>
auto RowOf(const Map& map, const Key& key) {
  const auto it = map.find(key);
  return it == map.end() ? std::nullopt : std::optional(it->second);
}

void ExpectSameJobs(const Model& model, JobReader& reader) {
  for (RowId id = 0; id <= 3 * kNames; ++id) {
    EXPECT_EQ(Text(Must(reader.FindJob(id))), Text(RowOf(model.jobs, id)));
    const std::optional<JobRow> job = RowOf(model.jobs, id);
    EXPECT_EQ(Text(Must(reader.FindJobRecord(id))),
              Text(job ? std::optional(job->record) : std::nullopt));
    EXPECT_EQ(Text(Must(reader.FindHits(id))), Text(RowOf(model.hits, id)));
    for (const BlobUse use : {BlobUse::kArgument, BlobUse::kResult}) {
      std::vector<RowId> blobs;
      for (const auto& [of, of_use, blob] : model.uses) {
        if (of == id && of_use == use) blobs.push_back(blob);
      }
      EXPECT_EQ(Text(Must(reader.BlobsUsed(id, use))), Text(blobs));
    }
    EXPECT_EQ(Text(Must(reader.FindResult(id))), Text(RowOf(model.results, id)));
    EXPECT_EQ(Text(Must(reader.FindLease(id))), Text(RowOf(model.leases, id)));
    EXPECT_EQ(Text(Must(reader.FindSession(id))), Text(RowOf(model.sessions, id)));
    EXPECT_EQ(Text(Must(reader.Evidence(id))),
              Text(RowOf(model.evidence, id).value_or(std::vector<EvidenceRow>())));
    std::vector<RowId> linked;
    for (const JobRow& job :
         RowsWhere(model.jobs, [&](const JobRow& row) { return id != 0 && row.link == id; })) {
      linked.push_back(job.id);
    }
    EXPECT_EQ(Text(Must(reader.JobsLinkedTo(id))), Text(linked));
  }
  for (const auto& [id, job] : model.jobs) {
    EXPECT_EQ(Text(Must(reader.FindJob(job.namespace_id, job.key))), Text(job));
  }
  for (const auto& [id, session] : model.sessions) {
    EXPECT_EQ(Text(Must(reader.FindSession(session.namespace_id, session.token))), Text(session));
  }
  for (int n = 0; n < 4 * kNames; ++n) {
    const std::string lease_id = absl::StrCat("lease", n);
    EXPECT_EQ(Text(Must(reader.FindLeaseById(lease_id))) + "\n",
              Text(RowsWhere(model.leases,
                             [&](const LeaseRow& row) { return row.lease_id == lease_id; })) +
                  (Must(reader.FindLeaseById(lease_id)) ? "" : "none\n"));
  }
  EXPECT_EQ(Text(Must(reader.AllLeases())),
            Text(RowsWhere(model.leases, [](const LeaseRow&) { return true; })));
}

// Lists in both directions, by pages of three, of all jobs of a namespace, a function and a
// session.
void ExpectSameLists(const Model& model, JobReader& reader, RowId space) {
  for (const JobRange& filter :
       {JobRange{}, JobRange{.function = "module.function7"}, JobRange{.session = 3}}) {
    for (const bool down : {false, true}) {
      std::vector<JobRow> wanted = RowsWhere(model.jobs, [&](const JobRow& row) {
        return row.namespace_id == space &&
               (filter.function.empty() || row.function == filter.function) &&
               (filter.session == 0 || row.session == filter.session);
      });
      if (down) std::reverse(wanted.begin(), wanted.end());
      JobRange range = filter;
      range.namespace_id = space;
      range.newest_first = down;
      std::vector<JobRow> found;
      while (true) {
        const std::vector<JobRow> page = Must(reader.ListJobs(range, 3));
        found.insert(found.end(), page.begin(), page.end());
        if (page.size() < 3) break;
        range.after = page.back().id;
      }
      EXPECT_EQ(Text(found), Text(wanted));
    }
  }
}

// Of all namespaces.
void ExpectSameListOfAll(const Model& model, JobReader& reader) {
  std::vector<JobRow> found;
  while (true) {
    const std::vector<JobRow> page =
        Must(reader.ListAllJobs(found.empty() ? 0 : found.back().id, 3));
    if (page.empty()) break;
    found.insert(found.end(), page.begin(), page.end());
  }
  EXPECT_EQ(Text(found), Text(RowsWhere(model.jobs, [](const JobRow&) { return true; })));
}

void ExpectSameBlobs(const Model& model, JobReader& reader) {
  for (const auto& [id, blob] : model.blobs) {
    EXPECT_EQ(Text(Must(reader.FindBlob(id))), Text(blob));
    EXPECT_EQ(Text(Must(reader.FindBlob(blob.name))), Text(blob));
  }
  for (uint64_t n = 0; n < kNames; ++n) {
    const std::string name = absl::StrCat("n", n);
    const std::optional<RowId> value = RowOf(model.values, TestDigest(n));
    EXPECT_EQ(Text(Must(reader.FindValue(TestDigest(n)))),
              value ? Text(model.blobs.at(*value)) : "none");
    EXPECT_EQ(Text(Must(reader.BlobsInPack(name))),
              Text(RowsWhere(model.blobs, [&](const BlobRow& row) {
                return row.location.starts_with(name + ":");
              })));
    const std::optional<PackState> pack = RowOf(model.packs, name);
    EXPECT_EQ(Text(Must(reader.FindPack(name))), pack ? Text(PackRow{name, *pack}) : "none");
  }
  for (const PackState state : {PackState::kPending, PackState::kOpen, PackState::kSealed}) {
    std::vector<PackRow> packs;
    for (const auto& [name, of] : model.packs) {
      if (of == state) packs.push_back({name, of});
    }
    EXPECT_EQ(Text(Must(reader.AllPacks(state))), Text(packs));
  }
}

void ExpectSameNamespace(const Model& model, JobReader& reader, RowId space) {
  std::vector<AliasRow> aliases;
  for (const auto& [key, job] : model.aliases) {
    const auto& [of, profile, name] = key;
    if (of != space) continue;
    aliases.push_back({of, profile, name, job});
    EXPECT_EQ(Text(Must(reader.FindAlias(of, profile, name))), Text(aliases.back()));
  }
  EXPECT_EQ(Text(Must(reader.ListAliases(space, "", "", "", 1000))), Text(aliases));
  for (const auto& [id, blob] : model.blobs) {
    EXPECT_EQ(Must(reader.BlobVisible(space, id)), model.views.contains({space, id}));
    for (const BlobUse use : {BlobUse::kArgument, BlobUse::kResult}) {
      std::vector<RowId> jobs;
      for (const auto& [job, of_use, of_blob] : model.uses) {
        if (of_use == use && of_blob == id && model.jobs.at(job).namespace_id == space) {
          jobs.push_back(job);
        }
      }
      EXPECT_EQ(Text(Must(reader.JobsUsing(space, id, use, 1000))), Text(jobs));
    }
  }
  for (uint64_t n = 0; n < kNames; ++n) {
    EXPECT_EQ(Text(Must(reader.FindBlobsByKey(space, TestDigest(n)))),
              Text(RowsWhere(model.blobs, [&](const BlobRow& row) {
                return row.name.key == TestDigest(n) && model.views.contains({space, row.id});
              })));
  }
}

void ExpectSame(const Model& model, JobReader& reader) {
  std::vector<RowId> evident;
  for (const auto& [job, rows] : model.evidence) {
    if (!rows.empty()) evident.push_back(job);
  }
  EXPECT_EQ(Text(Must(reader.JobsWithEvidence(0, 1000))), Text(evident));
  EXPECT_EQ(Text(Must(reader.Counts())), Text(model.Counts()));
  ExpectSameJobs(model, reader);
  ExpectSameListOfAll(model, reader);
  ExpectSameBlobs(model, reader);
  for (int n = 0; n < kNames; ++n) {
    const std::string name = absl::StrCat("n", n);
    const RowId space = RowOf(model.namespaces, name).value_or(0);
    EXPECT_EQ(Must(reader.FindNamespace(name)), space);
    ExpectSameNamespace(model, reader, space);
    ExpectSameLists(model, reader, space);
  }
}

TEST_P(JobModel, RandomOperationsLeaveWhatPlainMapsSay) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  Model model;  // the writer's, except while it has nothing to do

  int done = 0;
  while (done < kOperations && !HasFailure()) {
    std::vector<std::future<absl::Status>> fates;
    const int some = 1 + static_cast<int>(random() % 60);
    done += some;
    HeldWriter held(database());
    for (int i = 0; i < some; ++i) {
      fates.push_back(WriteLater(database(), [&](JobTransaction& tx) -> absl::Status {
        Model changed = model;
        const uint64_t changes = 1 + random() % 6;
        for (uint64_t c = 0; c < changes; ++c) {
          const absl::Status status = RandomChange(random, tx, changed).Make();
          if (!status.ok()) return status;
        }
        if (random() % 50 == 0) ExpectSame(changed, tx);
        if (random() % 8 == 0) return absl::AbortedError("on purpose");
        if (random() % 16 == 0) throw std::runtime_error("on purpose");
        model = std::move(changed);
        return absl::OkStatus();
      }));
    }
    held.Release();
    for (auto& fate : fates) fate.wait();
    Look([&](JobReader& reader) { ExpectSame(model, reader); });
    if (Keeps() && random() % 8 == 0) Reopen();
  }
  EXPECT_GT(model.jobs.size(), 0u);
  EXPECT_GT(model.blobs.size(), 0u);
}

}  // namespace
}  // namespace tiffin::server
