// tiffin verify: reads everything that is stored, and names what is damaged.
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "common/base64.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

struct VerifyCommand {
  bool keys = false;
  double rate = 0;                     // MiB/s
  std::optional<std::string> rebuild;  // the data folder
};

// Becomes the server's program, which rebuilds without serving: that of the same install, else the
// one in PATH.
absl::Status Rebuild(const std::string& folder) {
  if (folder.empty())
    return WrongUse("verify --rebuild needs the stopped server's data folder: --rebuild DIR");
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string beside = self.parent_path() / "tiffin-server";
  const char* const server = access(beside.c_str(), X_OK) == 0 ? beside.c_str() : "tiffin-server";
  execlp(server, "tiffin-server", "--rebuild", "--data", folder.c_str(), nullptr);
  return absl::NotFoundError(
      StrCat("tiffin-server, which rebuilds, cannot be run: ", std::strerror(errno)));
}

void AddDamage(const v1::VerifyResponse::Damage& damage, Context& context, Table* table) {
  if (context.globals.json) {
    PrintLine(MessageObject(damage), context.out());
    return;
  }
  std::string jobs;
  for (const std::string& key : damage.jobs()) {
    StrAppend(&jobs, jobs.empty() ? "" : " ", Base64UrlEncode(key));
  }
  table->Add({Base64UrlEncode(damage.name().key()), damage.name().dtype(),
              ShapeText({damage.name().shape().begin(), damage.name().shape().end()}),
              damage.pack(), StrCat(damage.offset()), damage.what(), jobs});
}

absl::StatusOr<int> RunVerify(const VerifyCommand& command, Context& context) {
  if (command.rebuild) return Rebuild(*command.rebuild);
  v1::VerifyRequest request;
  *request.mutable_caller() = context.caller();
  request.set_keys(command.keys);
  request.set_bytes_per_second(static_cast<uint64_t>(std::ceil(command.rate * (1 << 20))));
  Table table({"damaged blob", "dtype", "shape", "pack", "offset", "what", "jobs that miss now"});
  Table results({"job with a damaged result"});
  Table jobs({"damaged row of a job", "its key, as it reads"});
  Table rows({"damaged row of", "as it reads"});
  v1::VerifyResponse last;
  std::optional<Progress> progress;
  uint64_t shown = 0;
  // What was found before an error is told, too.
  const absl::Status verified = context.Persist([&] {
    return context.connection()->Verify(request, [&](const v1::VerifyResponse& response) {
      if (!progress) {
        progress.emplace(context.err(), context.progress(), "reading", response.total_bytes());
      }
      progress->Advance(response.bytes() - std::min(shown, response.bytes()));
      shown = response.bytes();
      for (const auto& damage : response.damaged()) AddDamage(damage, context, &table);
      for (const std::string& key : response.damaged_results()) {
        if (context.globals.json) {
          PrintLine(Object{{"job", Value(Base64UrlEncode(key))},
                           {"what", Value("its result differs from its checksum")}},
                    context.out());
        } else {
          results.Add({Base64UrlEncode(key)});
        }
      }
      for (const auto& job : response.damaged_jobs()) {
        if (context.globals.json) {
          PrintLine(Object{{"row", Value(static_cast<int64_t>(job.row()))},
                           {"key", Value(Base64UrlEncode(job.key()))},
                           {"what", Value("the row of this job differs from its checksum")}},
                    context.out());
        } else {
          jobs.Add({StrCat(job.row()), Base64UrlEncode(job.key())});
        }
      }
      for (const auto& row : response.damaged_rows()) {
        if (context.globals.json) {
          PrintLine(Object{{"table", Value(row.table())},
                           {"row", Value(row.row())},
                           {"what", Value("this row differs from its checksum")}},
                    context.out());
        } else {
          rows.Add({row.table(), row.row()});
        }
      }
      last = response;
      return true;
    });
  });
  progress.reset();
  if (!verified.ok() && last.total_bytes() == 0) return verified;
  const uint64_t damaged = last.damaged_blobs() + last.total_damaged_results() +
                           last.total_damaged_jobs() + last.total_damaged_rows();
  if (context.globals.json) {
    Object total = MessageObject(last);
    total.Erase("damaged");
    total.Erase("damaged_results");
    total.Erase("damaged_jobs");
    total.Erase("damaged_rows");
    PrintLine(total, context.out());
  } else {
    if (!table.empty()) table.Print(context.out());
    if (!results.empty()) results.Print(context.out());
    if (!jobs.empty()) {
      jobs.Print(context.out());
      context.out()
          << "jobs of damaged rows are answered again after tiffin-server --rebuild, as new ones\n";
    }
    if (!rows.empty()) {
      rows.Print(context.out());
      context.out()
          << "aliases can be set again, values put again; what else needs them misses after "
             "tiffin-server --rebuild\n";
    }
    const auto counted = [](uint64_t n, std::string_view what) {
      return StrCat(n, " ", what, n == 1 ? ", " : "s, ");
    };
    context.out() << "read " << counted(last.jobs(), "job") << counted(last.blobs(), "blob")
                  << counted(last.results(), "result") << counted(last.rows(), "other row")
                  << BytesText(last.bytes()) << "; " << damaged << " damaged\n";
  }
  TIFFIN_RETURN_IF_ERROR(verified);
  return damaged > 0 ? kRefused : kDone;
}

}  // namespace

void AddVerifyCommand(CLI::App* app, Command* chosen) {
  CLI::App* verify = app->add_subcommand("verify",
                                         "Reads and checks every stored job, result and blob; "
                                         "damaged ones are set aside (exit code 3)");
  auto command = std::make_shared<VerifyCommand>();
  verify->add_flag("--keys", command->keys, "Check keys (SHA-256) beside checksums");
  verify->add_option("--rate", command->rate, "MiB/s at most; 0: as fast as it goes")
      ->check(CLI::Range(0.0, 1e6));
  auto folder = std::make_shared<std::string>();
  CLI::Option* rebuild = verify->add_option(
      "--rebuild", *folder,
      "Makes the database of a stopped server's data folder anew (TIFFIN_DATA): runs tiffin-server "
      "--rebuild of this host");
  rebuild->type_name("[DIR]")->expected(0, 1);
  verify->callback([=] {
    if (rebuild->count() > 0) {
      const char* const told = std::getenv("TIFFIN_DATA");
      command->rebuild = folder->empty() && told != nullptr ? told : *folder;
    }
    *chosen = [command](Context& context) { return RunVerify(*command, context); };
  });
}

}  // namespace tiffin::cli
