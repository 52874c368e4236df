// tiffin key: job keys without a server.
#include <memory>

#include "client/cli/commands.h"
#include "client/cli/input.h"
#include "client/cli/output.h"
#include "common/job.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

struct KeyOptions {
  std::vector<std::string> files;
  std::string prov;
  bool allow_unversioned_main = false;
};

absl::StatusOr<int> RunKey(const KeyOptions& options, Context& context) {
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<Value> jobs, ReadValues(options.files, context.in()));
  for (size_t i = 0; i < jobs.size(); ++i) {
    std::string text;
    if (options.prov.empty()) {
      absl::StatusOr<Digest> key =
          JobKey(jobs[i], {.allow_unversioned_main = options.allow_unversioned_main});
      if (!key.ok()) return Annotate(key.status(), StrCat("job ", i + 1));
      text = key->ToText();
    } else {
      absl::StatusOr<std::string> prov = NoodlesProv(
          jobs[i], options.prov == "json" ? NoodlesProfile::kJson : NoodlesProfile::kUjson);
      if (!prov.ok()) return Annotate(prov.status(), StrCat("job ", i + 1));
      text = *prov;
    }
    if (context.globals.json) {
      PrintLine({{options.prov.empty() ? "key" : "prov", text}}, context.out());
    } else {
      context.out() << text << '\n';
    }
  }
  return kDone;
}

}  // namespace

void AddKeyCommand(CLI::App* app, Command* chosen) {
  CLI::App* key = app->add_subcommand("key", "Prints the keys of job records, computed locally");
  auto options = std::make_shared<KeyOptions>();
  key->add_option("FILE", options->files, "JSON or JSON lines; - or nothing: standard input");
  key->add_option("--prov", options->prov, "Noodles' own key instead, as it printed its records")
      ->check(CLI::IsMember({"json", "ujson"}));
  key->add_flag("--allow-unversioned-main", options->allow_unversioned_main,
                "Also for functions of __main__ without version and salt");
  key->callback(
      [=] { *chosen = [options](Context& context) { return RunKey(*options, context); }; });
}

}  // namespace tiffin::cli
