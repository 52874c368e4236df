// A folder for one test's database.
#ifndef TIFFIN_TESTS_UNIT_SERVER_JOBS_SQLITE_TEST_FOLDER_H_
#define TIFFIN_TESTS_UNIT_SERVER_JOBS_SQLITE_TEST_FOLDER_H_

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>

namespace tiffin::server {

// Removed, with all that is in it, at the end.
class TestFolder {
 public:
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "tiffin-jobs-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::filesystem::path file() const { return path_ / "tiffin.db"; }
  std::filesystem::path log() const { return path_ / "tiffin.db-wal"; }

 private:
  std::filesystem::path path_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_TESTS_UNIT_SERVER_JOBS_SQLITE_TEST_FOLDER_H_
