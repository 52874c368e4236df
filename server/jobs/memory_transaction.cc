#include "server/jobs/memory_transaction.h"

#include <algorithm>
#include <exception>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tiffin::server {
namespace {

// As stored: whole microseconds.
absl::Time Stored(absl::Time time) { return absl::FromUnixMicros(absl::ToUnixMicros(time)); }

template <typename Map>
RowId NextId(const Map& table) {
  return table.empty() ? 1 : table.rbegin()->first + 1;
}

template <typename Row>
RowPtr<Row> Keep(Row row) {
  return std::make_shared<const Row>(std::move(row));
}

}  // namespace

absl::Status MemoryTransaction::RunOperation(
    const std::function<absl::Status(JobTransaction&)>& apply) {
  const Counters counters = state_.counters;
  const size_t changes = log_.size();
  failure_ = absl::OkStatus();
  absl::Status status;
  try {
    status = apply(*this);
  } catch (const std::exception& error) {
    status = absl::InternalError(absl::StrCat("an operation threw: ", error.what()));
  } catch (...) {
    status = absl::InternalError("an operation threw");
  }
  if (status.ok()) status = failure_;
  if (status.ok()) return status;
  log_.UndoTo(changes);
  state_.counters = counters;
  return status;
}

void MemoryTransaction::RedoOn(MemoryState& copy) const {
  log_.RedoOn(copy);
  copy.counters = state_.counters;
}

absl::Status MemoryTransaction::Fail(absl::Status error) {
  if (failure_.ok()) failure_ = error;
  return error;
}

absl::Status MemoryTransaction::NeedNamespace(RowId id) {
  for (const auto& [name, known] : state_.namespaces) {
    if (known == id) return absl::OkStatus();
  }
  return Fail(absl::InternalError(absl::StrCat("there is no namespace ", id)));
}

absl::Status MemoryTransaction::NeedJob(RowId id) {
  if (state_.jobs.contains(id)) return absl::OkStatus();
  return Fail(absl::InternalError(absl::StrCat("there is no job ", id)));
}

absl::Status MemoryTransaction::NeedBlob(RowId id) {
  if (state_.blobs.contains(id)) return absl::OkStatus();
  return Fail(absl::InternalError(absl::StrCat("there is no blob ", id)));
}

absl::StatusOr<RowId> MemoryTransaction::EnsureNamespace(std::string_view name) {
  if (const std::optional<RowId> known = FindIn(state_.namespaces, name)) return *known;
  RowId id = 1;  // namespaces are few and never deleted
  for (const auto& [other, known] : state_.namespaces) id = std::max(id, known + 1);
  log_.Put(&MemoryState::namespaces, std::string(name), id);
  ++state_.counters.rows.namespaces;
  return id;
}

absl::StatusOr<RowId> MemoryTransaction::EnsureSession(const SessionRow& session) {
  const std::pair token(session.namespace_id, session.token);
  if (const std::optional<RowId> known = FindIn(state_.session_tokens, token)) return *known;
  TIFFIN_RETURN_IF_ERROR(NeedNamespace(session.namespace_id));
  SessionRow row = session;
  row.id = NextId(state_.sessions);
  row.since = Stored(row.since);
  log_.Put(&MemoryState::session_tokens, token, row.id);
  log_.Put(&MemoryState::sessions, row.id, Keep(row));
  ++state_.counters.rows.sessions;
  return row.id;
}

absl::StatusOr<RowId> MemoryTransaction::InsertJob(const JobRow& job) {
  TIFFIN_RETURN_IF_ERROR(NeedNamespace(job.namespace_id));
  const std::pair key(job.key, job.namespace_id);
  if (state_.job_keys.contains(key)) return Fail(absl::AlreadyExistsError("that job is there"));
  JobRow row = job;
  row.id = NextId(state_.jobs);
  row.created = Stored(row.created);
  row.buried = Stored(row.buried);
  log_.Put(&MemoryState::job_keys, key, row.id);
  log_.Put(&MemoryState::job_records, row.id, Keep(std::move(row.record)));
  row.record.clear();
  if (row.link != 0) log_.Put(&MemoryState::links, {row.link, row.id}, {});
  log_.Put(&MemoryState::jobs, row.id, Keep(row));
  ++state_.counters.rows.jobs;
  state_.counters.CountState(row.state, +1);
  return row.id;
}

absl::Status MemoryTransaction::UpdateJob(const JobRow& job) {
  const auto found = state_.jobs.find(job.id);
  if (found == state_.jobs.end()) {
    return Fail(absl::NotFoundError("the job to change is not there"));
  }
  const RowPtr<JobRow> old = found->second;
  JobRow row = job;
  row.namespace_id = old->namespace_id;
  row.key = old->key;
  row.created = old->created;
  row.buried = Stored(row.buried);
  row.record.clear();
  if (old->link != 0) log_.Erase(&MemoryState::links, {old->link, row.id});
  if (row.link != 0) log_.Put(&MemoryState::links, {row.link, row.id}, {});
  log_.Put(&MemoryState::jobs, row.id, Keep(row));
  state_.counters.CountState(old->state, -1);
  state_.counters.CountState(row.state, +1);
  return absl::OkStatus();
}

