#include "client/cli/output_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "common/base64.h"
#include "common/crypto.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

// A pipe or a device is written in place: moving a file there would replace it.
bool MustStay(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
}

}  // namespace

OutputFile::OutputFile(std::string path, std::ostream& out) : path_(std::move(path)), out_(&file_) {
  if (path_ == "-") {
    out_ = &out;
  } else if (MustStay(path_)) {
    file_.open(path_, std::ios::binary);
  } else {
    temporary_ = StrCat(path_, ".", Base64UrlEncode(RandomBytes(6)), ".tmp");
    file_.open(temporary_, std::ios::binary | std::ios::trunc);
  }
}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

absl::Status OutputFile::Write(std::string_view bytes) {
  out_->write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!*out_) return Failed("cannot write");
  return absl::OkStatus();
}

absl::Status OutputFile::Commit() {
  out_->flush();
  if (!*out_) return Failed("cannot write");
  if (file_.is_open()) file_.close();
  if (file_.fail()) return Failed("cannot write");
  if (temporary_.empty()) return absl::OkStatus();
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return Failed("cannot write");
  temporary_.clear();
  return absl::OkStatus();
}

absl::Status OutputFile::Failed(std::string_view what) const {
  const std::string name = path_ == "-" ? "standard output" : path_;
  return absl::UnknownError(StrCat(what, " ", name, ": ", std::strerror(errno)));
}

}  // namespace tiffin::cli
