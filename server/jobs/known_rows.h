// Private to this folder: rows that a connection need not look up again.
#ifndef TIFFIN_SERVER_JOBS_KNOWN_ROWS_H_
#define TIFFIN_SERVER_JOBS_KNOWN_ROWS_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "server/jobs/job_database.h"

namespace tiffin::server {

// Namespaces and sessions, of which most operations name the same few. Nobody changes or deletes
// their rows: one that was seen is as it was, unless the transaction that added it was undone. Used
// by one thread at a time.
class KnownRows {
 public:
  // 0: not known here.
  RowId FindNamespace(std::string_view name) const {
    const auto it = namespaces_.find(std::string(name));
    return it == namespaces_.end() ? 0 : it->second;
  }
  void AddNamespace(std::string_view name, RowId id) {
    if (namespaces_.size() >= kMost) namespaces_.clear();
    namespaces_[std::string(name)] = id;
  }

  // nullptr: not known here. Until the next call of a method that is not const.
  const SessionRow* FindSession(RowId id) const {
    const auto it = sessions_.find(id);
    return it == sessions_.end() ? nullptr : &it->second;
  }
  const SessionRow* FindSession(RowId namespace_id, std::string_view token) const {
    const auto it = tokens_.find(TokenKey(namespace_id, token));
    return it == tokens_.end() ? nullptr : FindSession(it->second);
  }
  void AddSession(const SessionRow& session) {
    if (sessions_.size() >= kMost) {
      sessions_.clear();
      tokens_.clear();
    }
    tokens_[TokenKey(session.namespace_id, session.token)] = session.id;
    sessions_[session.id] = session;
  }

  void Forget() {
    namespaces_.clear();
    sessions_.clear();
    tokens_.clear();
  }

 private:
  static constexpr size_t kMost = 1000;  // of each kind

  static std::string TokenKey(RowId namespace_id, std::string_view token) {
    return std::to_string(namespace_id) + ' ' + std::string(token);
  }

  std::unordered_map<std::string, RowId> namespaces_;  // by name
  std::unordered_map<RowId, SessionRow> sessions_;
  std::unordered_map<std::string, RowId> tokens_;  // of sessions_
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_KNOWN_ROWS_H_
