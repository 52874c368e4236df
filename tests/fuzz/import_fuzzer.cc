// Noodles' databases: whatever a file holds, each of its rows is a job, or nothing that is to be
// imported, or an error that names the row. Nothing hangs.
#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Exception.h>
#include <sqlite3.h>

#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "client/cli/noodles_database.h"
#include "common/cbor.h"
#include "common/job.h"
#include "common/json.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using tiffin::cli::NoodlesDatabase;
using tiffin::cli::NoodlesRow;

constexpr size_t kMaxBytes = 1 << 20;

// The input as a database in memory.
std::optional<SQLite::Database> Load(const uint8_t* data, size_t size) {
  SQLite::Database database(":memory:", SQLite::OPEN_READWRITE);
  // Freed with the database.
  auto* copy = static_cast<unsigned char*>(sqlite3_malloc64(size));
  if (copy == nullptr) return std::nullopt;
  std::memcpy(copy, data, size);
  const auto length = static_cast<sqlite3_int64>(size);
  if (sqlite3_deserialize(database.getHandle(), "main", copy, length, length,
                          SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_READONLY) !=
      SQLITE_OK) {
    return std::nullopt;
  }
  // Longer texts only take time here.
  sqlite3_limit(database.getHandle(), SQLITE_LIMIT_LENGTH, kMaxBytes);
  return database;
}

void CheckJob(const NoodlesRow& row) {
  const auto key = tiffin::JobKey(row.job, {.allow_unversioned_main = true});
  FUZZ_CHECK(key.ok() && *key == row.key);
  FUZZ_CHECK(tiffin::JobKey(row.job).ok() == !row.unversioned_main);
  const auto again = tiffin::ParseJson(tiffin::PrintJson(row.job), tiffin::fuzzing::WideLimits());
  FUZZ_CHECK(again.ok());  // as a server reads it
  FUZZ_CHECK(tiffin::JobKey(*again, {.allow_unversioned_main = true}).value() == row.key);
  if (row.profile.has_value()) {
    FUZZ_CHECK(tiffin::NoodlesProv(row.job, *row.profile).value() == row.prov);
  }
}

void CheckRow(const NoodlesRow& row) {
  switch (row.kind) {
    case NoodlesRow::Kind::kResult:
    case NoodlesRow::Kind::kWorkflow:
      CheckJob(row);
      [[fallthrough]];
    case NoodlesRow::Kind::kFinal:
      FUZZ_CHECK(tiffin::ResultDigest(row.result).value() == row.result_digest);
      break;
    case NoodlesRow::Kind::kDuplicate:
      FUZZ_CHECK(row.link.has_value());
      break;
    case NoodlesRow::Kind::kUnfinished:
      break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > kMaxBytes) return 0;
  std::optional<SQLite::Database> loaded = Load(data, size);
  if (!loaded.has_value()) return 0;
  auto database = NoodlesDatabase::Make(*std::move(loaded), "input");
  if (!database.ok()) {
    FUZZ_CHECK(database.status().message().find("input: ") == 0);
    return 0;
  }
  const auto last = (*database)->LastId();
  size_t rows = 0;
  for (std::optional<int64_t> at;;) {
    const auto next = (*database)->NextId(at);
    if (!next.ok()) {
      FUZZ_CHECK(next.status().message().find("input: ") == 0);
      break;
    }
    if (!next->has_value()) break;
    FUZZ_CHECK(!at.has_value() || **next > *at);
    FUZZ_CHECK(++rows <= size);  // each takes some bytes
    at = *next;
    const auto row = (*database)->Read(*at);
    if (row.ok()) {
      CheckRow(*row);
    } else {
      FUZZ_CHECK(row.status().message().find((*database)->RowName(*at)) == 0);
    }
  }
  (void)last;  // any of its answers will do
  return 0;
}
