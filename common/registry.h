// The Registry of a server: finds the serialiser of a record (DESIGN.md 6).
#ifndef TIFFIN_COMMON_REGISTRY_H_
#define TIFFIN_COMMON_REGISTRY_H_

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/serialiser.h"

namespace tiffin {

// Types, hooks, a hook function and a default, as in Noodles; registries add up with `+`.
//
// Records of type `<object>` are looked up by their class. Any other type (`<automagic>`, …) is the
// name of a hook, and so is what the hook function answers, which may inspect the whole record.
//
// Threads: a Registry that is no longer changed may be used from many threads at once.
class Registry {
 public:
  // The name of a hook for this record, or "" to leave it to others. An error refuses the record.
  using HookFunction = std::function<absl::StatusOr<std::string>(const Object& record)>;

  // Each replaces what was there under that name.
  Registry& AddClass(std::string_view class_name, SerialiserPtr serialiser);
  Registry& AddHook(std::string_view name, SerialiserPtr serialiser);
  // Declares the direct bases of a class, in the order they are searched.
  Registry& AddBases(std::string_view class_name, std::vector<std::string> bases);
  Registry& SetHookFunction(HookFunction function);
  Registry& SetDefault(SerialiserPtr serialiser);

  // `b` overrides `a`; b's hook function is asked first; the default stays a's, if it has one.
  friend Registry operator+(const Registry& a, const Registry& b);

  // Look-up: the hook function's answer, then the record's type, if they name a hook; of an
  // `<object>` then its class, then the class's bases breadth-first; then the default. nullptr if
  // there is no default either. The pointer lives as long as the Registry.
  // Errors: those of the hook function.
  absl::StatusOr<const RecordSerialiser*> Find(const Object& record) const;

  // Whether the class has a serialiser of its own; whether it has one of its own or bases.
  bool HasClass(std::string_view class_name) const { return classes_.contains(class_name); }
  bool KnowsClass(std::string_view class_name) const {
    return HasClass(class_name) || bases_.contains(class_name);
  }

  // Puts a wrapper around each serialiser and hook function.
  void Wrap(const std::function<SerialiserPtr(SerialiserPtr)>& serialiser,
            const std::function<HookFunction(HookFunction)>& function);

  // What this Registry knows, for people: hooks, classes, classes known by their bases, the
  // default.
  struct Entry {
    std::string record_type;  // empty: any
    std::string class_name;   // empty: any
    std::string keeps;
  };
  std::vector<Entry> Describe() const;

 private:
  const RecordSerialiser* FindClass(std::string_view class_name) const;

  template <typename T>
  using ByName = std::map<std::string, T, std::less<>>;
  ByName<SerialiserPtr> classes_;
  ByName<SerialiserPtr> hooks_;
  ByName<std::vector<std::string>> bases_;
  std::vector<HookFunction> hook_functions_;  // asked in this order
  SerialiserPtr default_;
};

}  // namespace tiffin

#endif  // TIFFIN_COMMON_REGISTRY_H_