absl::Status MemoryTransaction::PutResult(const ResultRow& result) {
  TIFFIN_RETURN_IF_ERROR(NeedJob(result.job));
  ResultRow row = result;
  row.stored = Stored(row.stored);
  log_.Put(&MemoryState::results, row.job, Keep(row));
  return absl::OkStatus();
}

absl::Status MemoryTransaction::DeleteResult(RowId job) {
  log_.Erase(&MemoryState::results, job);
  return absl::OkStatus();
}

absl::Status MemoryTransaction::PutLease(const LeaseRow& lease) {
  TIFFIN_RETURN_IF_ERROR(NeedJob(lease.job));
  if (FindIn(state_.lease_ids, lease.lease_id).value_or(lease.job) != lease.job) {
    return Fail(absl::AlreadyExistsError("another job's lease has that id"));
  }
  TIFFIN_RETURN_IF_ERROR(DeleteLease(lease.job));
  LeaseRow row = lease;
  row.granted = Stored(row.granted);
  row.term = absl::Microseconds(absl::ToInt64Microseconds(row.term));
  log_.Put(&MemoryState::lease_ids, row.lease_id, row.job);
  log_.Put(&MemoryState::leases, row.job, Keep(row));
  ++state_.counters.rows.leases;
  return absl::OkStatus();
}

absl::Status MemoryTransaction::DeleteLease(RowId job) {
  const auto found = state_.leases.find(job);
  if (found == state_.leases.end()) return absl::OkStatus();
  log_.Erase(&MemoryState::lease_ids, std::string(found->second->lease_id));
  log_.Erase(&MemoryState::leases, job);
  --state_.counters.rows.leases;
  return absl::OkStatus();
}

absl::StatusOr<int64_t> MemoryTransaction::NextEpoch() { return ++state_.counters.epoch; }

absl::Status MemoryTransaction::PutAlias(const AliasRow& alias) {
  TIFFIN_RETURN_IF_ERROR(NeedNamespace(alias.namespace_id));
  TIFFIN_RETURN_IF_ERROR(NeedJob(alias.job));
  const std::tuple key(alias.namespace_id, alias.profile, alias.name);
  if (!state_.aliases.contains(key)) ++state_.counters.rows.aliases;
  log_.Put(&MemoryState::aliases, key, alias.job);
  return absl::OkStatus();
}

absl::Status MemoryTransaction::DeleteAlias(RowId namespace_id, std::string_view profile,
                                            std::string_view name) {
  const std::tuple key(namespace_id, std::string(profile), std::string(name));
  if (state_.aliases.contains(key)) --state_.counters.rows.aliases;
  log_.Erase(&MemoryState::aliases, key);
  return absl::OkStatus();
}

absl::Status MemoryTransaction::AddEvidence(const EvidenceRow& evidence) {
  TIFFIN_RETURN_IF_ERROR(NeedJob(evidence.job));
  const std::pair key(evidence.job, evidence.digest);
  if (state_.evidence.contains(key)) return absl::OkStatus();
  EvidenceRow row = evidence;
  row.at = Stored(row.at);
  log_.Put(&MemoryState::evidence, key, Keep(row));
  ++state_.counters.rows.evidence;
  return absl::OkStatus();
}

absl::Status MemoryTransaction::AddHits(const HitsRow& hits) {
  TIFFIN_RETURN_IF_ERROR(NeedJob(hits.job));
  HitsRow row = hits;
  row.last = Stored(row.last);
  if (const std::optional<HitsRow> old = FindIn(state_.hits, hits.job)) {
    row.hits += old->hits;
    row.last = std::max(row.last, old->last);
  }
  log_.Put(&MemoryState::hits, row.job, row);
  return absl::OkStatus();
}

absl::StatusOr<RowId> MemoryTransaction::InsertBlob(const BlobRow& blob) {
  if (state_.blob_names.contains(blob.name)) {
    return Fail(absl::AlreadyExistsError("a blob of that key, dtype and shape is there"));
  }
  BlobRow row = blob;
  row.id = NextId(state_.blobs);
  row.created = Stored(row.created);
  log_.Put(&MemoryState::blob_names, row.name, row.id);
  log_.Put(&MemoryState::pack_blobs, {std::string(PackPart(row.location)), row.id}, {});
  log_.Put(&MemoryState::blobs, row.id, Keep(row));
  ++state_.counters.rows.blobs;
  state_.counters.rows.blob_bytes += static_cast<int64_t>(row.size);
  return row.id;
}

