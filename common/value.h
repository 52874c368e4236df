// Values: any JSON a client may send, kept so that what is printed equals what was read.
//
// Threads: a Value is a plain value; distinct Values may be used from distinct threads.
#ifndef TIFFIN_COMMON_VALUE_H_
#define TIFFIN_COMMON_VALUE_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace tiffin {

class Value;

// An integer that does not fit int64: an optional '-' and decimal digits without leading zeros.
struct BigInteger {
  std::string digits;
  friend bool operator==(const BigInteger&, const BigInteger&) = default;
};

using List = std::vector<Value>;

// The members of an object in the order they were sent. Keys are unique: a repeated key keeps its
// first place and takes its last value, as Python's dict does.
class Object {
 public:
  using Member = std::pair<std::string, Value>;

  Object();
  Object(std::initializer_list<Member> members);
  Object(const Object&);
  Object(Object&&) noexcept;
  Object& operator=(const Object&);
  Object& operator=(Object&&) noexcept;
  ~Object();

  size_t size() const;
  bool empty() const { return size() == 0; }
  // Members for which memory is held, for those who count it.
  size_t capacity() const;
  std::vector<Member>::const_iterator begin() const;
  std::vector<Member>::const_iterator end() const;
  std::vector<Member>::iterator begin();
  std::vector<Member>::iterator end();

  // The member of that name, or nullptr. Linear: objects that are looked into are small.
  const Value* Find(std::string_view key) const;
  Value* Find(std::string_view key);
  // Replaces the member in its place, or appends it.
  void Set(std::string_view key, Value value);
  // Inserts before the member `before`, or appends if there is none. `key` must be absent.
  void InsertBefore(std::string_view before, std::string_view key, Value value);
  // Removes the member if present.
  void Erase(std::string_view key);
  // Appends without looking for an equal key: the caller knows there is none.
  void Append(std::string key, Value value);

 private:
  std::vector<Member> members_;
};

// One JSON value. Strings are UTF-8, in which a lone surrogate stands as its three-byte form
// (WTF-8).
class Value {
 public:
  using Variant =
      std::variant<std::monostate, bool, int64_t, BigInteger, double, std::string, List, Object>;

  Value() = default;
  Value(std::nullptr_t) {}                           // NOLINT: implicit, a value is what it holds
  Value(bool b) : v_(b) {}                           // NOLINT
  Value(int i) : v_(static_cast<int64_t>(i)) {}      // NOLINT
  Value(int64_t i) : v_(i) {}                        // NOLINT
  Value(uint64_t i);                                 // NOLINT: a BigInteger beyond int64
  Value(double d) : v_(d) {}                         // NOLINT
  Value(BigInteger i) : v_(std::move(i)) {}          // NOLINT
  Value(std::string s) : v_(std::move(s)) {}         // NOLINT
  Value(std::string_view s) : v_(std::string(s)) {}  // NOLINT
  Value(const char* s) : v_(std::string(s)) {}       // NOLINT
  Value(List list) : v_(std::move(list)) {}          // NOLINT
  Value(Object object) : v_(std::move(object)) {}    // NOLINT

  bool is_null() const { return std::holds_alternative<std::monostate>(v_); }
  bool is_integer() const {
    return std::holds_alternative<int64_t>(v_) || std::holds_alternative<BigInteger>(v_);
  }

  // nullptr if the value is of another kind.
  const bool* if_bool() const { return std::get_if<bool>(&v_); }
  const int64_t* if_int64() const { return std::get_if<int64_t>(&v_); }
  const BigInteger* if_big_integer() const { return std::get_if<BigInteger>(&v_); }
  const double* if_double() const { return std::get_if<double>(&v_); }
  const std::string* if_string() const { return std::get_if<std::string>(&v_); }
  std::string* if_string() { return std::get_if<std::string>(&v_); }
  const List* if_list() const { return std::get_if<List>(&v_); }
  List* if_list() { return std::get_if<List>(&v_); }
  const Object* if_object() const { return std::get_if<Object>(&v_); }
  Object* if_object() { return std::get_if<Object>(&v_); }
  const Variant& variant() const { return v_; }

  // Truth as Python has it: null, false, 0, 0.0, "", [] and {} are false.
  bool Truthy() const;
  // "null", "bool", "integer", "double", "string", "list" or "object", for error messages.
  std::string_view KindName() const;

  // Equal kinds, values and order of members. NaN equals NaN, 0.0 differs from -0.0 and from 0.
  friend bool operator==(const Value& a, const Value& b);

 private:
  Variant v_;
};

}  // namespace tiffin

#endif  // TIFFIN_COMMON_VALUE_H_
