// Reads files of tests/data, whose folder CMake passes as TIFFIN_TEST_DATA.
#ifndef TIFFIN_TESTS_SUPPORT_TEST_DATA_H_
#define TIFFIN_TESTS_SUPPORT_TEST_DATA_H_

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "common/json.h"
#include "common/value.h"

namespace tiffin::testing {

inline std::string ReadTestData(const std::string& name) {
  std::ifstream file(std::string(TIFFIN_TEST_DATA) + "/" + name, std::ios::binary);
  EXPECT_TRUE(file) << "cannot open " << name;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The value of a text that is known to be good.
inline Value MustParse(std::string_view text) {
  absl::StatusOr<Value> value = ParseJson(text);
  EXPECT_TRUE(value.ok()) << value.status() << " in " << text.substr(0, 200);
  return value.ok() ? *std::move(value) : Value();
}

inline Value TestJson(const std::string& name) { return MustParse(ReadTestData(name)); }

// The lines of a .jsonl file.
inline std::vector<Value> TestJsonLines(const std::string& name) {
  std::istringstream text(ReadTestData(name));
  std::vector<Value> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(MustParse(line));
  EXPECT_FALSE(lines.empty()) << name;
  return lines;
}

// A member that is known to be there.
inline const Value& At(const Value& object, std::string_view name) {
  static const Value kNone;
  const Value* member = object.if_object() == nullptr ? nullptr : object.if_object()->Find(name);
  EXPECT_NE(member, nullptr) << "no member " << name;
  return member == nullptr ? kNone : *member;
}

inline std::string StringAt(const Value& object, std::string_view name) {
  const std::string* s = At(object, name).if_string();
  EXPECT_NE(s, nullptr) << name << " is no string";
  return s == nullptr ? std::string() : *s;
}

}  // namespace tiffin::testing

#endif  // TIFFIN_TESTS_SUPPORT_TEST_DATA_H_
