// How jobs look: a row of `ls`, the page of `show`, a line of JSON.
#ifndef TIFFIN_CLIENT_CLI_JOB_OUTPUT_H_
#define TIFFIN_CLIENT_CLI_JOB_OUTPUT_H_

#include <ostream>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "client/cli/output.h"
#include "tiffin/v1/jobs.pb.h"

namespace tiffin::cli {

std::string KeyText(std::string_view bytes);
std::string StateText(v1::JobState state);  // `done`
// INVALID_ARGUMENT, listing them, for none of them.
absl::StatusOr<v1::JobState> ParseState(std::string_view text);

// All that is known, with records as JSON.
Object JobObject(const v1::JobInfo& job);
void PrintJob(const v1::JobInfo& job, std::ostream& out);

Table JobTable();
void AddJob(const v1::JobInfo& job, Table* table);
Table LeaseTable();
void AddLease(const v1::JobInfo& job, Table* table);

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_JOB_OUTPUT_H_
