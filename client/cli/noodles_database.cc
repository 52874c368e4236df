#include "client/cli/noodles_database.h"

#include <SQLiteCpp/Column.h>
#include <SQLiteCpp/Exception.h>
#include <SQLiteCpp/Statement.h>
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include "common/cbor.h"
#include "common/json.h"
#include "common/record.h"
#include "common/status.h"
#include "common/utf8.h"

namespace tiffin::cli {
namespace {

constexpr int kBusyTimeoutMs = 5000;
constexpr int kMaxTextBytes = 16 << 20;      // no server takes a longer one
constexpr int64_t kStepsOfStatement = 1000;  // in thousands: a row takes some ten
constexpr char kNotNoodles[] = "is no job database of Noodles 0.3";

enum Column { kStatus, kProv, kVersion, kFunction, kArguments, kResult, kLink };
constexpr std::array<const char*, 7> kColumns = {"status",    "prov",   "version", "function",
                                                 "arguments", "result", "link"};
constexpr char kSelectRow[] =
    "SELECT status, prov, version, function, arguments, result, link FROM jobs NOT INDEXED WHERE "
    "id = ?";

// As Noodles numbers them.
enum NoodlesStatus { kInactive, kWaiting, kStored, kWorkflow, kDuplicate, kLinkee };

struct Blob {};
using Cell = std::variant<std::monostate, int64_t, double, std::string, Blob>;

absl::Status StatusOf(const SQLite::Exception& error) {
  switch (error.getErrorCode() & 0xff) {
    case SQLITE_NOTADB:
      return absl::InvalidArgumentError("is no SQLite database");
    case SQLITE_CORRUPT:
      return absl::DataLossError(StrCat("is damaged: ", error.what()));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::FailedPreconditionError("is in use: wait until Noodles has ended");
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return absl::FailedPreconditionError(
          "is as a run that was cut short left it, or unreadable: a journal beside it must be "
          "rolled back, "
          "which any program does that opens it (or a copy of both) for writing");
    case SQLITE_TOOBIG:
      return absl::ResourceExhaustedError(
          StrCat("is too large; ", kMaxTextBytes, " bytes are the limit"));
    case SQLITE_INTERRUPT:
      return absl::ResourceExhaustedError("takes too many steps to read");
    case SQLITE_IOERR:
      return absl::DataLossError(StrCat("cannot be read: ", error.what()));
    case SQLITE_NOMEM:
      return absl::ResourceExhaustedError("not enough memory");
    default:  // a schema that cannot be used
      return absl::InvalidArgumentError(StrCat(kNotNoodles, ": ", error.what()));
  }
}

// Runs `body`, whose SQLite errors become a status.
template <typename Body>
auto Caught(const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const SQLite::Exception& error) {
    return StatusOf(error);
  }
}

void Lower(sqlite3* handle, int limit, int value) {
  if (sqlite3_limit(handle, limit, -1) > value) sqlite3_limit(handle, limit, value);
}

Cell CellOf(const SQLite::Column& column) {
  if (column.isInteger()) return column.getInt64();
  if (column.isFloat()) return column.getDouble();
  if (column.isText()) return column.getString();
  if (column.isBlob()) return Blob();
  return std::monostate();
}

std::string_view KindName(const Cell& cell) {
  constexpr std::array<std::string_view, 5> kNames = {"NULL", "an integer", "a real number", "text",
                                                      "a blob"};
  return kNames[cell.index()];
}

absl::Status Expected(std::string_view what, const Cell& cell) {
  return absl::InvalidArgumentError(StrCat("expected ", what, ", found ", KindName(cell)));
}

absl::StatusOr<Value> JsonOf(const Cell& cell) {
  const std::string* text = std::get_if<std::string>(&cell);
  if (text == nullptr) return Expected("JSON text", cell);
  return ParseJson(*text);
}

// What may have stood in `hints.version`: the column is of type TEXT, so that SQLite made text of a
// number or a truth value.
absl::StatusOr<std::vector<std::optional<Value>>> VersionsOf(const Cell& cell) {
  if (std::holds_alternative<std::monostate>(cell)) {
    return std::vector<std::optional<Value>>{std::nullopt, Value()};
  }
  const std::string* text = std::get_if<std::string>(&cell);
  if (text == nullptr) return Expected("text or NULL", cell);
  if (ToValidUtf8(*text) != *text) return absl::InvalidArgumentError("is no UTF-8");
  std::vector<std::optional<Value>> versions = {Value(*text)};
  if (*text == "0" || *text == "1") versions.emplace_back(Value(*text == "1"));
  absl::StatusOr<Value> number = ParseJson(*text);
  if (number.ok() && (number->is_integer() || number->if_double() != nullptr)) {
    versions.emplace_back(*std::move(number));
  }
  return versions;
}

Value JobRecord(Value function, Value arguments) {
  return Object{{"_noodles", "0.3.0"},
                {"type", kObjectType},
                {"class", kFunctionNodeClass},
                {"data", Object{{"function", std::move(function)},
                                {"arguments", std::move(arguments)},
                                {"hints", Object()}}}};
}

void SetVersion(const std::optional<Value>& version, Value* job) {
  Object hints;
  if (version.has_value()) hints.Set("version", *version);
  job->if_object()->Find("data")->if_object()->Set("hints", std::move(hints));
}

// Gives the job the version that its `prov` was made with; the first if that is none of them.
absl::Status FindVersion(const std::vector<std::optional<Value>>& versions, NoodlesRow* row) {
  for (const std::optional<Value>& version : versions) {
    SetVersion(version, &row->job);
    for (const NoodlesProfile profile : {NoodlesProfile::kJson, NoodlesProfile::kUjson}) {
      TIFFIN_ASSIGN_OR_RETURN(const std::string prov, NoodlesProv(row->job, profile));
      if (prov != row->prov) continue;
      row->profile = profile;
      return absl::OkStatus();
    }
  }
  SetVersion(versions[0], &row->job);
  return absl::OkStatus();
}

}  // namespace

