// tiffin alias: names that point reads to jobs.
#include <memory>
#include <utility>

#include "client/cli/commands.h"
#include "client/cli/input.h"
#include "client/cli/output.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

struct AliasCommand {
  std::string profile, name, key;
  bool replace = false;
};

absl::StatusOr<v1::AliasResponse> Call(const v1::AliasRequest& request, Context& context) {
  v1::AliasResponse response;
  TIFFIN_RETURN_IF_ERROR(context.Persist([&]() -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(response, context.connection()->Alias(request));
    return absl::OkStatus();
  }));
  return response;
}

absl::StatusOr<int> RunSet(const AliasCommand& command, Context& context) {
  TIFFIN_ASSIGN_OR_RETURN(const Digest key, ParseKey(command.key));
  Client client = context.MakeClient();
  TIFFIN_RETURN_IF_ERROR(client.SetAlias(command.profile, command.name, key, command.replace));
  return kDone;
}

absl::StatusOr<int> RunList(const AliasCommand& command, Context& context) {
  v1::AliasRequest request;
  *request.mutable_caller() = context.caller();
  request.mutable_list()->set_profile(command.profile);
  request.mutable_list()->set_page_size(1000);
  Table table({"profile", "name", "key"});
  do {
    TIFFIN_ASSIGN_OR_RETURN(const v1::AliasResponse response, Call(request, context));
    for (const v1::AliasResponse::Entry& entry : response.aliases()) {
      TIFFIN_ASSIGN_OR_RETURN(const Digest key, Digest::FromBytes(entry.key()));
      if (context.globals.json) {
        PrintLine({{"profile", entry.alias().profile()},
                   {"name", entry.alias().name()},
                   {"key", key.ToText()}},
                  context.out());
      } else {
        table.Add({entry.alias().profile(), entry.alias().name(), key.ToText()});
      }
    }
    request.mutable_list()->set_page_token(response.next_page_token());
  } while (!request.list().page_token().empty());
  if (!table.empty()) table.Print(context.out());
  return kDone;
}

absl::StatusOr<int> RunDelete(const AliasCommand& command, Context& context) {
  v1::AliasRequest request;
  *request.mutable_caller() = context.caller();
  request.mutable_delete_()->set_profile(command.profile);
  request.mutable_delete_()->set_name(command.name);
  // Once: a second try would miss what a first, whose answer was lost, has removed.
  TIFFIN_RETURN_IF_ERROR(context.connection()->Alias(request).status());
  return kDone;
}

}  // namespace

void AddAliasCommands(CLI::App* app, Command* chosen) {
  CLI::App* alias = app->add_subcommand("alias", "Names that point reads to jobs");
  alias->require_subcommand(1);
  auto options = std::make_shared<AliasCommand>();
  const auto add = [&](const std::string& name, const std::string& description, auto run) {
    CLI::App* command = alias->add_subcommand(name, description);
    command->callback([=] { *chosen = [=](Context& context) { return run(*options, context); }; });
    return command;
  };
  CLI::App* set = add("set", "Points a name to a job", RunSet);
  set->add_option("PROFILE", options->profile, "Kind of name, e.g. noodles/json")->required();
  set->add_option("NAME", options->name, "The name")->required();
  set->add_option("KEY", options->key, "The job's key")->required();
  set->add_flag("--replace", options->replace, "Also if it points elsewhere");
  CLI::App* list = add("list", "Lists names", RunList);
  list->add_option("PROFILE", options->profile, "Of this profile only");
  CLI::App* remove = add("delete", "Deletes a name", RunDelete);
  remove->add_option("PROFILE", options->profile, "Kind of name")->required();
  remove->add_option("NAME", options->name, "The name")->required();
}

}  // namespace tiffin::cli
