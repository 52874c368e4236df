#include "common/value.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace tiffin {
namespace {

bool SameDouble(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

template <typename Members>
auto FindMember(Members& members, std::string_view key) {
  return std::find_if(members.begin(), members.end(),
                      [key](const Object::Member& m) { return m.first == key; });
}

}  // namespace

Object::Object() = default;
Object::Object(std::initializer_list<Member> members) {
  for (const Member& m : members) Set(m.first, m.second);
}
Object::Object(const Object&) = default;
Object::Object(Object&&) noexcept = default;
Object& Object::operator=(const Object&) = default;
Object& Object::operator=(Object&&) noexcept = default;
Object::~Object() = default;

size_t Object::size() const { return members_.size(); }
std::vector<Object::Member>::const_iterator Object::begin() const { return members_.begin(); }
std::vector<Object::Member>::const_iterator Object::end() const { return members_.end(); }
std::vector<Object::Member>::iterator Object::begin() { return members_.begin(); }
std::vector<Object::Member>::iterator Object::end() { return members_.end(); }
size_t Object::capacity() const { return members_.capacity(); }

const Value* Object::Find(std::string_view key) const {
  auto it = FindMember(members_, key);
  return it == members_.end() ? nullptr : &it->second;
}

Value* Object::Find(std::string_view key) {
  auto it = FindMember(members_, key);
  return it == members_.end() ? nullptr : &it->second;
}

void Object::Set(std::string_view key, Value value) {
  if (Value* present = Find(key)) {
    *present = std::move(value);
  } else {
    members_.emplace_back(std::string(key), std::move(value));
  }
}

void Object::InsertBefore(std::string_view before, std::string_view key, Value value) {
  members_.emplace(FindMember(members_, before), std::string(key), std::move(value));
}

void Object::Erase(std::string_view key) {
  if (auto it = FindMember(members_, key); it != members_.end()) members_.erase(it);
}

void Object::Append(std::string key, Value value) {
  members_.emplace_back(std::move(key), std::move(value));
}

Value::Value(uint64_t i) {
  if (i <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    v_ = static_cast<int64_t>(i);
  } else {
    v_ = BigInteger{std::to_string(i)};
  }
}

bool Value::Truthy() const {
  struct Visitor {
    bool operator()(std::monostate) const { return false; }
    bool operator()(bool b) const { return b; }
    bool operator()(int64_t i) const { return i != 0; }
    bool operator()(const BigInteger&) const { return true; }
    bool operator()(double d) const { return d != 0; }  // NaN is true, as in Python
    bool operator()(const std::string& s) const { return !s.empty(); }
    bool operator()(const List& l) const { return !l.empty(); }
    bool operator()(const Object& o) const { return !o.empty(); }
  };
  return std::visit(Visitor{}, v_);
}

std::string_view Value::KindName() const {
  struct Visitor {
    std::string_view operator()(std::monostate) const { return "null"; }
    std::string_view operator()(bool) const { return "bool"; }
    std::string_view operator()(int64_t) const { return "integer"; }
    std::string_view operator()(const BigInteger&) const { return "integer"; }
    std::string_view operator()(double) const { return "double"; }
    std::string_view operator()(const std::string&) const { return "string"; }
    std::string_view operator()(const List&) const { return "list"; }
    std::string_view operator()(const Object&) const { return "object"; }
  };
  return std::visit(Visitor{}, v_);
}

bool operator==(const Value& a, const Value& b) {
  if (a.v_.index() != b.v_.index()) return false;
  if (const double* d = a.if_double()) return SameDouble(*d, *b.if_double());
  if (const Object* o = a.if_object()) {
    return std::equal(o->begin(), o->end(), b.if_object()->begin(), b.if_object()->end());
  }
  if (const List* l = a.if_list()) return *l == *b.if_list();
  if (const std::string* s = a.if_string()) return *s == *b.if_string();
  if (const int64_t* i = a.if_int64()) return *i == *b.if_int64();
  if (const BigInteger* i = a.if_big_integer()) return *i == *b.if_big_integer();
  if (const bool* x = a.if_bool()) return *x == *b.if_bool();
  return true;
}

}  // namespace tiffin
