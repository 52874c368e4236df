// Brings the finished jobs of a Noodles database to a server.
#ifndef TIFFIN_CLIENT_CLI_NOODLES_IMPORT_H_
#define TIFFIN_CLIENT_CLI_NOODLES_IMPORT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/context.h"
#include "client/cli/noodles_database.h"
#include "client/client.h"

namespace tiffin::cli {

// What became of a row; of each row it is one of these.
enum class RowOutcome {
  kStored,       // its result is stored now (dry run: would be)
  kKnown,        // the same result was stored already
  kDuplicate,    // the same job as another row, and no result of its own
  kFinal,        // no job: only the result of a workflow, which has it
  kUnfinished,   // no result, or a workflow that never came to one
  kFailed,       // null: the job failed, or returned None
  kUnversioned,  // a function of __main__ without version
  kDiffers,      // another result is stored, and stays
  kRefused,      // by the server
  kUnreadable,
};
inline constexpr size_t kRowOutcomes = 10;
std::string_view OutcomeText(RowOutcome outcome);

struct RowReport {
  int64_t row = 0;
  RowOutcome outcome = RowOutcome::kUnreadable;
  std::optional<Digest> key;
  std::string reason;  // why it was not imported, or has no alias
};

struct ImportReport {
  std::array<uint64_t, kRowOutcomes> rows{};
  uint64_t links = 0;            // of what was stored: workflows linked to their final jobs
  uint64_t aliases = 0;          // set now (dry run: would be)
  uint64_t aliases_known = 0;    // pointed to the job already
  uint64_t aliases_refused = 0;  // point to another job, which stays so

  uint64_t of(RowOutcome outcome) const { return rows[static_cast<size_t>(outcome)]; }
};

// A batch of workflows is stored and linked in seconds; leases of an import that was killed lapse
// soon.
inline constexpr absl::Duration kImportLeaseTerm = absl::Minutes(2);

struct ImportOptions {
  bool dry_run = false;
  bool nulls = false;     // null is a result
  bool any_prov = false;  // also rows whose `prov` is not their key; these get no alias
  size_t batch_rows = 1000;
};

// One import. Values are stored without a lease; a workflow under one, then linked to the job that
// has its result. Nothing stored is replaced, so that importing again goes on where it stopped.
class NoodlesImport {
 public:
  using OnRow = std::function<void(const RowReport&)>;

  NoodlesImport(NoodlesDatabase* database, Context* context, Client client, ImportOptions options,
                OnRow on_row);
  ~NoodlesImport();
  NoodlesImport(const NoodlesImport&) = delete;
  NoodlesImport& operator=(const NoodlesImport&) = delete;

  // Fails if the server is lost. Rows that were not told to `on_row` by then are not imported.
  absl::Status Run();
  const ImportReport& report() const { return report_; }

 private:
  struct Item;

  absl::Status LoadAliases();
  absl::Status ReadAll();
  absl::Status TakeRow(NoodlesRow row);
  absl::Status TakeWorkflow(NoodlesRow row);
  // The row that has the result of a workflow.
  absl::StatusOr<NoodlesRow> FinalOf(const NoodlesRow& workflow);
  // True if the row itself says that it is not to be imported; then it was told.
  bool Skip(const NoodlesRow& row);
  absl::Status Take(Item item);

  absl::Status Flush();
  absl::Status FlushItems(std::vector<Item>* items);
  absl::Status LookUp(std::vector<Item>* items);
  absl::Status Submit(std::vector<Item>* items, bool workflows);
  absl::Status StoreItem(Item* item);
  absl::Status StoreWorkflow(Item* item);
  absl::Status SetAliasOf(Item* item);
  // An error of the server about one item: its outcome, unless the server is lost.
  absl::Status Refuse(const absl::Status& status, Item* item);
  // Compares what is stored with what the row has.
  void Compare(const Digest& stored, Item* item);
  void Tell(const NoodlesRow& row, RowOutcome outcome, std::string reason = "");
  void Tell(RowReport report);

  NoodlesDatabase& database_;
  Context& context_;
  Client client_;
  const ImportOptions options_;
  const OnRow on_row_;
  ImportReport report_;
  std::map<std::pair<std::string, std::string>, Digest> aliases_;  // (profile, name) → job
  std::map<Digest, Digest> imported_;                              // job → its final result
  // Of one batch.
  std::vector<Item> items_;
  std::set<Digest> keys_;
  size_t bytes_ = 0;
};

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_NOODLES_IMPORT_H_
