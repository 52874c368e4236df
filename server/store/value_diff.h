// In which places two values differ.
#ifndef TIFFIN_SERVER_STORE_VALUE_DIFF_H_
#define TIFFIN_SERVER_STORE_VALUE_DIFF_H_

#include <string>
#include <string_view>
#include <vector>

#include "common/value.h"

namespace tiffin::server {

// The paths where `a` and `b` differ as job keys see them (the order of members, and what records
// keep beside their data, do not count): the innermost ones, at most `limit`, each of at most 1,000
// bytes. `at` is put before each.
std::vector<std::string> DiffPaths(const Value& a, const Value& b, std::string_view at,
                                   size_t limit);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_VALUE_DIFF_H_
