// Names that point reads to jobs.
#include <utility>

#include "common/status.h"
#include "server/store/damaged.h"
#include "server/store/job_effects.h"
#include "server/store/job_store.h"

namespace tiffin::server {

absl::Status JobStore::SetAlias(const CallerInfo& caller, const AliasKey& alias, const Digest& key,
                                bool replace) {
  return Change([&](JobTransaction& tx, Effects&) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.FindNamespace(caller.name_space));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> job, tx.FindJob(ns, key));
    if (!job) return absl::NotFoundError(absl::StrCat("key: no job ", key.ToText()));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<AliasRow> row,
                            tx.FindAlias(ns, alias.profile, alias.name));
    const bool sound = row && !row->damaged;
    if (sound && row->job == job->id) return absl::OkStatus();
    if (sound && !replace) {
      return absl::AlreadyExistsError(absl::StrCat("alias: ", alias.name, " in ", alias.profile,
                                                   " points to another job; set replace"));
    }
    return tx.PutAlias({ns, alias.profile, alias.name, job->id});
  });
}

absl::Status JobStore::DeleteAlias(std::string_view name_space, const AliasKey& alias) {
  return Change([&](JobTransaction& tx, Effects&) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.FindNamespace(name_space));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<AliasRow> row,
                            tx.FindAlias(ns, alias.profile, alias.name));
    if (!row) {
      return absl::NotFoundError(absl::StrCat("no alias ", alias.name, " in ", alias.profile));
    }
    return tx.DeleteAlias(ns, alias.profile, alias.name);
  });
}

absl::StatusOr<JobStore::AliasPage> JobStore::ListAliases(std::string_view name_space,
                                                          std::string_view profile,
                                                          const AliasKey& after, int limit) {
  AliasPage out;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, reader.FindNamespace(name_space));
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<AliasRow> rows,
                            reader.ListAliases(ns, profile, after.profile, after.name, limit));
    if (static_cast<int>(rows.size()) == limit) out.next = {rows.back().profile, rows.back().name};
    for (const AliasRow& row : rows) {
      if (row.damaged) continue;
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> job, FindSoundJob(reader, row.job));
      if (job) out.aliases.push_back({{row.profile, row.name}, job->key});
    }
    return absl::OkStatus();
  }));
  return out;
}

}  // namespace tiffin::server