struct NoodlesDatabase::Cells {
  std::array<Cell, kColumns.size()> cells;

  // The status of what was made of a column, with its name.
  static absl::Status Of(Column column, const absl::Status& status) {
    return Annotate(status, StrCat("column ", kColumns[column]));
  }
  size_t bytes() const {
    size_t sum = 0;
    for (const Cell& cell : cells) {
      if (const auto* text = std::get_if<std::string>(&cell)) sum += text->size();
    }
    return sum;
  }

  absl::Status ReadJob(NoodlesRow* row) const;
  absl::Status ReadResult(NoodlesRow* row) const;
  absl::Status ReadLink(bool needed, NoodlesRow* row) const;
  absl::Status ReadInto(NoodlesRow* row) const;
};

absl::Status NoodlesDatabase::Cells::ReadJob(NoodlesRow* row) const {
  const std::string* prov = std::get_if<std::string>(&cells[kProv]);
  if (prov == nullptr) return Of(kProv, Expected("text", cells[kProv]));
  row->prov = *prov;
  absl::StatusOr<Value> function = JsonOf(cells[kFunction]);
  if (!function.ok()) return Of(kFunction, function.status());
  absl::StatusOr<Value> arguments = JsonOf(cells[kArguments]);
  if (!arguments.ok()) return Of(kArguments, arguments.status());
  absl::StatusOr<std::vector<std::optional<Value>>> versions = VersionsOf(cells[kVersion]);
  if (!versions.ok()) return Of(kVersion, versions.status());
  row->job = JobRecord(*std::move(function), *std::move(arguments));
  TIFFIN_RETURN_IF_ERROR(Of(kProv, FindVersion(*versions, row)));
  TIFFIN_ASSIGN_OR_RETURN(const JobParts parts, PartsOfJob(row->job));
  const absl::StatusOr<Digest> key = JobKey(parts, {.allow_unversioned_main = true});
  // What is wrong with a record in it is told with its path.
  if (!key.ok()) {
    const bool in_function = key.status().message().find("data.function") == 0;
    return Of(in_function ? kFunction : kArguments, key.status());
  }
  row->key = *key;
  row->unversioned_main = parts.version == nullptr && IsMainFunction(*parts.function);
  return absl::OkStatus();
}

absl::Status NoodlesDatabase::Cells::ReadResult(NoodlesRow* row) const {
  absl::StatusOr<Value> result = JsonOf(cells[kResult]);
  if (!result.ok()) return Of(kResult, result.status());
  const absl::StatusOr<Digest> digest = ResultDigest(*result);
  if (!digest.ok()) return Of(kResult, digest.status());
  row->result = *std::move(result);
  row->result_digest = *digest;
  return absl::OkStatus();
}

absl::Status NoodlesDatabase::Cells::ReadLink(bool needed, NoodlesRow* row) const {
  if (const int64_t* link = std::get_if<int64_t>(&cells[kLink])) {
    row->link = *link;
  } else if (needed || !std::holds_alternative<std::monostate>(cells[kLink])) {
    return Of(kLink, Expected("the id of a row", cells[kLink]));
  }
  return absl::OkStatus();
}

