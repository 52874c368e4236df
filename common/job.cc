#include "common/job.h"

#include <algorithm>
#include <utility>

#include "common/cbor.h"
#include "common/json.h"
#include "common/record.h"
#include "common/status.h"
#include "common/strings.h"
#include "common/utf8.h"

namespace tiffin {
namespace {

constexpr size_t kMaxNameBytes = 200;
constexpr std::string_view kExpected =
    "expected a FunctionNode record, a JobMessage record, or an object with function and arguments";

absl::Status Malformed(const PathLink& where, std::string_view what) {
  return Annotate(absl::InvalidArgumentError(ToAbsl(what)), where.text());
}

std::string Describe(const Value& value) {
  const Object* record = AsRecord(value);
  if (record == nullptr) return std::string(value.KindName());
  return StrCat("a record ", CutUtf8(ToValidUtf8(RecordType(*record)), kMaxNameBytes), " ",
                CutUtf8(ToValidUtf8(RecordClass(*record)), kMaxNameBytes));
}

absl::StatusOr<const Value*> Required(const Object& object, std::string_view name,
                                      const PathLink& where) {
  const Value* member = object.Find(name);
  if (member == nullptr) return Malformed(PathLink(where, name), "is missing");
  return member;
}

// The data of a record, which must be an object and not a ref.
absl::StatusOr<const Object*> DataObject(const Object& record, const PathLink& where) {
  const PathLink data_path(where, "data");
  const Value* data = record.Find("data");
  if (data == nullptr) return Malformed(data_path, "is missing");
  if (HasRef(record)) return Malformed(data_path, "a job must not be a ref itself");
  if (data->if_object() == nullptr) {
    return Malformed(data_path, StrCat("expected an object, found ", data->KindName()));
  }
  return data->if_object();
}

const Value* NullAsAbsent(const Value* value) {
  return value != nullptr && value->is_null() ? nullptr : value;
}

absl::StatusOr<JobParts> PartsOfNode(const Object& node, JobParts::Form form,
                                     const PathLink& where) {
  const PathLink data_path(where, "data");
  TIFFIN_ASSIGN_OR_RETURN(const Object* data, DataObject(node, where));
  JobParts parts;
  parts.form = form;
  TIFFIN_ASSIGN_OR_RETURN(parts.function, Required(*data, "function", data_path));
  TIFFIN_ASSIGN_OR_RETURN(parts.arguments, Required(*data, "arguments", data_path));
  const Value* hints = NullAsAbsent(data->Find("hints"));
  if (hints != nullptr) {
    if (hints->if_object() == nullptr) {
      return Malformed(PathLink(data_path, "hints"),
                       StrCat("expected an object, found ", hints->KindName()));
    }
    parts.version = NullAsAbsent(hints->if_object()->Find("version"));
  }
  return parts;
}

absl::StatusOr<JobParts> PartsOfPlain(const Object& job) {
  JobParts parts;
  for (const auto& [name, value] : job) {
    if (name == "function") {
      parts.function = &value;
    } else if (name == "arguments") {
      parts.arguments = &value;
    } else if (name == "version") {
      parts.version = NullAsAbsent(&value);
    } else if (name == "salt") {
      parts.salt = NullAsAbsent(&value);
    } else {
      return Malformed(PathLink({}, name), StrCat("no member of a job; ", kExpected));
    }
  }
  if (parts.function == nullptr) return Malformed(PathLink({}, "function"), "is missing");
  if (parts.arguments == nullptr) return Malformed(PathLink({}, "arguments"), "is missing");
  return parts;
}

// Appends E of each part, naming where in the job it stands.
absl::Status AppendParts(const JobParts& parts, const PathLink& where, const PathLink& hints,
                         std::string* out) {
  const auto append = [out](const Value* part, const PathLink& path) {
    return AppendEncoded(part == nullptr ? Value() : *part, path, out);
  };
  TIFFIN_RETURN_IF_ERROR(append(parts.function, PathLink(where, "function")));
  TIFFIN_RETURN_IF_ERROR(append(parts.arguments, PathLink(where, "arguments")));
  TIFFIN_RETURN_IF_ERROR(append(parts.version, PathLink(hints, "version")));
  return append(parts.salt, PathLink(where, "salt"));
}

bool IsMainName(std::string_view name) {
  return name == "__main__" || name.starts_with("__main__.");
}

bool IsMainName(const Value* name) {
  return name != nullptr && name->if_string() != nullptr && IsMainName(*name->if_string());
}

// True if a record in the value has a class, or is an importable, of `__main__`.
bool HoldsMain(const Value& value) {
  if (const List* list = value.if_list()) {
    return std::any_of(list->begin(), list->end(), HoldsMain);
  }
  const Object* object = value.if_object();
  if (object == nullptr) return false;
  if (IsRecord(*object)) {
    if (IsMainName(object->Find("class"))) return true;
    const Value* data = object->Find("data");
    if (data == nullptr) return false;
    if (RecordType(*object) != kObjectType) {
      if (IsMainName(data)) return true;
      // <method>: {"class": "m.A", "method": "f"}
      if (data->if_object() != nullptr && IsMainName(data->if_object()->Find("class"))) return true;
    }
    return HoldsMain(*data);
  }
  return std::any_of(object->begin(), object->end(),
                     [](const Object::Member& m) { return HoldsMain(m.second); });
}

std::string Shown(std::string_view text) { return CutUtf8(ToValidUtf8(text), kMaxNameBytes); }

std::string StringMember(const Object& object, std::string_view name) {
  const Value* member = object.Find(name);
  return member != nullptr && member->if_string() != nullptr ? *member->if_string() : "";
}

// True if the hints of a job that is well-formed say that its version is null.
bool SaysNullVersion(const Value& job, JobParts::Form form) {
  const Object* data = job.if_object()->Find("data")->if_object();
  if (form == JobParts::Form::kJobMessage) {
    data = data->Find("node")->if_object()->Find("data")->if_object();
  }
  const Value* hints = data->Find("hints");
  const Object* members = hints == nullptr ? nullptr : hints->if_object();
  const Value* version = members == nullptr ? nullptr : members->Find("version");
  return version != nullptr && version->is_null();
}

// The name of a method's owner: of a class, or of the class of an object.
std::string OwnerName(const Value& self) {
  const Object* record = AsRecord(self);
  if (record == nullptr) return std::string(self.KindName());
  const Value* data = record->Find("data");
  if (RecordType(*record) != kObjectType && data != nullptr && data->if_string() != nullptr) {
    return *data->if_string();
  }
  return std::string(RecordClass(*record));
}

}  // namespace

absl::StatusOr<JobParts> PartsOfJob(const Value& job) {
  if (IsRecordOf(job, kObjectType, kFunctionNodeClass)) {
    return PartsOfNode(*job.if_object(), JobParts::Form::kFunctionNode, {});
  }
  if (IsRecordOf(job, kObjectType, kJobMessageClass)) {
    const PathLink root;
    const PathLink data_path(root, "data");
    const PathLink node_path(data_path, "node");
    TIFFIN_ASSIGN_OR_RETURN(const Object* data, DataObject(*job.if_object(), root));
    TIFFIN_ASSIGN_OR_RETURN(const Value* node, Required(*data, "node", data_path));
    if (!IsRecordOf(*node, kObjectType, kFunctionNodeClass)) {
      return Malformed(node_path,
                       StrCat("expected a FunctionNode record, found ", Describe(*node)));
    }
    return PartsOfNode(*node->if_object(), JobParts::Form::kJobMessage, node_path);
  }
  if (job.if_object() == nullptr || AsRecord(job) != nullptr) {
    return absl::InvalidArgumentError(StrCat(kExpected, ", found ", Describe(job)));
  }
  return PartsOfPlain(*job.if_object());
}

std::string FunctionName(const Value& function) {
  if (const std::string* name = function.if_string()) return Shown(*name);
  const Object* record = AsRecord(function);
  const Value* data = record == nullptr ? nullptr : record->Find("data");
  if (data != nullptr && RecordType(*record) != kObjectType) {
    if (const std::string* name = data->if_string()) return Shown(*name);
    if (const Object* method = data->if_object()) {
      const std::string name = StringMember(*method, "method");
      if (!name.empty()) return Shown(StrCat(StringMember(*method, "class"), ".", name));
      const Value* self = method->Find("self");
      const std::string bound = StringMember(*method, "name");
      if (self != nullptr && !bound.empty()) return Shown(StrCat(OwnerName(*self), ".", bound));
    }
  }
  return Shown(PrintJson(function));
}

std::string VersionText(const JobParts& parts) {
  if (parts.version == nullptr) return "";
  const std::string* text = parts.version->if_string();
  return Shown(text != nullptr ? *text : PrintJson(*parts.version));
}

bool IsMainFunction(const Value& function) { return IsMainName(&function) || HoldsMain(function); }

absl::StatusOr<std::string> JobKeyPreimage(const JobParts& parts) {
  std::string out;
  AppendArrayHead(5, &out);
  TIFFIN_RETURN_IF_ERROR(AppendEncoded("tiffin.job/1", {}, &out));
  const PathLink root;
  const PathLink data(root, "data");
  const PathLink node(data, "node");
  const PathLink node_data(node, "data");
  switch (parts.form) {
    case JobParts::Form::kPlain:
      TIFFIN_RETURN_IF_ERROR(AppendParts(parts, root, root, &out));
      break;
    case JobParts::Form::kFunctionNode:
      TIFFIN_RETURN_IF_ERROR(AppendParts(parts, data, PathLink(data, "hints"), &out));
      break;
    case JobParts::Form::kJobMessage:
      TIFFIN_RETURN_IF_ERROR(AppendParts(parts, node_data, PathLink(node_data, "hints"), &out));
      break;
  }
  return out;
}

absl::StatusOr<Digest> JobKey(const JobParts& parts, const JobKeyOptions& options) {
  if (!options.allow_unversioned_main && parts.version == nullptr && parts.salt == nullptr &&
      parts.function != nullptr && IsMainFunction(*parts.function)) {
    return absl::FailedPreconditionError(
        StrCat("function ", FunctionName(*parts.function),
               " is of a script (__main__) and another script may define it differently: "
               "give it a version or a salt"));
  }
  TIFFIN_ASSIGN_OR_RETURN(const std::string preimage, JobKeyPreimage(parts));
  return Sha256::Of(preimage);
}

absl::StatusOr<Digest> JobKey(const Value& job, const JobKeyOptions& options) {
  TIFFIN_ASSIGN_OR_RETURN(const JobParts parts, PartsOfJob(job));
  return JobKey(parts, options);
}

absl::StatusOr<std::string> NoodlesProv(const Value& job, NoodlesProfile profile) {
  TIFFIN_ASSIGN_OR_RETURN(const JobParts parts, PartsOfJob(job));
  if (parts.form == JobParts::Form::kPlain) {
    return absl::InvalidArgumentError("a job that is no FunctionNode has no Noodles key");
  }
  JsonStyle style = profile == NoodlesProfile::kJson ? JsonStyle::Python() : JsonStyle::Ujson();
  style.sort_keys = true;
  std::string printed = PrintJson(*parts.function, style) + PrintJson(*parts.arguments, style);
  if (parts.version != nullptr) printed += PrintJson(*parts.version, style);
  if (SaysNullVersion(job, parts.form)) printed += "null";  // unlike one that is not there
  return Md5Hex(printed);
}

}  // namespace tiffin
