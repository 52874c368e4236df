// The job database that Noodles 0.3 writes (noodles.prov.sqlite), read row by row.
#ifndef TIFFIN_CLIENT_CLI_NOODLES_DATABASE_H_
#define TIFFIN_CLIENT_CLI_NOODLES_DATABASE_H_

#include <SQLiteCpp/Database.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/crypto.h"
#include "common/job.h"
#include "common/value.h"

namespace tiffin::cli {

// A row of Noodles' table `jobs`.
struct NoodlesRow {
  enum class Kind {
    kResult,      // a job and its result; with a `link` the copy of what that row had
    kWorkflow,    // a job and the workflow it returned; row `link` has what that came to
    kFinal,       // only a result: what a workflow came to in a job that was not to be stored
    kDuplicate,   // no result: the same job as row `link`
    kUnfinished,  // no result
  };
  int64_t id = 0;
  Kind kind = Kind::kUnfinished;
  std::optional<int64_t> link;
  Value result;  // of kResult, kWorkflow and kFinal; Noodles writes null for a job that failed, too
  Digest result_digest;

  // Of kResult and kWorkflow.
  Value job;  // the FunctionNode record that was submitted, but for hints that do not count
  Digest key;
  bool unversioned_main = false;  // `key` names no job: another script may define it differently
  std::string prov;               // Noodles' own key
  std::optional<NoodlesProfile> profile;  // of the printer that gives `prov`; nullopt: neither does

  size_t bytes = 0;  // of the row's texts
};

// Nothing in the file is trusted: it is never written to, no view, trigger, generated column or
// function of its schema is run, and lengths and steps are limited, so that each call ends soon. It
// holds no lock between calls. Not thread-safe.
class NoodlesDatabase {
 public:
  // Opens a file for reading. INVALID_ARGUMENT: no SQLite database, or not one of Noodles 0.3 (it
  // says what is missing). FAILED_PRECONDITION: in use, or left by a run that was cut short, or in
  // WAL mode. DATA_LOSS: damaged.
  static absl::StatusOr<std::unique_ptr<NoodlesDatabase>> Open(const std::string& file);
  // The same for an open database; errors call it `name`.
  static absl::StatusOr<std::unique_ptr<NoodlesDatabase>> Make(SQLite::Database database,
                                                               std::string name);
  ~NoodlesDatabase();
  NoodlesDatabase(const NoodlesDatabase&) = delete;
  NoodlesDatabase& operator=(const NoodlesDatabase&) = delete;

  // The id of the first row, or of the next one; nullopt: there is none. An error: the rows behind
  // `after` are out of reach.
  absl::StatusOr<std::optional<int64_t>> NextId(std::optional<int64_t> after);
  // The greatest id; 0: no rows.
  absl::StatusOr<int64_t> LastId();
  // NOT_FOUND: no such row. Else an error names file, row and column: `jobs.db: row 7, column
  // result: …`.
  absl::StatusOr<NoodlesRow> Read(int64_t id);
  // `jobs.db: row 7`, as errors begin.
  std::string RowName(int64_t id) const;

 private:
  struct Cells;
  NoodlesDatabase(SQLite::Database database, std::string name);

  // The defences; before anything is read.
  void Harden();
  absl::Status CheckTables();
  // Allows the next statement its steps.
  void Refill();
  absl::StatusOr<Cells> ReadCells(int64_t id);
  // Why a row cannot be read, naming the first column that cannot.
  absl::Status FindFault(int64_t id, const absl::Status& otherwise);

  SQLite::Database database_;
  const std::string name_;
  int64_t steps_left_ = 0;  // in thousands
};

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_NOODLES_DATABASE_H_
