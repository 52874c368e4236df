// Runs a fuzz target over files, and over mutations of them, for compilers without libFuzzer:
//   run_files [--mutations N] [--seed S] [--keep FILE] FOLDER…
// The same seed and files give the same inputs. FILE holds the mutation at hand, should the target
// abort.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/fuzz/fuzzing.h"

// Those of a target that has its own.
extern "C" __attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size,
                                                                size_t max_size, unsigned seed);
extern "C" __attribute__((weak)) size_t LLVMFuzzerCustomCrossOver(const uint8_t* one,
                                                                  size_t one_size,
                                                                  const uint8_t* other,
                                                                  size_t other_size, uint8_t* out,
                                                                  size_t max_size, unsigned seed);

namespace {

constexpr size_t kMaxSize = 4096;  // of a mutated input

std::mt19937 random_numbers;
size_t Below(size_t n) { return random_numbers() % n; }

}  // namespace

// A little of what libFuzzer's does. `data` has room for `max_size` bytes.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size) {
  if (max_size == 0) return 0;
  std::string bytes(reinterpret_cast<char*>(data), size);
  const size_t at = Below(size + 1);
  const size_t some = 1 + Below(std::min<size_t>(size + 1, 16));
  static constexpr uint8_t kInteresting[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '[', '-', '0', '9'};
  switch (size == 0 ? 3 : Below(7)) {
    case 0:
      bytes[at % size] = static_cast<char>(bytes[at % size] ^ (1 << Below(8)));
      break;
    case 1:
      bytes[at % size] = static_cast<char>(random_numbers());
      break;
    case 2:
      bytes[at % size] = static_cast<char>(kInteresting[Below(std::size(kInteresting))]);
      break;
    case 3:
      bytes.insert(at, some, static_cast<char>(random_numbers()));
      break;
    case 4:
      bytes.erase(at, some);
      break;
    case 5:
      bytes.insert(at, bytes.substr(Below(size), some));
      break;
    default:
      bytes.replace(at, some, bytes.substr(Below(size), some));
      break;
  }
  bytes.resize(std::min(bytes.size(), max_size));
  std::copy(bytes.begin(), bytes.end(), data);
  return bytes.size();
}

namespace {

using Bytes = std::vector<uint8_t>;

struct Options {
  uint32_t mutations = 0, seed = 1;
  std::string keep;
  std::vector<std::filesystem::path> folders;
};

bool ReadOptions(int argc, char** argv, Options* options) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (!name.starts_with("--")) {
      options->folders.emplace_back(name);
      continue;
    }
    if (++i == argc) return false;
    std::istringstream value(argv[i]);
    if (name == "--mutations") {
      value >> options->mutations;
    } else if (name == "--seed") {
      value >> options->seed;
    } else if (name == "--keep") {
      options->keep = argv[i];
      continue;
    } else {
      return false;
    }
    if (!value || !value.eof()) return false;
  }
  return !options->folders.empty();
}

Bytes Read(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

Bytes MutationOf(const std::vector<Bytes>& inputs) {
  Bytes input = inputs[Below(inputs.size())];
  const size_t max_size = std::max(input.size(), kMaxSize);
  if (LLVMFuzzerCustomCrossOver != nullptr && Below(8) == 0) {
    const Bytes& other = inputs[Below(inputs.size())];
    Bytes both(max_size);
    both.resize(LLVMFuzzerCustomCrossOver(input.data(), input.size(), other.data(), other.size(),
                                          both.data(), max_size, random_numbers()));
    input = both;
  }
  for (size_t times = 1 + Below(4); times > 0; --times) {
    size_t size = input.size();
    input.resize(max_size);
    size = LLVMFuzzerCustomMutator != nullptr
               ? LLVMFuzzerCustomMutator(input.data(), size, max_size, random_numbers())
               : LLVMFuzzerMutate(input.data(), size, max_size);
    input.resize(size);
  }
  return input;
}

// A file that holds one input after the other.
class KeptInput {
 public:
  explicit KeptInput(const std::string& file)
      : file_(file),
        fd_(file.empty() ? -1 : open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)) {}
  ~KeptInput() {
    if (fd_ >= 0) close(fd_);
  }
  KeptInput(const KeptInput&) = delete;
  KeptInput& operator=(const KeptInput&) = delete;

  // Overwritten in place: some file systems sync a file that was emptied first.
  bool Keep(const Bytes& input) const {
    if (file_.empty()) return true;
    const auto size = static_cast<ssize_t>(input.size());
    return pwrite(fd_, input.data(), input.size(), 0) == size && ftruncate(fd_, size) == 0;
  }
  bool Remove() const { return file_.empty() || unlink(file_.c_str()) == 0; }

 private:
  const std::string file_;
  const int fd_;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!ReadOptions(argc, argv, &options)) {
    std::cerr << "usage: " << argv[0] << " [--mutations N] [--seed S] [--keep FILE] FOLDER...\n";
    return 2;
  }
  std::vector<std::filesystem::path> files;
  for (const std::filesystem::path& folder : options.folders) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<Bytes> inputs;
  for (const std::filesystem::path& file : files) {
    inputs.push_back(Read(file));
    if (options.mutations > 0) continue;
    // The last line names the file, should the target abort.
    std::cerr << file.filename().string() << " (" << inputs.back().size() << " bytes)" << std::endl;
    LLVMFuzzerTestOneInput(inputs.back().data(), inputs.back().size());
  }
  if (inputs.empty()) {
    std::cerr << "no inputs\n";
    return 1;
  }
  if (options.mutations == 0) {
    std::cerr << inputs.size() << " inputs passed\n";
    return 0;
  }
  std::cerr << "seed " << options.seed << std::endl;
  const KeptInput kept(options.keep);
  for (uint32_t i = 0; i < options.mutations; ++i) {
    std::seed_seq seed{options.seed, i};
    random_numbers.seed(seed);
    const Bytes input = MutationOf(inputs);
    if (!kept.Keep(input)) {
      std::cerr << "cannot write " << options.keep << "\n";
      return 1;
    }
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::cerr << options.mutations << " mutations passed\n";
  return kept.Remove() ? 0 : 1;
}
