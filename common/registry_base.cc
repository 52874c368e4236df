// Python's own objects and tiffin's, by class and by type.
#include <utility>

#include "common/registries.h"
#include "common/registry_noodles.h"
#include "common/shape_check.h"
#include "common/strings.h"

namespace tiffin {
namespace {

constexpr std::string_view kMarked = "marked with ref: as a value; else as it is";

absl::Status CheckSize(const Value& list, size_t size, const PathLink& where) {
  TIFFIN_RETURN_IF_ERROR(AnyList(list, where));
  const size_t found = list.if_list()->size();
  if (found == size) return absl::OkStatus();
  return BadRecord(where, StrCat("expected ", size, " items, found ", found));
}

// [start, stop, step]
absl::Status Slice(const Value& data, const PathLink& where) { return CheckSize(data, 3, where); }

absl::Status Complex(const Value& data, const PathLink& where) {
  return CheckMembers(data, where, {{"real", AnyNumber}, {"imag", AnyNumber}});
}

// Noodles' <namedtuple>: the fields are a tuple record.
absl::Status NamedTuple(const Value& data, const PathLink& where) {
  return CheckMembers(data, where,
                      {{"name", QualifiedName}, {"data", [](const Value& v, const PathLink& path) {
                                                   return CheckRecordOf(v, "builtins.tuple", path);
                                                 }}});
}

absl::Status Method(const Value& data, const PathLink& where) {
  return CheckMembers(data, where, {{"class", QualifiedName}, {"method", QualifiedName}});
}

absl::Status BoundMethod(const Value& data, const PathLink& where) {
  return CheckMembers(data, where, {{"self", AnyValue}, {"name", QualifiedName}});
}

// tiffin.map: pairs of key and value, since keys of JSON objects are strings.
absl::Status Pairs(const Value& data, const PathLink& where) {
  return CheckItems(data, where, [](const Value& pair, const PathLink& path) {
    return CheckSize(pair, 2, path);
  });
}

// tiffin.files: an object with the content of its files, by name.
absl::Status Files(const Value& data, const PathLink& where) {
  TIFFIN_RETURN_IF_ERROR(CheckMembers(data, where, {{"value", AnyValue}, {"files", AnyMap}}));
  const PathLink files_path(where, "files");
  for (const auto& [name, file] : *data.if_object()->Find("files")->if_object()) {
    TIFFIN_RETURN_IF_ERROR(CheckRecordOf(file, kBytesClass, PathLink(files_path, name)));
  }
  return absl::OkStatus();
}

// Data, or data that came with the content of its files.
template <ValueCheck kCheck>
absl::Status WithFiles(const Value& data, const PathLink& where) {
  if (!IsRecordOf(data, kObjectType, kFilesClass)) return kCheck(data, where);
  const Value* around = data.if_object()->Find("data");
  const Object* members = around == nullptr ? nullptr : around->if_object();
  const Value* value = members == nullptr ? nullptr : members->Find("value");
  if (value == nullptr) return absl::OkStatus();  // malformed, as its own serialiser says
  const PathLink around_path(where, "data");
  return kCheck(*value, PathLink(around_path, "value"));
}

void AddPythonClasses(Registry* registry) {
  const auto add = [registry](std::string_view name, ValueCheck check,
                              std::string_view keeps = kMarked) {
    registry->AddClass(name, MakeShapedSerialiser(check, keeps));
  };
  add("builtins.tuple", AnyList);
  add("builtins.list", AnyList);
  add("builtins.set", AnyList);
  add("builtins.frozenset", AnyList);
  add("builtins.dict", AnyMap);
  add("builtins.slice", Slice);
  add("builtins.complex", Complex);
  add("enum.Enum", AnyString);
  registry->AddClass(kBytesClass,
                     MakeShapedSerialiser(Base64Text, "from inline_limit on as an array of |V1",
                                          /*allow_array=*/true));
  add("pathlib.PurePath", AnyString,
      "marked with ref and without files: as a value; else as it is, with host and files");
  add("tiffin.map", Pairs);
  add(kFilesClass, Files);
  add("tiffin.duration", AnyInteger);  // nanoseconds
  add("tiffin.time", AnyInteger);      // nanoseconds since 1970-01-01 UTC
}

void AddTypes(Registry* registry) {
  const auto add = [registry](std::string_view name, ValueCheck check,
                              std::string_view keeps = kMarked) {
    registry->AddHook(name, MakeShapedSerialiser(check, keeps));
  };
  add("<method>", Method);
  add("<boundmethod>", BoundMethod);
  add("<importable>", QualifiedName);
  add("<unwrapped>", QualifiedName);
  add("<automagic>", AnyValue);
  add("<dataclass>", WithFiles<AnyMap>);
  add("<namedtuple>", WithFiles<NamedTuple>);
}

void AddPythonBases(Registry* registry) {
  constexpr std::pair<std::string_view, std::string_view> kBases[] = {
      {"collections.OrderedDict", "builtins.dict"},
      {"collections.defaultdict", "builtins.dict"},
      {"collections.Counter", "builtins.dict"},
      {"enum.IntEnum", "enum.Enum"},
      {"enum.Flag", "enum.Enum"},
      {"enum.IntFlag", "enum.Enum"},
      {"enum.StrEnum", "enum.Enum"},
      {"pathlib.PurePosixPath", "pathlib.PurePath"},
      {"pathlib.PureWindowsPath", "pathlib.PurePath"},
      {"pathlib.Path", "pathlib.PurePath"},
  };
  for (const auto& [name, base] : kBases) registry->AddBases(name, {std::string(base)});
  registry->AddBases("pathlib.PosixPath", {"pathlib.Path", "pathlib.PurePosixPath"});
  registry->AddBases("pathlib.WindowsPath", {"pathlib.Path", "pathlib.PureWindowsPath"});
}

}  // namespace

Registry BaseRegistry() {
  Registry registry;
  AddPythonClasses(&registry);
  AddTypes(&registry);
  AddPythonBases(&registry);
  AddNoodlesClasses(&registry);
  return registry;
}

}  // namespace tiffin
