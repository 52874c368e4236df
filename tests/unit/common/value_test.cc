#include "common/value.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tiffin {
namespace {

TEST(Value, HoldsUnsignedIntegersWhole) {
  EXPECT_EQ(Value(uint64_t{1} << 63), Value(BigInteger{"9223372036854775808"}));
  EXPECT_EQ(Value((uint64_t{1} << 63) - 1), Value(std::numeric_limits<int64_t>::max()));
}

TEST(Value, IsTrueAsInPython) {
  for (const Value& value : {Value(), Value(false), Value(0), Value(0.0), Value(-0.0), Value(""),
                             Value(List{}), Value(Object{})}) {
    EXPECT_FALSE(value.Truthy()) << value.KindName();
  }
  for (const Value& value :
       {Value(true), Value(-1), Value(0.1), Value(std::nan("")), Value("0"), Value(List{Value()}),
        Value(Object{{"a", nullptr}}), Value(BigInteger{"9223372036854775808"})}) {
    EXPECT_TRUE(value.Truthy()) << value.KindName();
  }
}

TEST(Value, EqualsOnlyTheSameKindAndOrder) {
  EXPECT_EQ(Value(std::nan("")), Value(-std::nan("")));
  EXPECT_NE(Value(0.0), Value(-0.0));
  EXPECT_NE(Value(0.0), Value(0));
  EXPECT_NE(Value(1), Value(true));
  EXPECT_NE(Value(), Value(false));
  EXPECT_NE(Value("1"), Value(1));
  EXPECT_EQ(Value(List{1, "a"}), Value(List{1, "a"}));
  EXPECT_NE(Value(List{1}), Value(List{1, 1}));
  EXPECT_EQ(Value(Object{{"a", 1}, {"b", 2}}), Value(Object{{"a", 1}, {"b", 2}}));
  EXPECT_NE(Value(Object{{"a", 1}, {"b", 2}}), Value(Object{{"b", 2}, {"a", 1}}));
  EXPECT_NE(Value(Object{{"a", 1}}), Value(Object{{"a", 1.0}}));
}

TEST(Value, NamesItsKind) {
  EXPECT_EQ(Value().KindName(), "null");
  EXPECT_EQ(Value(true).KindName(), "bool");
  EXPECT_EQ(Value(BigInteger{"9223372036854775808"}).KindName(), "integer");
  EXPECT_EQ(Value(1.0).KindName(), "double");
  EXPECT_EQ(Value("").KindName(), "string");
  EXPECT_EQ(Value(List{}).KindName(), "list");
  EXPECT_EQ(Value(Object{}).KindName(), "object");
}

TEST(Object, SetsInPlaceOrAtTheEnd) {
  Object object{{"a", 1}, {"b", 2}};
  object.Set("a", 3);
  object.Set("c", 4);
  EXPECT_EQ(Value(object), Value(Object{{"a", 3}, {"b", 2}, {"c", 4}}));
}

TEST(Object, InsertsBeforeAMemberOrAtTheEnd) {
  Object object{{"a", 1}, {"b", 2}};
  object.InsertBefore("b", "x", 0);
  object.InsertBefore("absent", "y", 9);
  EXPECT_EQ(Value(object), Value(Object{{"a", 1}, {"x", 0}, {"b", 2}, {"y", 9}}));
}

TEST(Object, ErasesWhatIsThere) {
  Object object{{"a", 1}, {"b", 2}};
  object.Erase("a");
  object.Erase("absent");
  EXPECT_EQ(Value(object), Value(Object{{"b", 2}}));
  EXPECT_EQ(object.Find("a"), nullptr);
}

TEST(Object, KeepsTheLastOfEqualKeysOfAnInitialiser) {
  EXPECT_EQ(Value(Object{{"a", 1}, {"b", 2}, {"a", 3}}), Value(Object{{"a", 3}, {"b", 2}}));
}

}  // namespace
}  // namespace tiffin
