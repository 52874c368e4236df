#include "client/cli/noodles_import.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "common/status.h"

namespace tiffin::cli {
namespace {

constexpr size_t kBatchBytes = 8 << 20;
constexpr size_t kThreads = 8;  // calls under way at once: the server commits them together
constexpr int kMaxHops = 100;   // from a workflow to its final job; Noodles makes one

bool IsLost(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

// Calls `work` for each item on a few threads, until one fails; returns its error.
template <typename Item>
absl::Status ForEach(const std::vector<Item*>& items,
                     const std::function<absl::Status(Item*)>& work) {
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;  // guards `first`
  absl::Status first;
  const auto run = [&] {
    for (size_t i = next++; i < items.size() && !failed; i = next++) {
      const absl::Status status = work(items[i]);
      if (status.ok()) continue;
      failed = true;
      const std::lock_guard lock(mutex);
      first.Update(status);
    }
  };
  std::vector<std::jthread> threads;
  for (size_t i = 1; i < std::min(kThreads, items.size()); ++i) threads.emplace_back(run);
  run();
  threads.clear();  // joins them
  return first;
}

std::string ProfileText(NoodlesProfile profile) {
  return profile == NoodlesProfile::kJson ? "noodles/json" : "noodles/ujson";
}

}  // namespace

std::string_view OutcomeText(RowOutcome outcome) {
  constexpr std::array<std::string_view, kRowOutcomes> kTexts = {
      "stored", "known",       "duplicate", "final",   "unfinished",
      "failed", "unversioned", "differs",   "refused", "unreadable"};
  return kTexts[static_cast<size_t>(outcome)];
}

// A row on its way to the server.
struct NoodlesImport::Item {
  NoodlesRow row;  // `result` is what is stored: a value, or a workflow
  Digest digest;   // of the value that readers get in the end
  // The job that has it, and its row: only if `row` is stored as a workflow.
  std::optional<Digest> target;
  int64_t target_row = 0;
  std::optional<Lease> lease;
  bool unfolding = false;  // the workflow is stored already
  std::optional<RowOutcome> outcome;
  std::string reason;
  bool linked = false;
  // The alias: what became of it, if it was set now.
  bool aliased = false, alias_refused = false;
};

NoodlesImport::NoodlesImport(NoodlesDatabase* database, Context* context, Client client,
                             ImportOptions options, OnRow on_row)
    : database_(*database),
      context_(*context),
      client_(std::move(client)),
      options_(options),
      on_row_(std::move(on_row)) {}

NoodlesImport::~NoodlesImport() = default;

absl::Status NoodlesImport::Run() {
  TIFFIN_RETURN_IF_ERROR(LoadAliases());
  absl::Status status = ReadAll();
  if (status.ok()) status = Flush();
  return status;
}

absl::Status NoodlesImport::LoadAliases() {
  for (const NoodlesProfile profile : {NoodlesProfile::kJson, NoodlesProfile::kUjson}) {
    v1::AliasRequest request;
    *request.mutable_caller() = client_.caller();
    request.mutable_list()->set_profile(ProfileText(profile));
    request.mutable_list()->set_page_size(1000);
    do {
      v1::AliasResponse page;
      TIFFIN_RETURN_IF_ERROR(context_.Persist([&]() -> absl::Status {
        TIFFIN_ASSIGN_OR_RETURN(page, client_.connection().Alias(request));
        return absl::OkStatus();
      }));
      for (const v1::AliasResponse::Entry& entry : page.aliases()) {
        TIFFIN_ASSIGN_OR_RETURN(const Digest key, Digest::FromBytes(entry.key()));
        aliases_[{entry.alias().profile(), entry.alias().name()}] = key;
      }
      request.mutable_list()->set_page_token(page.next_page_token());
    } while (!request.list().page_token().empty());
  }
  return absl::OkStatus();
}

// Values first, since links point to them; copies last, so that a workflow whose result was
// retrieved later is stored as the workflow it is.
absl::Status NoodlesImport::ReadAll() {
  std::vector<int64_t> workflows, copies;
  std::optional<int64_t> at;
  while (true) {
    const absl::StatusOr<std::optional<int64_t>> next = database_.NextId(at);
    if (!next.ok()) {
      Tell(RowReport{.row = at.value_or(0), .reason = std::string(next.status().message())});
      break;
    }
    if (!next->has_value()) break;
    at = *next;
    absl::StatusOr<NoodlesRow> row = database_.Read(**next);
    if (!row.ok()) {
      Tell(RowReport{.row = **next, .reason = std::string(row.status().message())});
    } else if (row->kind == NoodlesRow::Kind::kWorkflow) {
      workflows.push_back(row->id);
    } else if (row->kind == NoodlesRow::Kind::kResult && row->link.has_value()) {
      copies.push_back(row->id);
    } else {
      TIFFIN_RETURN_IF_ERROR(TakeRow(*std::move(row)));
    }
  }
  TIFFIN_RETURN_IF_ERROR(Flush());
  for (const std::vector<int64_t>* ids : {&workflows, &copies}) {
    for (const int64_t id : *ids) {
      absl::StatusOr<NoodlesRow> row = database_.Read(id);
      if (!row.ok()) {
        Tell(RowReport{.row = id, .reason = std::string(row.status().message())});
        continue;
      }
      TIFFIN_RETURN_IF_ERROR(TakeRow(*std::move(row)));
    }
    TIFFIN_RETURN_IF_ERROR(Flush());
  }
  return absl::OkStatus();
}

bool NoodlesImport::Skip(const NoodlesRow& row) {
  if (row.unversioned_main) {
    Tell(row, RowOutcome::kUnversioned,
         StrCat("function ", FunctionName(*PartsOfJob(row.job)->function),
                " is of a script (__main__) and has no version: another script may define it "
                "differently"));
    return true;
  }
  if (!row.profile.has_value() && !options_.any_prov) {
    Tell(row, RowOutcome::kUnreadable,
         StrCat(
             database_.RowName(row.id),
             ", column prov: is not the MD5 of function, arguments and version, as json or ujson 5 "
             "prints them: the row is damaged, or another printer's (see --any-prov)"));
    return true;
  }
  return false;
}

absl::Status NoodlesImport::TakeRow(NoodlesRow row) {
  switch (row.kind) {
    case NoodlesRow::Kind::kUnfinished:
      Tell(row, RowOutcome::kUnfinished, "it has no result");
      return absl::OkStatus();
    case NoodlesRow::Kind::kDuplicate:
      Tell(row, RowOutcome::kDuplicate);
      return absl::OkStatus();
    case NoodlesRow::Kind::kFinal:
      Tell(row, RowOutcome::kFinal);
      return absl::OkStatus();
    case NoodlesRow::Kind::kWorkflow:
      return TakeWorkflow(std::move(row));
    case NoodlesRow::Kind::kResult:
      break;
  }
  if (row.result.is_null() && !options_.nulls) {
    Tell(row, RowOutcome::kFailed, "its result is null: it failed, or returned None");
    return absl::OkStatus();
  }
  if (Skip(row)) return absl::OkStatus();
  const Digest digest = row.result_digest;
  return Take({.row = std::move(row), .digest = digest});
}

absl::StatusOr<NoodlesRow> NoodlesImport::FinalOf(const NoodlesRow& workflow) {
  std::optional<int64_t> link = workflow.link;
  for (int hop = 0; hop < kMaxHops && link.has_value(); ++hop) {
    TIFFIN_ASSIGN_OR_RETURN(NoodlesRow row, database_.Read(*link));
    const bool ends = row.kind == NoodlesRow::Kind::kResult ||
                      row.kind == NoodlesRow::Kind::kFinal ||
                      row.kind == NoodlesRow::Kind::kUnfinished;
    if (ends) return row;
    link = row.link;
  }
  if (!link.has_value()) return NoodlesRow();  // unfinished
  return absl::InvalidArgumentError("the links lead to no result");
}

absl::Status NoodlesImport::TakeWorkflow(NoodlesRow row) {
  absl::StatusOr<NoodlesRow> final = FinalOf(row);
  if (!final.ok()) {
    Tell(row, RowOutcome::kUnreadable,
         StrCat(database_.RowName(row.id), ", column link: ", final.status().message()));
    return absl::OkStatus();
  }
  if (final->kind == NoodlesRow::Kind::kUnfinished) {
    Tell(row, RowOutcome::kUnfinished, "its workflow never came to a result");
    return absl::OkStatus();
  }
  if (final->result.is_null() && !options_.nulls) {
    Tell(row, RowOutcome::kFailed,
         StrCat("the result of its workflow, row ", final->id,
                ", is null: it failed, or returned None"));
    return absl::OkStatus();
  }
  if (Skip(row)) return absl::OkStatus();
  Item item{.row = std::move(row), .digest = final->result_digest};
  if (final->kind == NoodlesRow::Kind::kFinal || final->unversioned_main ||
      final->key == item.row.key) {
    item.row.result = std::move(final->result);  // there is no job to link to
  } else {
    item.target = final->key;
    item.target_row = final->id;
  }
  return Take(std::move(item));
}

absl::Status NoodlesImport::Take(Item item) {
  if (keys_.contains(item.row.key)) TIFFIN_RETURN_IF_ERROR(Flush());
  const auto earlier = imported_.find(item.row.key);
  if (earlier != imported_.end()) {
    Compare(earlier->second, &item);
  }
  keys_.insert(item.row.key);
  bytes_ += item.row.bytes;
  items_.push_back(std::move(item));
  const bool full = items_.size() >= options_.batch_rows || bytes_ >= kBatchBytes;
  return full ? Flush() : absl::OkStatus();
}

absl::Status NoodlesImport::Flush() {
  std::vector<Item> items = std::exchange(items_, {});
  keys_.clear();
  bytes_ = 0;
  const absl::Status status = FlushItems(&items);
  // What was settled is told even if the server was lost on the way.
  for (Item& item : items) {
    if (!item.outcome.has_value()) continue;
    report_.links += item.linked ? 1 : 0;
    report_.aliases += item.aliased ? 1 : 0;
    report_.aliases_refused += item.alias_refused ? 1 : 0;
    if (*item.outcome == RowOutcome::kStored || *item.outcome == RowOutcome::kKnown) {
      imported_[item.row.key] = item.digest;
    }
    Tell(item.row, *item.outcome, std::move(item.reason));
  }
  return status;
}

absl::Status NoodlesImport::FlushItems(std::vector<Item>* items) {
  if (items->empty()) return absl::OkStatus();
  TIFFIN_RETURN_IF_ERROR(LookUp(items));
  const auto those = [&](auto wanted) {
    std::vector<Item*> out;
    for (Item& item : *items) {
      if (wanted(item)) out.push_back(&item);
    }
    return out;
  };
  const auto open = [](const Item& item) { return !item.outcome.has_value(); };
  if (options_.dry_run) {
    for (Item* item : those(open)) {
      item->outcome = RowOutcome::kStored;
      item->linked = item->target.has_value();
    }
  } else {
    TIFFIN_RETURN_IF_ERROR(Submit(items, false));
    TIFFIN_RETURN_IF_ERROR(Submit(items, true));
    const absl::Status stored =
        ForEach<Item>(those(open), [&](Item* item) { return StoreItem(item); });
    // Also when it ends here, so that the next import need not wait for them; if the server is lost
    // they lapse.
    for (Item* item : those([](const Item& item) { return item.lease.has_value(); })) {
      const absl::Status released = client_.Release(*item->lease);
      if (!stored.ok() && IsLost(released)) break;
      if (IsLost(released)) return released;
      if (!released.ok()) StrAppend(&item->reason, "; its lease lapses: ", released.message());
    }
    TIFFIN_RETURN_IF_ERROR(stored);
  }
  std::vector<Item*> nameless;
  for (Item& item : *items) {
    const bool there = item.outcome == RowOutcome::kStored || item.outcome == RowOutcome::kKnown;
    if (!there || !item.row.profile.has_value()) continue;
    const auto [alias, is_new] =
        aliases_.try_emplace({ProfileText(*item.row.profile), item.row.prov}, item.row.key);
    if (is_new) {
      nameless.push_back(&item);
    } else if (alias->second == item.row.key) {
      ++report_.aliases_known;
    } else {
      item.alias_refused = true;
      item.reason = StrCat("alias ", item.row.prov, " points to another job");
    }
  }
  return ForEach<Item>(nameless, [&](Item* item) { return SetAliasOf(item); });
}

absl::Status NoodlesImport::LookUp(std::vector<Item>* items) {
  std::vector<Item*> asked;
  std::vector<Digest> keys;
  for (Item& item : *items) {
    if (item.outcome.has_value()) continue;
    asked.push_back(&item);
    keys.push_back(item.row.key);
  }
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<absl::StatusOr<StoredResult>> stored,
                          client_.BatchGet(keys));
  for (size_t i = 0; i < asked.size(); ++i) {
    Item& item = *asked[i];
    if (stored[i].ok()) {
      Compare(stored[i]->digest, &item);
    } else if (!absl::IsNotFound(stored[i].status())) {
      TIFFIN_RETURN_IF_ERROR(Refuse(stored[i].status(), &item));
    } else if (item.target.has_value()) {
      const auto target = imported_.find(*item.target);
      if (target == imported_.end() || target->second != item.digest) {
        item.outcome = RowOutcome::kRefused;
        item.reason = StrCat("row ", item.target_row, ", which has its result, was not imported");
      }
    }
  }
  return absl::OkStatus();
}

// Sends the jobs of values, for which no lease is wanted, or of workflows, for which one is.
absl::Status NoodlesImport::Submit(std::vector<Item>* items, bool workflows) {
  std::vector<Item*> sent;
  std::vector<Value> jobs;
  for (Item& item : *items) {
    if (item.outcome.has_value() || item.target.has_value() != workflows) continue;
    sent.push_back(&item);
    jobs.push_back(std::move(item.row.job));
  }
  if (jobs.empty()) return absl::OkStatus();
  TIFFIN_ASSIGN_OR_RETURN(std::vector<absl::StatusOr<Submitted>> answers,
                          client_.SubmitBatch(jobs, {.can_compute = workflows}));
  absl::Status lost;
  for (size_t i = 0; i < sent.size(); ++i) {
    Item& item = *sent[i];
    if (!answers[i].ok()) {
      lost.Update(Refuse(answers[i].status(), &item));
      continue;
    }
    Submitted& answer = *answers[i];
    item.lease = std::move(answer.lease);
    item.unfolding = answer.workflow.has_value();
    if (answer.outcome == Submitted::Outcome::kRetrieved && answer.result.has_value()) {
      Compare(answer.result->digest, &item);
    } else if (answer.outcome == Submitted::Outcome::kRetrieved) {
      item.outcome = RowOutcome::kRefused;
      item.reason = "somebody stored it meanwhile: import again";
    } else if (answer.outcome == Submitted::Outcome::kAttached) {
      item.outcome = RowOutcome::kRefused;
      item.reason = answer.holder.has_value() ? StrCat(answer.holder->name, " on ",
                                                       answer.holder->host, " computes it now")
                                              : "somebody computes it now";
    }
  }
  return lost;
}

absl::Status NoodlesImport::StoreItem(Item* item) {
  if (item->target.has_value()) return StoreWorkflow(item);
  const absl::StatusOr<Stored> stored =
      client_.Store(item->row.key, std::nullopt, item->row.result);
  if (!stored.ok()) return Refuse(stored.status(), item);
  item->outcome = stored->repeated ? RowOutcome::kKnown : RowOutcome::kStored;
  return absl::OkStatus();
}

absl::Status NoodlesImport::StoreWorkflow(Item* item) {
  if (!item->lease.has_value())
    return Refuse(absl::InternalError("the server gave no lease"), item);
  if (!item->unfolding) {
    const absl::StatusOr<Stored> stored =
        client_.Store(item->row.key, item->lease, item->row.result);
    if (!stored.ok()) return Refuse(stored.status(), item);
  }
  const absl::Status linked = client_.Link(item->row.key, *item->lease, *item->target);
  if (!linked.ok()) return Refuse(linked, item);
  item->lease.reset();  // ended by the link
  item->linked = true;
  item->outcome = RowOutcome::kStored;
  return absl::OkStatus();
}

absl::Status NoodlesImport::SetAliasOf(Item* item) {
  item->aliased = true;
  if (options_.dry_run) return absl::OkStatus();
  const absl::Status status =
      client_.SetAlias(ProfileText(*item->row.profile), item->row.prov, item->row.key);
  if (status.ok()) return status;
  item->aliased = false;
  if (IsLost(status)) return status;
  item->alias_refused = true;
  item->reason = std::string(status.message());
  return absl::OkStatus();
}

absl::Status NoodlesImport::Refuse(const absl::Status& status, Item* item) {
  if (status.ok() || IsLost(status)) return status;
  item->outcome = absl::IsAlreadyExists(status) ? RowOutcome::kDiffers : RowOutcome::kRefused;
  item->reason = std::string(status.message());
  return absl::OkStatus();
}

void NoodlesImport::Compare(const Digest& stored, Item* item) {
  const bool same = stored == item->digest;
  item->outcome = same ? RowOutcome::kKnown : RowOutcome::kDiffers;
  if (!same) item->reason = "another result is stored";
}

void NoodlesImport::Tell(const NoodlesRow& row, RowOutcome outcome, std::string reason) {
  RowReport report{
      .row = row.id, .outcome = outcome, .key = std::nullopt, .reason = std::move(reason)};
  const bool has_job =
      row.kind == NoodlesRow::Kind::kResult || row.kind == NoodlesRow::Kind::kWorkflow;
  if (has_job && !row.unversioned_main) report.key = row.key;
  Tell(std::move(report));
}

void NoodlesImport::Tell(RowReport report) {
  ++report_.rows[static_cast<size_t>(report.outcome)];
  on_row_(report);
}

}  // namespace tiffin::cli
