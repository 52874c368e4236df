#include "server/store/value_diff.h"

#include <algorithm>

#include "common/cbor.h"
#include "common/path.h"
#include "common/record.h"
#include "common/utf8.h"

namespace tiffin::server {
namespace {

constexpr size_t kPathBytes = 1000;  // of a path that is told; a name may have megabytes

bool SameEncoding(const Value& a, const Value& b) {
  const auto x = EncodeCbor(a), y = EncodeCbor(b);
  return x.ok() && y.ok() && *x == *y;
}

// Whether a record's data can be compared part by part: not if it is a ref, or a set.
bool HasParts(const Object& record) {
  const std::string_view name = RecordClass(record);
  return !HasRef(record) && name != "builtins.set" && name != "builtins.frozenset" &&
         name != kWorkflowClass && name != kBytesClass && !NamesFiles(record);
}

class Differ {
 public:
  explicit Differ(size_t limit) : limit_(limit) {}

  void Walk(const Value& a, const Value& b, const std::string& at) {
    if (paths_.size() >= limit_) return;
    const Object *x = a.if_object(), *y = b.if_object();
    if (x && y && IsRecord(*x) && IsRecord(*y)) return Records(a, b, at);
    if (x && y && !IsRecord(*x) && !IsRecord(*y)) return Objects(*x, *y, at);
    if (a.if_list() && b.if_list()) return Lists(*a.if_list(), *b.if_list(), at);
    if (!SameEncoding(a, b)) Add(at);
  }

  std::vector<std::string> Take() { return std::move(paths_); }

 private:
  void Add(const std::string& path) { paths_.push_back(CutUtf8(path, kPathBytes)); }

  void Records(const Value& a, const Value& b, const std::string& at) {
    const Object &x = *a.if_object(), &y = *b.if_object();
    if (RecordType(x) != RecordType(y) || RecordClass(x) != RecordClass(y) || !HasParts(x) ||
        !HasParts(y)) {
      if (!SameEncoding(a, b)) Add(at);
      return;
    }
    const Value none, *p = x.Find("data"), *q = y.Find("data");
    // The reader thinks of the object, not of its record.
    Walk(p ? *p : none, q ? *q : none, at);
  }

  void Objects(const Object& x, const Object& y, const std::string& at) {
    const auto member = [&](const std::string& name) {
      std::string path = at;
      AppendMember(name, &path);
      return path;
    };
    for (const auto& [name, value] : x) {
      if (const Value* other = y.Find(name)) {
        Walk(value, *other, member(name));
      } else if (paths_.size() < limit_) {
        Add(member(name));
      }
    }
    for (const auto& [name, value] : y) {
      if (!x.Find(name) && paths_.size() < limit_) Add(member(name));
    }
  }

  void Lists(const List& x, const List& y, const std::string& at) {
    for (size_t i = 0; i < std::max(x.size(), y.size()) && paths_.size() < limit_; ++i) {
      std::string path = at;
      AppendItem(i, &path);
      if (i < std::min(x.size(), y.size())) {
        Walk(x[i], y[i], path);
      } else {
        Add(path);
      }
    }
  }

  const size_t limit_;
  std::vector<std::string> paths_;
};

}  // namespace

std::vector<std::string> DiffPaths(const Value& a, const Value& b, std::string_view at,
                                   size_t limit) {
  Differ differ(limit);
  differ.Walk(a, b, std::string(at));
  return differ.Take();
}

}  // namespace tiffin::server
