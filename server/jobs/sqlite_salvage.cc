#include "server/jobs/sqlite_salvage.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"

namespace tiffin::server {
namespace {

bool TellsOfDamage(const SQLite::Exception& error) {
  switch (error.getErrorCode() & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_IOERR:
    case SQLITE_ERROR:  // the schema cannot be read, or has no such table
      return true;
    default:
      return false;
  }
}

void BindColumn(SQLite::Statement& row, int i, SQLite::Statement& insert) {
  const SQLite::Column column = row.getColumn(i);
  if (column.isInteger()) {
    insert.bind(i + 1, column.getInt64());
  } else if (column.isFloat()) {
    insert.bind(i + 1, column.getDouble());
  } else if (column.isText()) {
    insert.bind(i + 1, column.getString());
  } else if (column.isBlob()) {
    const void* data = column.getBlob();
    insert.bind(i + 1, data != nullptr ? data : "", column.getBytes());
  } else {
    insert.bind(i + 1);
  }
}

}  // namespace

const std::vector<Salvage::Table>& Salvage::Tables() {
  static const std::vector<Table> tables = {
      {"namespaces", "id, name", "id", true},
      {"sessions", "id, namespace, token, name, user, host, script, since", "id", true},
      {"jobs",
       "id, namespace, key, state, epoch, valid_from, losses, link, session, created, lost_hosts, "
       "function, version, tombstone, buried",
       "id",
       true,
       {{2, "checksum"}, {3, "keep"}}},
      {"job_records", "job, record", "job", true},
      {"hits", "job, hits, last", "job", true},
      {"leases", "job, lease_id, epoch, session, request_id, term, granted", "job", true},
      {"results",
       "job, kind, digest, epoch, session, stored, retryable, compute_seconds, exit_status, log, "
       "record",
       "job",
       true,
       {{2, "checksum"}}},
      {"aliases",
       "namespace, profile, name, job",
       "namespace, profile, name",
       false,
       {{3, "checksum"}}},
      {"evidence", "job, digest, session, at", "job, digest", false},
      {"blobs", "id, key, dtype, shape, size, created, location, checksums", "id", true},
      {"blob_views", "blob, namespace", "blob, namespace", false},
      {"value_digests", "value, blob", "value", false, {{3, "checksum"}}},
      {"uses", "job, use, blob", "job, use, blob", false},
      {"holds", "blob, inner", "blob, inner", false},
      {"packs", "name, state", "name", false},
  };
  return tables;
}

Salvage::Salvage(SQLite::Database& from, SQLite::Database& to) : from_(from), to_(to) {
  (void)Try([&] { schema_ = from.execAndGet("PRAGMA user_version").getInt(); });
}

std::string Salvage::Columns(const Table& table) const {
  std::string columns = table.columns;
  for (const auto& [schema, column] : table.later) {
    if (schema <= schema_) absl::StrAppend(&columns, ", ", column);
  }
  return columns;
}

bool Salvage::Try(const std::function<void()>& body) {
  try {
    body();
    return true;
  } catch (const SQLite::Exception& error) {
    if (!TellsOfDamage(error)) throw;
    damaged_ = true;
    return false;
  }
}

void Salvage::Insert(const Table& table, SQLite::Statement& row) {
  std::string marks;
  for (int i = 0; i < row.getColumnCount(); ++i) marks += i == 0 ? "?" : ", ?";
  SQLite::Statement insert(to_, absl::StrCat("INSERT OR IGNORE INTO ", table.name, " (",
                                             Columns(table), ") VALUES (", marks, ")"));
  for (int i = 0; i < row.getColumnCount(); ++i) BindColumn(row, i, insert);
  try {
    insert.exec();
  } catch (const SQLite::Exception& error) {
    if ((error.getErrorCode() & 0xff) != SQLITE_CONSTRAINT) throw;
    damaged_ = true;  // what it holds breaks a rule: it is no row of ours any more
  }
}

bool Salvage::CopyRows(const Table& table, const std::string& where, int64_t* last) {
  std::optional<SQLite::Statement> rows;
  if (!Try([&] {
        rows.emplace(from_, absl::StrCat("SELECT ", Columns(table), " FROM ", table.name, where));
      })) {
    return false;
  }
  while (true) {
    bool more = false;
    if (!Try([&] { more = rows->executeStep(); })) return false;
    if (!more) return true;
    // Reading a column may come upon damage, too: its overflow pages.
    bool whole = true;
    for (int i = 0; i < rows->getColumnCount() && whole; ++i) {
      const SQLite::Column column = rows->getColumn(i);
      whole = column.isNull() || column.getBytes() == 0 || column.getBlob() != nullptr;
    }
    if (last != nullptr) *last = rows->getColumn(0).getInt64();
    if (whole) {
      Insert(table, *rows);
    } else {
      damaged_ = true;
    }
  }
}

// Goes on behind a page that cannot be read: the interior pages lead to the next ones.
void Salvage::CopyByInteger(const Table& table) {
  int64_t last = std::numeric_limits<int64_t>::min() / 2;
  while (!CopyRows(table, absl::StrCat(" WHERE ", table.key, " > ", last, " ORDER BY ", table.key),
                   &last)) {
    last = std::max<int64_t>(last, 0);
    std::optional<int64_t> next;
    for (int64_t step = 1; step < int64_t{1} << 40; step *= 2) {
      const bool read = Try([&] {
        SQLite::Statement probe(
            from_, absl::StrCat("SELECT ", table.key, " FROM ", table.name, " WHERE ", table.key,
                                " > ", last + step, " ORDER BY ", table.key, " LIMIT 1"));
        if (probe.executeStep()) next = probe.getColumn(0).getInt64();
      });
      if (read) break;
    }
    if (!next) return;
    int64_t ignored = 0;
    (void)CopyRows(table,
                   absl::StrCat(" WHERE ", table.key, " > ", last, " AND ", table.key, " < ", *next,
                                " ORDER BY ", table.key, " DESC"),
                   &ignored);
    last = *next - 1;
  }
}

void Salvage::CopyFromBothEnds(const Table& table) {
  std::string down(table.key);
  for (size_t at = down.find(','); at != std::string::npos; at = down.find(',', at + 6)) {
    down.insert(at, " DESC");
  }
  if (CopyRows(table, absl::StrCat(" ORDER BY ", table.key), nullptr)) return;
  (void)CopyRows(table, absl::StrCat(" ORDER BY ", down, " DESC"), nullptr);
}

void Salvage::CopyAll() {
  for (const Table& table : Tables()) {
    if (table.integer_key) {
      CopyByInteger(table);
    } else {
      CopyFromBothEnds(table);
    }
  }
  (void)Try([&] {
    SQLite::Statement epoch(from_, "SELECT epoch FROM counters");
    if (!epoch.executeStep()) return;
    SQLite::Statement update(to_, "UPDATE counters SET epoch = ?");
    update.bind(1, epoch.getColumn(0).getInt64());
    update.exec();
  });
}

std::multimap<Digest, int64_t> Salvage::BlobIds() {
  std::multimap<Digest, int64_t> ids;
  (void)Try([&] {
    SQLite::Statement rows(from_, "SELECT key, id FROM blobs INDEXED BY blob_key ORDER BY key");
    while (rows.executeStep()) {
      const SQLite::Column key = rows.getColumn(0);
      Digest digest;
      if (static_cast<size_t>(key.getBytes()) != digest.bytes.size()) continue;
      std::memcpy(digest.bytes.data(), key.getBlob(), digest.bytes.size());
      ids.emplace(digest, rows.getColumn(1).getInt64());
    }
  });
  return ids;
}

}  // namespace tiffin::server
