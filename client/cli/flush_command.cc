// tiffin flush: delivers results that were spooled while the server was away.
#include <memory>

#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "client/spool.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

absl::StatusOr<int> RunFlush(const std::string& folder, Context& context) {
  Spool spool(folder.empty() ? Spool::DefaultFolder() : folder);
  Spool::Outcome sum;
  const absl::Status status = context.Persist([&]() -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const Spool::Outcome outcome, spool.Deliver(*context.connection()));
    sum.delivered += outcome.delivered;
    sum.refused += outcome.refused;
    sum.left = outcome.left;
    if (sum.left == 0) return absl::OkStatus();
    return absl::UnavailableError(
        StrCat(sum.left, " results stay in ", spool.folder(), ": ", outcome.why.message()));
  });
  if (context.globals.json) {
    PrintLine({{"delivered", uint64_t{sum.delivered}},
               {"refused", uint64_t{sum.refused}},
               {"left", uint64_t{sum.left}}},
              context.out());
  } else {
    context.out() << "delivered " << sum.delivered << ", refused " << sum.refused << ", left "
                  << sum.left << '\n';
  }
  TIFFIN_RETURN_IF_ERROR(status);
  if (sum.refused == 0) return kDone;
  return absl::AbortedError(
      StrCat(sum.refused, " results were refused; the reasons are in ", spool.folder()));
}

}  // namespace

void AddFlushCommand(CLI::App* app, Command* chosen) {
  CLI::App* flush =
      app->add_subcommand("flush", "Delivers results spooled while the server was away");
  auto folder = std::make_shared<std::string>();
  flush->add_option("--spool", *folder, "The folder, if not the user's own")
      ->envname("TIFFIN_SPOOL");
  flush->callback(
      [=] { *chosen = [folder](Context& context) { return RunFlush(*folder, context); }; });
}

}  // namespace tiffin::cli
