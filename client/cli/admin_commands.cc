// tiffin stats, describe, seal, health: the server itself.
#include <algorithm>
#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "common/json.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

// Calls one rpc of Admin with the user's patience.
template <typename Request, typename Response>
absl::StatusOr<Response> Call(Context& context,
                              absl::StatusOr<Response> (Connection::*rpc)(const Request&)) {
  Request request;
  *request.mutable_caller() = context.caller();
  Response response;
  TIFFIN_RETURN_IF_ERROR(context.Persist([&]() -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(response, (context.connection().get()->*rpc)(request));
    return absl::OkStatus();
  }));
  return response;
}

std::string FieldText(const std::string& name, const Value& value) {
  const int64_t* number = value.if_int64();
  if (number != nullptr && name.ends_with("_bytes")) {
    return BytesText(static_cast<uint64_t>(*number));
  }
  const double* seconds = value.if_double();
  if (seconds != nullptr) return absl::FormatDuration(absl::Seconds(*seconds));
  const std::string* text = value.if_string();
  return text != nullptr ? *text : PrintJson(value);
}

// The single members of a message: lists are left to the caller.
void PrintMembers(const Object& object, std::ostream& out) {
  std::vector<std::pair<std::string, std::string>> fields;
  for (const auto& [name, value] : object) {
    if (value.if_list() == nullptr) fields.emplace_back(name, FieldText(name, value));
  }
  PrintFields(fields, out);
}

absl::StatusOr<int> RunStats(Context& context) {
  TIFFIN_ASSIGN_OR_RETURN(const v1::StatsResponse stats, Call(context, &Connection::Stats));
  if (context.globals.json) {
    PrintLine(MessageObject(stats), context.out());
  } else {
    PrintMembers(MessageObject(stats), context.out());
  }
  return kDone;
}

absl::StatusOr<int> RunDescribe(Context& context) {
  TIFFIN_ASSIGN_OR_RETURN(const v1::DescribeResponse description,
                          Call(context, &Connection::Describe));
  if (context.globals.json) {
    PrintLine(MessageObject(description), context.out());
    return kDone;
  }
  PrintMembers(MessageObject(description), context.out());
  Table table({"record type", "class", "bulk"});
  for (const v1::DescribeResponse::Serialiser& serialiser : description.serialisers()) {
    table.Add({serialiser.record_type().empty() ? "any" : serialiser.record_type(),
               serialiser.class_name().empty() ? "any" : serialiser.class_name(),
               serialiser.keeps()});
  }
  context.out() << '\n';
  table.Print(context.out());
  return kDone;
}

absl::StatusOr<int> RunSeal(Context& context) {
  TIFFIN_ASSIGN_OR_RETURN(const v1::SealResponse sealed, Call(context, &Connection::Seal));
  if (context.globals.json) {
    PrintLine(MessageObject(sealed), context.out());
  } else {
    context.out() << "sealed " << sealed.packs() << (sealed.packs() == 1 ? " pack, " : " packs, ")
                  << sealed.blobs() << (sealed.blobs() == 1 ? " blob moved" : " blobs moved")
                  << '\n';
  }
  if (sealed.damaged() > 0) {
    return absl::DataLossError(StrCat(sealed.damaged(), " blobs are damaged and stay unsealed"));
  }
  return kDone;
}

struct HealthCommand {
  std::optional<absl::Duration> wait;
};

absl::StatusOr<int> RunHealth(const HealthCommand& command, Context& context) {
  constexpr absl::Duration kTimeout = absl::Seconds(2);
  const absl::Time end = absl::Now() + command.wait.value_or(absl::ZeroDuration());
  absl::Status status = context.connection()->CheckHealth(kTimeout);
  while (!status.ok() && absl::Now() < end) {
    absl::SleepFor(absl::Milliseconds(50));
    status = context.connection()->CheckHealth(std::min(kTimeout, end - absl::Now()));
  }
  if (!status.ok()) {
    return absl::UnavailableError(StrCat(context.globals.server, ": ", status.message()));
  }
  if (context.globals.json) {
    PrintLine({{"server", context.globals.server}, {"status", "SERVING"}}, context.out());
  } else {
    context.out() << context.globals.server << " is serving\n";
  }
  return kDone;
}

}  // namespace

void AddAdminCommands(CLI::App* app, Command* chosen) {
  const auto add = [&](const std::string& name, const std::string& description, Command command) {
    app->add_subcommand(name, description)->callback([=] { *chosen = command; });
  };
  add("stats", "Counters, and what is stored", RunStats);
  add("describe", "Version, limits and the kinds of records the server knows", RunDescribe);
  add("seal", "Seals open packs, so that any HDF5 reader can open them", RunSeal);
  CLI::App* health = app->add_subcommand("health", "Tells whether the server is serving");
  auto options = std::make_shared<HealthCommand>();
  AddDurationOption(health, "--wait", &options->wait, "Try until it is, at most this long");
  health->callback(
      [=] { *chosen = [options](Context& context) { return RunHealth(*options, context); }; });
}

}  // namespace tiffin::cli