absl::Status NoodlesDatabase::Cells::ReadInto(NoodlesRow* row) const {
  using Kind = NoodlesRow::Kind;
  constexpr std::array<Kind, 6> kKinds = {Kind::kUnfinished, Kind::kUnfinished, Kind::kResult,
                                          Kind::kWorkflow,   Kind::kDuplicate,  Kind::kFinal};
  const int64_t* status = std::get_if<int64_t>(&cells[kStatus]);
  if (status == nullptr) return Of(kStatus, Expected("an integer", cells[kStatus]));
  if (*status < kInactive || *status > kLinkee) {
    return Of(kStatus, absl::InvalidArgumentError(StrCat("Noodles has no status ", *status)));
  }
  row->kind = kKinds[*status];
  row->bytes = bytes();
  if (row->kind == Kind::kUnfinished) return absl::OkStatus();
  TIFFIN_RETURN_IF_ERROR(ReadLink(row->kind == Kind::kDuplicate, row));
  if (row->kind == Kind::kDuplicate) return absl::OkStatus();
  TIFFIN_RETURN_IF_ERROR(ReadResult(row));
  return row->kind == Kind::kFinal ? absl::OkStatus() : ReadJob(row);
}

absl::StatusOr<std::unique_ptr<NoodlesDatabase>> NoodlesDatabase::Open(const std::string& file) {
  // A reader of a database in WAL mode writes files beside it.
  constexpr size_t kReadVersion = 19;  // place in the header: 2 is WAL
  std::array<char, 20> header{};
  if (std::ifstream(file, std::ios::binary).read(header.data(), header.size()) &&
      header[kReadVersion] == 2) {
    return absl::FailedPreconditionError(
        StrCat(file,
               ": is in WAL mode, which Noodles does not set; import a copy after "
               "`PRAGMA journal_mode = DELETE`"));
  }
  absl::StatusOr<SQLite::Database> database = Caught([&]() -> absl::StatusOr<SQLite::Database> {
    std::error_code ignored;  // then the path stays as it is
    // Made absolute, it is none of SQLite's own names, such as `:memory:`.
    const std::filesystem::path path = std::filesystem::absolute(file, ignored);
    return SQLite::Database(path.string(), SQLite::OPEN_READONLY | SQLite::OPEN_NOMUTEX,
                            kBusyTimeoutMs);
  });
  if (!database.ok()) return Annotate(database.status(), file);
  return Make(*std::move(database), file);
}

absl::StatusOr<std::unique_ptr<NoodlesDatabase>> NoodlesDatabase::Make(SQLite::Database database,
                                                                       std::string name) {
  std::unique_ptr<NoodlesDatabase> made(new NoodlesDatabase(std::move(database), std::move(name)));
  const absl::Status status = Caught([&] {
    made->Harden();
    return made->CheckTables();
  });
  if (!status.ok()) return Annotate(status, made->name_);
  return made;
}

NoodlesDatabase::NoodlesDatabase(SQLite::Database database, std::string name)
    : database_(std::move(database)), name_(std::move(name)) {}

NoodlesDatabase::~NoodlesDatabase() {
  sqlite3_progress_handler(database_.getHandle(), 0, nullptr, nullptr);
}

