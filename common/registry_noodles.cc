#include "common/registry_noodles.h"

#include "common/shape_check.h"
#include "common/strings.h"

namespace tiffin {
namespace {

constexpr std::string_view kAddressClass = "noodles.workflow.arguments.ArgumentAddress";
constexpr std::string_view kKindClass = "noodles.workflow.arguments.ArgumentKind";

absl::Status ArgumentKind(const Value& data, const PathLink& where) {
  TIFFIN_RETURN_IF_ERROR(AnyString(data, where));
  const std::string& name = *data.if_string();
  if (name == "regular" || name == "variadic" || name == "keyword") return absl::OkStatus();
  return BadRecord(where, "expected regular, variadic or keyword");
}

absl::Status KindRecord(const Value& value, const PathLink& where) {
  return CheckRecordOf(value, kKindClass, where);
}

absl::Status ArgumentAddress(const Value& data, const PathLink& where) {
  return CheckMembers(data, where, {{"kind", KindRecord}, {"name", AnyString}, {"key", AnyValue}});
}

absl::Status AddressRecord(const Value& value, const PathLink& where) {
  return CheckRecordOf(value, kAddressClass, where);
}

// The items of a tuple record, which are to be `what`; nullptr if they are elsewhere.
absl::StatusOr<const List*> ItemsOfTuple(const Value& value, size_t size, std::string_view what,
                                         const PathLink& where) {
  TIFFIN_RETURN_IF_ERROR(CheckRecordOf(value, "builtins.tuple", where));
  const Object& record = *value.if_object();
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<RecordRef> ref, RefOf(record, where));
  if (ref.has_value()) return nullptr;
  const PathLink data_path(where, "data");
  const Value* data = record.Find("data");
  if (data == nullptr) return BadRecord(data_path, "is missing");
  TIFFIN_RETURN_IF_ERROR(AnyList(*data, data_path));
  const List* items = data->if_list();
  if (items->size() == size) return items;
  return BadRecord(data_path, StrCat("expected ", what, ", found ", items->size(), " items"));
}

absl::Status Argument(const Value& value, const PathLink& where) {
  TIFFIN_ASSIGN_OR_RETURN(const List* pair,
                          ItemsOfTuple(value, 2, "an address and a value", where));
  if (pair == nullptr) return absl::OkStatus();
  const PathLink data_path(where, "data");
  return AddressRecord(pair->front(), PathLink(data_path, size_t{0}));
}

absl::Status Arguments(const Value& value, const PathLink& where) {
  return CheckItems(value, where, Argument);
}

absl::Status Hints(const Value& value, const PathLink& where) {
  return value.is_null() ? absl::OkStatus() : AnyMap(value, where);
}

absl::Status FunctionNode(const Value& data, const PathLink& where) {
  TIFFIN_RETURN_IF_ERROR(
      CheckMembers(data, where, {{"function", AnyValue}, {"arguments", Arguments}}));
  const Value* hints = data.if_object()->Find("hints");
  return hints == nullptr ? absl::OkStatus() : Hints(*hints, PathLink(where, "hints"));
}

absl::Status NodeRecord(const Value& value, const PathLink& where) {
  return CheckRecordOf(value, kFunctionNodeClass, where);
}

absl::Status Nodes(const Value& value, const PathLink& where) {
  return CheckItems(value, where, NodeRecord);
}

absl::Status Target(const Value& value, const PathLink& where) {
  return CheckMembers(value, where, {{"node", AnyInteger}, {"address", AddressRecord}});
}

absl::Status Targets(const Value& value, const PathLink& where) {
  return CheckItems(value, where, Target);
}

absl::Status Link(const Value& value, const PathLink& where) {
  return CheckMembers(value, where, {{"node", AnyInteger}, {"to", Targets}});
}

absl::Status Links(const Value& value, const PathLink& where) {
  return CheckItems(value, where, Link);
}

// The value, a node's number, must name one of the nodes.
absl::Status IsNodeOf(const Value& number, size_t nodes, const PathLink& where) {
  const int64_t* n = number.if_int64();
  if (n != nullptr && *n >= 0 && static_cast<uint64_t>(*n) < nodes) return absl::OkStatus();
  return BadRecord(where, StrCat("no node of that number: there are ", nodes));
}

absl::Status Workflow(const Value& data, const PathLink& where) {
  TIFFIN_RETURN_IF_ERROR(
      CheckMembers(data, where, {{"root", AnyInteger}, {"nodes", Nodes}, {"links", Links}}));
  const Object& workflow = *data.if_object();
  const size_t nodes = workflow.Find("nodes")->if_list()->size();
  TIFFIN_RETURN_IF_ERROR(IsNodeOf(*workflow.Find("root"), nodes, PathLink(where, "root")));
  const PathLink links_path(where, "links");
  return CheckItems(*workflow.Find("links"), links_path, [&](const Value& v, const PathLink& path) {
    const Object& link = *v.if_object();
    TIFFIN_RETURN_IF_ERROR(IsNodeOf(*link.Find("node"), nodes, PathLink(path, "node")));
    return CheckItems(
        *link.Find("to"), PathLink(path, "to"), [&](const Value& target, const PathLink& to) {
          return IsNodeOf(*target.if_object()->Find("node"), nodes, PathLink(to, "node"));
        });
  });
}

absl::Status WorkflowRecord(const Value& value, const PathLink& where) {
  return CheckRecordOf(value, kWorkflowClass, where);
}

// Of a PromisedObject and a Quote.
absl::Status HoldsWorkflow(const Value& data, const PathLink& where) {
  return CheckMembers(data, where, {{"workflow", WorkflowRecord}});
}

absl::Status JobMessage(const Value& data, const PathLink& where) {
  return CheckMembers(data, where, {{"key", AnyValue}, {"node", NodeRecord}});
}

absl::Status ResultMessage(const Value& data, const PathLink& where) {
  return CheckMembers(
      data, where,
      {{"key", AnyValue}, {"status", AnyString}, {"value", AnyValue}, {"msg", AnyValue}});
}

// An argument that is a Fail, or derives from it, and so was not called with.
absl::Status FailedArgument(const Value& value, const PathLink& where) {
  TIFFIN_ASSIGN_OR_RETURN(const List* items,
                          ItemsOfTuple(value, 3, "a function, an argument and a Fail", where));
  if (items == nullptr) return absl::OkStatus();
  const PathLink data_path(where, "data");
  TIFFIN_RETURN_IF_ERROR(AnyString((*items)[0], PathLink(data_path, size_t{0})));
  const Value& argument = (*items)[1];
  if (!argument.is_integer() && argument.if_string() == nullptr) {
    return Unexpected(argument, "a position or a name", PathLink(data_path, size_t{1}));
  }
  if (AsRecord((*items)[2]) != nullptr) return absl::OkStatus();
  return Unexpected((*items)[2], "a record", PathLink(data_path, size_t{2}));
}

absl::Status FailedArguments(const Value& value, const PathLink& where) {
  return CheckItems(value, where, FailedArgument);
}

absl::Status Strings(const Value& value, const PathLink& where) {
  return CheckItems(value, where, AnyString);
}

absl::Status Fail(const Value& data, const PathLink& where) {
  return CheckMembers(data, where,
                      {{"name", AnyString},
                       {"fails", FailedArguments},
                       {"trace", Strings},
                       {"exception", AnyValue}});
}

}  // namespace

void AddNoodlesClasses(Registry* registry) {
  const auto add = [registry](std::string_view name, ValueCheck check) {
    registry->AddClass(name,
                       MakeShapedSerialiser(check, "marked with ref: as a value; else as it is"));
  };
  add(kKindClass, ArgumentKind);
  add(kAddressClass, ArgumentAddress);
  add(kFunctionNodeClass, FunctionNode);
  add(kWorkflowClass, Workflow);
  add(kPromisedObjectClass, HoldsWorkflow);
  add("noodles.interface.functions.Quote", HoldsWorkflow);
  add("noodles.interface.maybe.Fail", Fail);
  add(kJobMessageClass, JobMessage);
  add("noodles.run.messages.ResultMessage", ResultMessage);
}

}  // namespace tiffin
