#include "common/registry.h"

#include <deque>
#include <set>
#include <utility>

#include "absl/strings/str_join.h"
#include "common/status.h"
#include "common/strings.h"

namespace tiffin {

Registry& Registry::AddClass(std::string_view class_name, SerialiserPtr serialiser) {
  classes_.insert_or_assign(std::string(class_name), std::move(serialiser));
  return *this;
}

Registry& Registry::AddHook(std::string_view name, SerialiserPtr serialiser) {
  hooks_.insert_or_assign(std::string(name), std::move(serialiser));
  return *this;
}

Registry& Registry::AddBases(std::string_view class_name, std::vector<std::string> bases) {
  bases_.insert_or_assign(std::string(class_name), std::move(bases));
  return *this;
}

Registry& Registry::SetHookFunction(HookFunction function) {
  hook_functions_ = {std::move(function)};
  return *this;
}

Registry& Registry::SetDefault(SerialiserPtr serialiser) {
  default_ = std::move(serialiser);
  return *this;
}

Registry operator+(const Registry& a, const Registry& b) {
  Registry sum = b;
  sum.classes_.insert(a.classes_.begin(), a.classes_.end());  // keeps b's where both have one
  sum.hooks_.insert(a.hooks_.begin(), a.hooks_.end());
  sum.bases_.insert(a.bases_.begin(), a.bases_.end());
  sum.hook_functions_.insert(sum.hook_functions_.end(), a.hook_functions_.begin(),
                             a.hook_functions_.end());
  if (a.default_ != nullptr) sum.default_ = a.default_;
  return sum;
}

absl::StatusOr<const RecordSerialiser*> Registry::Find(const Object& record) const {
  for (const HookFunction& function : hook_functions_) {
    TIFFIN_ASSIGN_OR_RETURN(const std::string name, function(record));
    if (name.empty()) continue;
    const auto hook = hooks_.find(name);
    if (hook != hooks_.end()) return hook->second.get();
    return absl::InternalError(StrCat("a hook function answered ", name, ", which is no hook"));
  }
  const auto hook = hooks_.find(RecordType(record));
  if (hook != hooks_.end()) return hook->second.get();
  if (RecordType(record) == kObjectType) {
    const RecordSerialiser* found = FindClass(RecordClass(record));
    if (found != nullptr) return found;
  }
  return default_.get();
}

const RecordSerialiser* Registry::FindClass(std::string_view class_name) const {
  const auto own = classes_.find(class_name);
  if (own != classes_.end()) return own->second.get();
  std::deque<std::string_view> queue = {class_name};
  std::set<std::string_view> seen;
  while (!queue.empty()) {
    const std::string_view name = queue.front();
    queue.pop_front();
    if (!seen.insert(name).second) continue;
    const auto found = classes_.find(name);
    if (found != classes_.end()) return found->second.get();
    const auto bases = bases_.find(name);
    if (bases != bases_.end()) {
      queue.insert(queue.end(), bases->second.begin(), bases->second.end());
    }
  }
  return nullptr;
}

void Registry::Wrap(const std::function<SerialiserPtr(SerialiserPtr)>& serialiser,
                    const std::function<HookFunction(HookFunction)>& function) {
  for (auto& [name, known] : classes_) known = serialiser(std::move(known));
  for (auto& [name, known] : hooks_) known = serialiser(std::move(known));
  if (default_ != nullptr) default_ = serialiser(std::move(default_));
  for (HookFunction& known : hook_functions_) known = function(std::move(known));
}

std::vector<Registry::Entry> Registry::Describe() const {
  std::vector<Entry> entries;
  for (const auto& [name, serialiser] : hooks_) {
    // What the hook function finds may be of any type; the hook's name tells what it is.
    entries.push_back({name, "", serialiser->Keeps()});
  }
  for (const auto& [name, serialiser] : classes_) {
    entries.push_back({std::string(kObjectType), name, serialiser->Keeps()});
  }
  for (const auto& [name, bases] : bases_) {
    if (classes_.contains(name) || FindClass(name) == nullptr) continue;
    entries.push_back({std::string(kObjectType), name, StrCat("as ", absl::StrJoin(bases, ", "))});
  }
  if (default_ != nullptr) entries.push_back({"", "", default_->Keeps()});
  return entries;
}

}  // namespace tiffin