void NoodlesDatabase::Harden() {
  sqlite3* handle = database_.getHandle();
  // A row of three texts; the schema and all that it could ask for.
  Lower(handle, SQLITE_LIMIT_LENGTH, 3 * kMaxTextBytes + (1 << 20));
  Lower(handle, SQLITE_LIMIT_SQL_LENGTH, 100'000);
  Lower(handle, SQLITE_LIMIT_COLUMN, 100);
  Lower(handle, SQLITE_LIMIT_EXPR_DEPTH, 20);
  Lower(handle, SQLITE_LIMIT_COMPOUND_SELECT, 3);
  Lower(handle, SQLITE_LIMIT_VDBE_OP, 25'000);
  Lower(handle, SQLITE_LIMIT_FUNCTION_ARG, 8);
  Lower(handle, SQLITE_LIMIT_ATTACHED, 0);
  Lower(handle, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50);
  Lower(handle, SQLITE_LIMIT_TRIGGER_DEPTH, 1);
  Lower(handle, SQLITE_LIMIT_WORKER_THREADS, 0);
  for (const auto& [option, value] :
       {std::pair(SQLITE_DBCONFIG_DEFENSIVE, 1), std::pair(SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
        std::pair(SQLITE_DBCONFIG_ENABLE_TRIGGER, 0), std::pair(SQLITE_DBCONFIG_ENABLE_VIEW, 0),
        std::pair(SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0)}) {
    database_.check(sqlite3_db_config(handle, option, value, nullptr));
  }
  const auto step = [](void* left) { return --*static_cast<int64_t*>(left) < 0 ? 1 : 0; };
  Refill();
  sqlite3_progress_handler(handle, 1000, step, &steps_left_);
  database_.exec("PRAGMA query_only = ON");
  database_.exec("PRAGMA cell_size_check = ON");
  database_.exec("PRAGMA mmap_size = 0");  // an I/O error in a mapping is a SIGBUS
}

void NoodlesDatabase::Refill() { steps_left_ = kStepsOfStatement; }

absl::Status NoodlesDatabase::CheckTables() {
  Refill();
  // A plain table: neither a view nor a virtual one.
  SQLite::Statement table(database_,
                          "SELECT 1 FROM sqlite_schema WHERE name = 'jobs' AND type = 'table' AND "
                          "rootpage > 0 AND sql LIKE 'CREATE TABLE%'");
  if (!table.executeStep()) {
    return absl::InvalidArgumentError(StrCat(kNotNoodles, ": it has no table jobs"));
  }
  Refill();
  std::set<std::string> found;
  SQLite::Statement columns(database_, "PRAGMA table_xinfo(jobs)");
  while (columns.executeStep()) {
    const bool stored = columns.getColumn("hidden").getInt() == 0;  // not generated
    const bool key = columns.getColumn("pk").getInt() == 1;
    const std::string name = columns.getColumn("name").getString();
    if (stored && key == (name == "id")) found.insert(name);
  }
  for (const char* name :
       {"id", "status", "prov", "version", "function", "arguments", "result", "link"}) {
    if (found.contains(name)) continue;
    return absl::InvalidArgumentError(
        StrCat(kNotNoodles, ": its table jobs has no column ", name,
               std::string_view(name) == "id" ? " that is its key" : ""));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<int64_t>> NoodlesDatabase::NextId(std::optional<int64_t> after) {
  using Id = absl::StatusOr<std::optional<int64_t>>;
  using Limits = std::numeric_limits<int64_t>;
  if (after == Limits::max()) return std::nullopt;
  const int64_t from = after.has_value() ? *after + 1 : Limits::min();
  Id next = Caught([&]() -> Id {
    Refill();
    SQLite::Statement query(database_,
                            "SELECT id FROM jobs NOT INDEXED WHERE id >= ? ORDER BY id LIMIT 1");
    query.bind(1, from);
    if (!query.executeStep()) return std::nullopt;
    const Cell id = CellOf(query.getColumn(0));
    // Else reading could go round in a damaged file for ever.
    if (const int64_t* number = std::get_if<int64_t>(&id); number != nullptr && *number >= from) {
      return *number;
    }
    return absl::DataLossError("is damaged: its rows are out of order");
  });
  if (next.ok()) return next;
  return Annotate(next.status(), after.has_value()
                                     ? StrCat(RowName(*after), " and all rows behind it")
                                     : StrCat(name_, ": its rows"));
}

absl::StatusOr<int64_t> NoodlesDatabase::LastId() {
  absl::StatusOr<int64_t> last = Caught([&]() -> absl::StatusOr<int64_t> {
    Refill();
    SQLite::Statement query(database_, "SELECT max(id) FROM jobs NOT INDEXED");
    if (!query.executeStep()) return absl::InternalError("max() gives no row");
    return query.getColumn(0).getInt64();
  });
  if (!last.ok()) return Annotate(last.status(), name_);
  return last;
}

absl::StatusOr<NoodlesDatabase::Cells> NoodlesDatabase::ReadCells(int64_t id) {
  absl::StatusOr<Cells> cells = Caught([&]() -> absl::StatusOr<Cells> {
    Refill();
    SQLite::Statement query(database_, kSelectRow);
    query.bind(1, id);
    if (!query.executeStep()) return absl::NotFoundError("there is no such row");
    Cells out;
    for (size_t i = 0; i < out.cells.size(); ++i) {
      out.cells[i] = CellOf(query.getColumn(static_cast<int>(i)));
    }
    return out;
  });
  if (cells.ok() || absl::IsNotFound(cells.status())) return cells;
  return FindFault(id, cells.status());
}

absl::Status NoodlesDatabase::FindFault(int64_t id, const absl::Status& otherwise) {
  for (size_t i = 0; i < kColumns.size(); ++i) {
    const absl::Status status = Caught([&]() -> absl::Status {
      Refill();
      SQLite::Statement query(
          database_, StrCat("SELECT ", kColumns[i], " FROM jobs NOT INDEXED WHERE id = ?"));
      query.bind(1, id);
      query.executeStep();
      return absl::OkStatus();
    });
    if (!status.ok()) return Cells::Of(static_cast<Column>(i), status);
  }
  return otherwise;
}

std::string NoodlesDatabase::RowName(int64_t id) const { return StrCat(name_, ": row ", id); }

absl::StatusOr<NoodlesRow> NoodlesDatabase::Read(int64_t id) {
  absl::StatusOr<Cells> cells = ReadCells(id);
  NoodlesRow row;
  row.id = id;
  const absl::Status status = cells.ok() ? cells->ReadInto(&row) : cells.status();
  if (status.ok()) return row;
  return absl::Status(status.code(), StrCat(RowName(id), ", ", status.message()));
}

}  // namespace tiffin::cli
