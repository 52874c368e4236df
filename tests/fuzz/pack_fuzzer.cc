// Packs: whatever types the arrays of a pack have, HDF5 takes them, each beside the others, and
// tells the same types when the file is opened again. Each line of an input is the dtype of an
// array, its rank before it if it is not 1.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/dtype.h"
#include "common/strings.h"
#include "server/blobs/hdf5_packs.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using tiffin::server::DatasetSpec;

constexpr size_t kMaxArrays = 4;
constexpr uint64_t kMaxBytes = 8 << 20;  // of an array: more only takes space

// A folder in memory if there is one, gone at the exit.
class Folder {
 public:
  Folder() {
    const char* const above = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    std::string name = std::string(above) + "/tiffin-fuzz.XXXXXX";
    FUZZ_CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::vector<DatasetSpec> ArraysOf(std::string_view text) {
  std::vector<DatasetSpec> arrays;
  for (const absl::string_view part : absl::StrSplit(tiffin::ToAbsl(text), '\n')) {
    if (arrays.size() == kMaxArrays) break;
    std::string_view line = tiffin::ToStd(part);
    size_t rank = 1;
    if (line.size() > 1 && line[0] >= '0' && line[0] <= '9' && line[1] == ' ') {
      rank = static_cast<size_t>(line[0] - '0');
      line.remove_prefix(2);
    }
    const auto type = tiffin::ParseDType(line);
    const tiffin::Shape shape(rank, 2);
    if (!type.ok()) continue;
    const auto bytes = tiffin::ArrayBytes(*type, shape);
    if (!bytes.ok() || *bytes > kMaxBytes) continue;
    const std::string name = tiffin::DTypeName(*type);
    if (name.size() > tiffin::kMaxDTypeName) continue;
    arrays.push_back({tiffin::StrCat("array", arrays.size()), name, shape});
  }
  return arrays;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  std::vector<DatasetSpec> arrays = ArraysOf(tiffin::fuzzing::Text(data, size));
  if (arrays.empty()) return 0;
  const std::filesystem::path file = folder.path() / "pack.h5";
  const auto offsets = tiffin::server::MakeHdf5File(file, arrays);
  FUZZ_CHECK(offsets.ok() && offsets->size() == arrays.size());
  if (arrays.size() == 1) {
    FUZZ_CHECK(tiffin::server::RenameDataset(file, arrays[0].name, "renamed").ok());
    arrays[0].name = "renamed";
  }
  for (size_t i = 0; i < arrays.size(); ++i) {
    FUZZ_CHECK(tiffin::server::CheckHdf5File(file, arrays[i], (*offsets)[i]).ok());
  }
  std::filesystem::remove(file);
  return 0;
}
