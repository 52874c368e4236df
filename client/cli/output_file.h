// A file that a command writes: whole under its name, or not at all.
#ifndef TIFFIN_CLIENT_CLI_OUTPUT_FILE_H_
#define TIFFIN_CLIENT_CLI_OUTPUT_FILE_H_

#include <fstream>
#include <ostream>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace tiffin::cli {

// `-` is `out`, to which bytes go at once. Any other path is written beside its place and moved
// there by Commit; destruction without it leaves what was there before.
class OutputFile {
 public:
  OutputFile(std::string path, std::ostream& out);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  absl::Status Write(std::string_view bytes);
  absl::Status Commit();

 private:
  absl::Status Failed(std::string_view what) const;

  std::string path_;
  std::string temporary_;  // empty: standard output, or committed
  std::ofstream file_;
  std::ostream* out_;
};

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_OUTPUT_FILE_H_