absl::Status MemoryTransaction::MoveBlob(RowId blob, std::string_view location,
                                         std::string_view checksums) {
  const auto found = state_.blobs.find(blob);
  if (found == state_.blobs.end()) {
    return Fail(absl::NotFoundError("the blob to move is not there"));
  }
  BlobRow row = *found->second;
  log_.Erase(&MemoryState::pack_blobs, {std::string(PackPart(row.location)), blob});
  row.location = location;
  row.checksums = checksums;
  log_.Put(&MemoryState::pack_blobs, {std::string(PackPart(row.location)), blob}, {});
  log_.Put(&MemoryState::blobs, blob, Keep(row));
  return absl::OkStatus();
}

absl::Status MemoryTransaction::ShowBlob(RowId namespace_id, RowId blob) {
  TIFFIN_RETURN_IF_ERROR(NeedNamespace(namespace_id));
  TIFFIN_RETURN_IF_ERROR(NeedBlob(blob));
  log_.Put(&MemoryState::views, {blob, namespace_id}, {});
  return absl::OkStatus();
}

absl::Status MemoryTransaction::PutValue(const Digest& value, RowId blob) {
  TIFFIN_RETURN_IF_ERROR(NeedBlob(blob));
  if (!state_.values.contains(value)) log_.Put(&MemoryState::values, value, blob);
  return absl::OkStatus();
}

absl::Status MemoryTransaction::AddUse(RowId job, RowId blob, BlobUse use) {
  TIFFIN_RETURN_IF_ERROR(NeedJob(job));
  TIFFIN_RETURN_IF_ERROR(NeedBlob(blob));
  log_.Put(&MemoryState::uses, {job, use, blob}, {});
  log_.Put(&MemoryState::used_by, {blob, use, job}, {});
  return absl::OkStatus();
}

absl::Status MemoryTransaction::DropUses(RowId job, BlobUse use) {
  std::vector<RowId> blobs;
  const std::tuple first(job, use, std::numeric_limits<RowId>::min());
  for (auto it = state_.uses.lower_bound(first); it != state_.uses.end(); ++it) {
    const auto& [of_job, of_use, blob] = it->first;
    if (of_job != job || of_use != use) break;
    blobs.push_back(blob);
  }
  for (const RowId blob : blobs) {
    log_.Erase(&MemoryState::uses, {job, use, blob});
    log_.Erase(&MemoryState::used_by, {blob, use, job});
  }
  return absl::OkStatus();
}

absl::Status MemoryTransaction::AddHold(RowId blob, RowId inner) {
  TIFFIN_RETURN_IF_ERROR(NeedBlob(blob));
  TIFFIN_RETURN_IF_ERROR(NeedBlob(inner));
  log_.Put(&MemoryState::holds, {blob, inner}, {});
  log_.Put(&MemoryState::held_by, {inner, blob}, {});
  return absl::OkStatus();
}

absl::Status MemoryTransaction::DeleteBlob(RowId blob) {
  TIFFIN_ASSIGN_OR_RETURN(const bool used, BlobInUse(blob));
  const auto found = state_.blobs.find(blob);
  if (used || found == state_.blobs.end()) {
    return Fail(absl::FailedPreconditionError("the blob to delete is in use or not there"));
  }
  const RowPtr<BlobRow> row = found->second;
  constexpr RowId kFirst = std::numeric_limits<RowId>::min();
  const auto erase_pairs = [&](auto table, auto undone) {
    std::vector<RowId> others;
    const auto& index = state_.*table;
    for (auto it = index.lower_bound({blob, kFirst}); it != index.end(); ++it) {
      if (it->first.first != blob) break;
      others.push_back(it->first.second);
    }
    for (const RowId other : others) {
      log_.Erase(table, {blob, other});
      undone(other);
    }
  };
  erase_pairs(&MemoryState::views, [](RowId) {});
  erase_pairs(&MemoryState::holds, [&](RowId inner) {
    log_.Erase(&MemoryState::held_by, {inner, blob});
  });
  std::vector<Digest> values;
  for (const auto& [value, of] : state_.values) {
    if (of == blob) values.push_back(value);
  }
  for (const Digest& value : values) log_.Erase(&MemoryState::values, value);
  log_.Erase(&MemoryState::pack_blobs, {std::string(PackPart(row->location)), blob});
  log_.Erase(&MemoryState::blob_names, row->name);
  log_.Erase(&MemoryState::blobs, blob);
  --state_.counters.rows.blobs;
  state_.counters.rows.blob_bytes -= static_cast<int64_t>(row->size);
  return absl::OkStatus();
}

absl::Status MemoryTransaction::PutPack(const PackRow& pack) {
  log_.Put(&MemoryState::packs, pack.name, pack.state);
  return absl::OkStatus();
}

absl::Status MemoryTransaction::DeletePack(std::string_view name) {
  log_.Erase(&MemoryState::packs, std::string(name));
  return absl::OkStatus();
}

}  // namespace tiffin::server
