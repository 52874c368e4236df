// Private to this folder: reads what can be read of a damaged database, around what cannot.
#ifndef TIFFIN_SERVER_JOBS_SQLITE_SALVAGE_H_
#define TIFFIN_SERVER_JOBS_SQLITE_SALVAGE_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/crypto.h"
#include "server/jobs/sqlite_connection.h"

namespace tiffin::server {

// Copies tables of one database into another of the same schema. SQLite's exceptions leave it
// unless they tell of damage in the source.
class Salvage {
 public:
  Salvage(SQLite::Database& from, SQLite::Database& to);

  // All tables. Rows that cannot be read, or that break a rule of the schema, are left out.
  void CopyAll();
  // Keys of blobs and their rows, from the index on keys: there even when the table itself is not.
  std::multimap<Digest, int64_t> BlobIds();

  // Whether something could not be read or kept.
  bool damaged() const { return damaged_; }

 private:
  struct Table {
    const char* name;
    const char* columns;
    const char* key;
    bool integer_key;
    std::vector<std::pair<int, const char*>> later = {};  // columns that this schema added
  };
  static const std::vector<Table>& Tables();
  std::string Columns(const Table& table) const;

  void CopyByInteger(const Table& table);
  void CopyFromBothEnds(const Table& table);
  // Copies what the statement gives. False: it came upon damage.
  bool CopyRows(const Table& table, const std::string& where, int64_t* last);
  void Insert(const Table& table, SQLite::Statement& row);
  // Runs `body`; false if it came upon damage in the source.
  bool Try(const std::function<void()>& body);

  SQLite::Database& from_;
  SQLite::Database& to_;
  int schema_ = std::numeric_limits<int>::max();  // of the source
  bool damaged_ = false;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_SQLITE_SALVAGE_H_
