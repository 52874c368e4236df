// Jobs: what a job record says, and the key that names it (DESIGN.md 4).
#ifndef TIFFIN_COMMON_JOB_H_
#define TIFFIN_COMMON_JOB_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/crypto.h"
#include "common/value.h"

namespace tiffin {

// The parts of a call that name it. They point into the record they were taken from.
struct JobParts {
  enum class Form { kPlain, kFunctionNode, kJobMessage };
  Form form = Form::kPlain;
  const Value* function = nullptr;
  const Value* arguments = nullptr;
  const Value* version = nullptr;  // nullptr: null
  const Value* salt = nullptr;     // nullptr: null
};

// Takes a FunctionNode record, a JobMessage around one, or {"function", "arguments", "version",
// "salt"}. INVALID_ARGUMENT naming the path for anything else.
absl::StatusOr<JobParts> PartsOfJob(const Value& job);

// A readable name of the function: `noodles.tutorial.add`, `math.sqrt`, else its JSON cut at 200
// bytes. For people; never part of a key.
std::string FunctionName(const Value& function);
// The version as text (a string as it is, else its JSON), empty for none. For people.
std::string VersionText(const JobParts& parts);

// True if the function, or anything it is made of (the class of a method, a bound object), belongs
// to a script: is named `__main__` or `__main__.…`, which two scripts may define differently.
// Pickles are not looked into.
bool IsMainFunction(const Value& function);

struct JobKeyOptions {
  bool allow_unversioned_main = false;
};

// The bytes that are hashed: E(["tiffin.job/1", function, arguments, version, salt]).
absl::StatusOr<std::string> JobKeyPreimage(const JobParts& parts);
// The job key. FAILED_PRECONDITION for a function in __main__ without version and salt, unless
// allowed; INVALID_ARGUMENT naming the path for a malformed job.
absl::StatusOr<Digest> JobKey(const JobParts& parts, const JobKeyOptions& options = {});
absl::StatusOr<Digest> JobKey(const Value& job, const JobKeyOptions& options = {});

// Noodles' own key of a job: MD5 of the printed function, arguments and (if any) version, with
// sorted keys, as Python's `json` or `ujson` prints them (profiles noodles/json, noodles/ujson).
// The job as it was sent, before bulk is taken out. INVALID_ARGUMENT for a plain job: Noodles has
// none.
enum class NoodlesProfile { kJson, kUjson };
absl::StatusOr<std::string> NoodlesProv(const Value& job, NoodlesProfile profile);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_JOB_H_
