// The table of DESIGN.md 6: standard types of C++ and their records. Users include
// client/objects.h.
#ifndef TIFFIN_CLIENT_OBJECT_TABLE_H_
#define TIFFIN_CLIENT_OBJECT_TABLE_H_

#include <array>
#include <chrono>
#include <cmath>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "client/object_codec.h"
#include "common/serialiser.h"
#include "common/strings.h"

namespace tiffin {

// The integer of a JSON number, from -2^63 to 2^64 - 1; nullopt if it is none or beyond.
std::optional<std::pair<bool, uint64_t>> SignAndMagnitude(const Value& value);
// The data of an `<object>` record of one of these classes. INVALID_ARGUMENT otherwise.
absl::StatusOr<const Value*> DataOf(const Value& value,
                                    std::initializer_list<std::string_view> classes,
                                    const PathLink& where, const Decoder& decoder);
// Its data as a list; of `size` items, if that is told.
absl::StatusOr<const List*> ListOf(const Value& value,
                                   std::initializer_list<std::string_view> classes,
                                   const PathLink& where, const Decoder& decoder,
                                   std::optional<size_t> size = {});
// A record of nanoseconds.
absl::StatusOr<int64_t> NanosecondsOf(const Value& value, std::string_view class_name,
                                      const PathLink& where, const Decoder& decoder);
absl::StatusOr<Value> EncodeBytes(const std::vector<std::byte>& bytes, const Encoder& encoder);
absl::StatusOr<std::vector<std::byte>> DecodeBytes(const Value& value, const PathLink& where,
                                                   const Decoder& decoder);
absl::StatusOr<Value> EncodePath(const std::filesystem::path& path, const Encoder& encoder);
absl::StatusOr<std::filesystem::path> DecodePath(const Value& value, const PathLink& where,
                                                 const Decoder& decoder);

// --- Plain JSON ---

template <>
struct Codec<bool> {
  static absl::StatusOr<Value> Encode(bool b, const Encoder&) { return Value(b); }
  static absl::StatusOr<bool> Decode(const Value& value, const PathLink& where, const Decoder&) {
    if (const bool* b = value.if_bool()) return *b;
    return ExpectedError(where, "a bool", value);
  }
};

template <std::integral T>
struct Codec<T> {
  static absl::StatusOr<Value> Encode(T i, const Encoder&) {
    if constexpr (std::is_signed_v<T>) return Value(static_cast<int64_t>(i));
    return Value(static_cast<uint64_t>(i));
  }
  static absl::StatusOr<T> Decode(const Value& value, const PathLink& where, const Decoder&) {
    if (!value.is_integer()) return ExpectedError(where, "an integer", value);
    const auto number = SignAndMagnitude(value);
    if (number.has_value()) {
      const auto [negative, magnitude] = *number;
      const T i = static_cast<T>(negative ? -magnitude : magnitude);
      // Back and forth: the same number, with the same sign.
      const bool same = negative ? i < 0 && uint64_t{0} - static_cast<uint64_t>(i) == magnitude
                                 : i >= 0 && static_cast<uint64_t>(i) == magnitude;
      if (same) return i;
    }
    return ExpectedError(where, StrCat("an integer of ", sizeof(T) * 8, " bits"), value);
  }
};

template <std::floating_point T>
requires(sizeof(T) <= sizeof(double))  // a long double would lose digits
    struct Codec<T> {
  static absl::StatusOr<Value> Encode(T d, const Encoder&) { return Value(static_cast<double>(d)); }
  // Doubles are rounded to what T holds, if they are within its range; integers must be held
  // exactly.
  static absl::StatusOr<T> Decode(const Value& value, const PathLink& where,
                                  const Decoder& decoder) {
    if (const double* d = value.if_double()) {
      const T rounded = static_cast<T>(*d);
      const bool same = std::isnan(*d) || static_cast<double>(rounded) == *d;
      if (same || (!decoder.exact() && std::isinf(rounded) == std::isinf(*d))) return rounded;
    }
    const int64_t* i = decoder.exact() ? nullptr : value.if_int64();
    constexpr int64_t kExact = int64_t{1} << std::numeric_limits<T>::digits;
    if (i != nullptr && *i >= -kExact && *i <= kExact) {
      return static_cast<T>(*i);
    }
    return ExpectedError(where, sizeof(T) == sizeof(double) ? "a double" : "a float", value);
  }
};

// INVALID_ARGUMENT if it is no UTF-8 (lone surrogates are taken, as three bytes): JSON has no way
// to say it.
absl::StatusOr<Value> EncodeText(std::string_view text);

template <>
struct Codec<std::string> {
  static absl::StatusOr<Value> Encode(const std::string& s, const Encoder&) {
    return EncodeText(s);
  }
  static absl::StatusOr<std::string> Decode(const Value& value, const PathLink& where,
                                            const Decoder&) {
    if (const std::string* s = value.if_string()) return *s;
    return ExpectedError(where, "a string", value);
  }
};
template <>
struct Codec<std::string_view> {
  static absl::StatusOr<Value> Encode(std::string_view s, const Encoder&) { return EncodeText(s); }
};
template <size_t N>
struct Codec<char[N]> {
  static absl::StatusOr<Value> Encode(const char (&s)[N], const Encoder&) { return EncodeText(s); }
};
template <>
struct Codec<const char*> {
  static absl::StatusOr<Value> Encode(const char* s, const Encoder&) { return EncodeText(s); }
};

template <>
struct Codec<std::nullptr_t> {
  static absl::StatusOr<Value> Encode(std::nullptr_t, const Encoder&) { return Value(); }
  static absl::StatusOr<std::nullptr_t> Decode(const Value& value, const PathLink& where,
                                               const Decoder&) {
    if (value.is_null()) return nullptr;
    return ExpectedError(where, "null", value);
  }
};

// Integers of any size.
template <>
struct Codec<BigInteger> {
  static absl::StatusOr<Value> Encode(const BigInteger& i, const Encoder&);
  static absl::StatusOr<BigInteger> Decode(const Value& value, const PathLink& where,
                                           const Decoder&);
};

template <typename T>
struct Codec<std::optional<T>> {
  static absl::StatusOr<Value> Encode(const std::optional<T>& object, const Encoder& encoder) {
    return object.has_value() ? encoder.Encode(*object) : Value();
  }
  static absl::StatusOr<std::optional<T>> Decode(const Value& value, const PathLink& where,
                                                 const Decoder& decoder) {
    if (value.is_null()) return std::optional<T>();
    absl::StatusOr<T> object = decoder.Decode<T>(value, where);
    if (!object.ok()) return object.status();
    return std::optional<T>(*std::move(object));
  }
};

template <typename Items>
absl::StatusOr<Value> EncodeList(const Items& items, const Encoder& encoder) {
  List list;
  list.reserve(std::size(items));
  for (const typename Items::value_type& item : items) {
    TIFFIN_ASSIGN_OR_RETURN(Value value, encoder.Encode(item));
    list.push_back(std::move(value));
  }
  return Value(std::move(list));
}

// Lists of any length.
template <typename Items>
struct ListCodec {
  static absl::StatusOr<Value> Encode(const Items& items, const Encoder& encoder) {
    return EncodeList(items, encoder);
  }
  static absl::StatusOr<Items> Decode(const Value& value, const PathLink& where,
                                      const Decoder& decoder) {
    using T = typename Items::value_type;
    const List* list = value.if_list();
    if (list == nullptr) return ExpectedError(where, "a list", value);
    Items items;
    if constexpr (requires { items.reserve(1); }) items.reserve(list->size());
    for (size_t i = 0; i < list->size(); ++i) {
      TIFFIN_ASSIGN_OR_RETURN(T item, decoder.Decode<T>((*list)[i], PathLink(where, i)));
      items.push_back(std::move(item));
    }
    return items;
  }
};

template <typename T>
struct Codec<std::vector<T>> : ListCodec<std::vector<T>> {};

template <typename T>
struct Codec<std::list<T>> : ListCodec<std::list<T>> {};

template <typename T, size_t N>
struct Codec<std::array<T, N>> {
  static absl::StatusOr<Value> Encode(const std::array<T, N>& items, const Encoder& encoder) {
    return EncodeList(items, encoder);
  }
  static absl::StatusOr<std::array<T, N>> Decode(const Value& value, const PathLink& where,
                                                 const Decoder& decoder) {
    const List* list = value.if_list();
    if (list == nullptr || list->size() != N) {
      return ExpectedError(where, StrCat("a list of ", N), value);
    }
    std::array<T, N> items;
    for (size_t i = 0; i < N; ++i) {
      TIFFIN_ASSIGN_OR_RETURN(items[i], decoder.Decode<T>((*list)[i], PathLink(where, i)));
    }
    return items;
  }
};

// --- Maps: plain objects if the keys are strings, else lists of pairs ---

// By the encoding of their keys, so that equal maps have equal records whatever their hashes.
absl::Status SortPairs(List* pairs);

template <typename Map>
absl::StatusOr<Value> EncodePairs(const Map& map, const Encoder& encoder) {
  List pairs;
  for (const auto& [key, item] : map) {
    TIFFIN_ASSIGN_OR_RETURN(Value k, encoder.Encode(key));
    TIFFIN_ASSIGN_OR_RETURN(Value v, encoder.Encode(item));
    pairs.push_back(List{std::move(k), std::move(v)});
  }
  if constexpr (requires { typename Map::hasher; }) TIFFIN_RETURN_IF_ERROR(SortPairs(&pairs));
  return MakeRecord(kObjectType, "tiffin.map", std::move(pairs));
}

template <typename Map>
absl::StatusOr<Value> EncodeMap(const Map& map, const Encoder& encoder) {
  if constexpr (std::is_same_v<typename Map::key_type, std::string> ||
                std::is_same_v<typename Map::key_type, std::string_view>) {
    Object object;
    for (const auto& [key, item] : map) {
      TIFFIN_RETURN_IF_ERROR(EncodeText(key).status());
      TIFFIN_ASSIGN_OR_RETURN(Value value, encoder.Encode(item));
      object.Append(key, std::move(value));
    }
    // One that would pass for a record goes as pairs.
    if (!IsRecord(object)) return Value(std::move(object));
  }
  return EncodePairs(map, encoder);
}

template <typename Map>
absl::StatusOr<Map> DecodeMap(const Value& value, const PathLink& where, const Decoder& decoder) {
  using Key = typename Map::key_type;
  using Item = typename Map::mapped_type;
  Map map;
  if constexpr (std::is_same_v<Key, std::string>) {
    const Value* data = &value;
    if (IsRecordOf(value, kObjectType, "collections.OrderedDict")) {  // it is around one
      TIFFIN_ASSIGN_OR_RETURN(data, DataOf(value, {"collections.OrderedDict"}, where, decoder));
    }
    const Value& plain = *data;
    if (plain.if_object() != nullptr && AsRecord(plain) == nullptr) {
      for (const auto& [name, member] : *plain.if_object()) {
        TIFFIN_ASSIGN_OR_RETURN(Item item, decoder.Decode<Item>(member, PathLink(where, name)));
        map.insert_or_assign(name, std::move(item));
      }
      return map;
    }
  }
  const PathLink data_path(where, "data");
  TIFFIN_ASSIGN_OR_RETURN(const List* pairs, ListOf(value, {"tiffin.map"}, where, decoder));
  for (size_t i = 0; i < pairs->size(); ++i) {
    const PathLink pair_path(data_path, i);
    const List* pair = (*pairs)[i].if_list();
    if (pair == nullptr || pair->size() != 2) {
      return ExpectedError(pair_path, "a key and an item", (*pairs)[i]);
    }
    TIFFIN_ASSIGN_OR_RETURN(Key key,
                            decoder.Decode<Key>((*pair)[0], PathLink(pair_path, size_t{0})));
    TIFFIN_ASSIGN_OR_RETURN(Item item,
                            decoder.Decode<Item>((*pair)[1], PathLink(pair_path, size_t{1})));
    map.insert_or_assign(std::move(key), std::move(item));
  }
  return map;
}

template <typename Map>
struct MapCodec {
  static absl::StatusOr<Value> Encode(const Map& map, const Encoder& encoder) {
    return EncodeMap(map, encoder);
  }
  static absl::StatusOr<Map> Decode(const Value& value, const PathLink& where,
                                    const Decoder& decoder) {
    return DecodeMap<Map>(value, where, decoder);
  }
};
template <typename K, typename V, typename C>
struct Codec<std::map<K, V, C>> : MapCodec<std::map<K, V, C>> {};
template <typename K, typename V, typename H, typename E>
struct Codec<std::unordered_map<K, V, H, E>> : MapCodec<std::unordered_map<K, V, H, E>> {};

// --- builtins.set ---

template <typename Set>
struct SetCodec {
  using Item = typename Set::value_type;
  static absl::StatusOr<Value> Encode(const Set& set, const Encoder& encoder) {
    TIFFIN_ASSIGN_OR_RETURN(Value items, EncodeList(set, encoder));
    return MakeRecord(kObjectType, "builtins.set", std::move(items));
  }
  static absl::StatusOr<Set> Decode(const Value& value, const PathLink& where,
                                    const Decoder& decoder) {
    TIFFIN_ASSIGN_OR_RETURN(const List* list,
                            ListOf(value, {"builtins.set", "builtins.frozenset"}, where, decoder));
    const PathLink data_path(where, "data");
    Set set;
    for (size_t i = 0; i < list->size(); ++i) {
      TIFFIN_ASSIGN_OR_RETURN(Item item, decoder.Decode<Item>((*list)[i], PathLink(data_path, i)));
      set.insert(std::move(item));
    }
    return set;
  }
};
template <typename T, typename C>
struct Codec<std::set<T, C>> : SetCodec<std::set<T, C>> {};
template <typename T, typename H, typename E>
struct Codec<std::unordered_set<T, H, E>> : SetCodec<std::unordered_set<T, H, E>> {};

// --- builtins.tuple ---

template <typename Tuple>
struct TupleCodec {
  static constexpr size_t kSize = std::tuple_size_v<Tuple>;
  template <size_t... I>
  static absl::Status EncodeItems(const Tuple& tuple, const Encoder& encoder, List* items,
                                  std::index_sequence<I...>) {
    absl::Status status;
    [[maybe_unused]] const auto add = [&](const auto& item) {
      absl::StatusOr<Value> value = encoder.Encode(item);
      if (!value.ok()) {
        status = value.status();
        return false;
      }
      items->push_back(*std::move(value));
      return true;
    };
    static_cast<void>((add(std::get<I>(tuple)) && ... && true));
    return status;
  }
  static absl::StatusOr<Value> Encode(const Tuple& tuple, const Encoder& encoder) {
    List items;
    TIFFIN_RETURN_IF_ERROR(EncodeItems(tuple, encoder, &items, std::make_index_sequence<kSize>()));
    return MakeRecord(kObjectType, "builtins.tuple", std::move(items));
  }

  // Items may have no default constructor, so each is kept as a StatusOr until all are there.
  template <size_t... I>
  static absl::StatusOr<Tuple> DecodeItems(const List& list, const PathLink& data_path,
                                           const Decoder& decoder, std::index_sequence<I...>) {
    std::tuple<absl::StatusOr<std::tuple_element_t<I, Tuple>>...> items{
        decoder.Decode<std::tuple_element_t<I, Tuple>>(list[I], PathLink(data_path, I))...};
    absl::Status status;
    (status.Update(std::get<I>(items).status()), ...);
    if (!status.ok()) return status;
    return Tuple(*std::move(std::get<I>(items))...);
  }
  static absl::StatusOr<Tuple> Decode(const Value& value, const PathLink& where,
                                      const Decoder& decoder) {
    TIFFIN_ASSIGN_OR_RETURN(const List* list,
                            ListOf(value, {"builtins.tuple"}, where, decoder, kSize));
    return DecodeItems(*list, PathLink(where, "data"), decoder, std::make_index_sequence<kSize>());
  }
};
template <typename... T>
struct Codec<std::tuple<T...>> : TupleCodec<std::tuple<T...>> {};
template <typename A, typename B>
struct Codec<std::pair<A, B>> : TupleCodec<std::pair<A, B>> {};

// --- builtins.complex, builtins.bytes, pathlib.PosixPath ---

template <std::floating_point F>
requires(sizeof(F) <= sizeof(double)) struct Codec<std::complex<F>> {
  static absl::StatusOr<Value> Encode(const std::complex<F>& c, const Encoder&) {
    return MakeRecord(
        kObjectType, "builtins.complex",
        Object{{"real", static_cast<double>(c.real())}, {"imag", static_cast<double>(c.imag())}});
  }
  static absl::StatusOr<std::complex<F>> Decode(const Value& value, const PathLink& where,
                                                const Decoder& decoder) {
    TIFFIN_RETURN_IF_ERROR(DataOf(value, {"builtins.complex"}, where, decoder).status());
    const Unpack unpack(&decoder, &value, &where);
    TIFFIN_ASSIGN_OR_RETURN(const F real, unpack.Member<F>("real"));
    TIFFIN_ASSIGN_OR_RETURN(const F imag, unpack.Member<F>("imag"));
    return std::complex<F>(real, imag);
  }
};

template <>
struct Codec<std::vector<std::byte>> {
  static absl::StatusOr<Value> Encode(const std::vector<std::byte>& bytes, const Encoder& encoder) {
    return EncodeBytes(bytes, encoder);
  }
  static absl::StatusOr<std::vector<std::byte>> Decode(const Value& value, const PathLink& where,
                                                       const Decoder& decoder) {
    return DecodeBytes(value, where, decoder);
  }
};

template <>
struct Codec<std::filesystem::path> {
  static absl::StatusOr<Value> Encode(const std::filesystem::path& path, const Encoder& encoder) {
    return EncodePath(path, encoder);
  }
  static absl::StatusOr<std::filesystem::path> Decode(const Value& value, const PathLink& where,
                                                      const Decoder& decoder) {
    return DecodePath(value, where, decoder);
  }
};

// --- variant: the alternative it holds ---

template <typename... T>
struct Codec<std::variant<T...>> {
  using Variant = std::variant<T...>;
  static absl::StatusOr<Value> Encode(const Variant& variant, const Encoder& encoder) {
    return std::visit([&encoder](const auto& object) { return encoder.Encode(object); }, variant);
  }
  // The first alternative that takes the value. Floating-point types, also within others, take
  // integers, and doubles that they would round, only if nothing else takes them. An error that is
  // not of the value (of blobs that cannot be had) ends the search.
  static absl::StatusOr<Variant> Decode(const Value& value, const PathLink& where,
                                        const Decoder& decoder) {
    std::optional<Variant> found;
    absl::Status failed;
    std::string errors;
    const auto attempt = [&]<typename Alternative>(const Decoder& attempting) {
      if (found.has_value() || !failed.ok()) return;
      absl::StatusOr<Alternative> object = attempting.Decode<Alternative>(value, where);
      if (object.ok()) {
        found.emplace(*std::move(object));
      } else if (!absl::IsInvalidArgument(object.status())) {
        failed = object.status();
      } else {
        StrAppend(&errors, errors.empty() ? "" : "; ", object.status().message());
      }
    };
    const Decoder exact = decoder.Attempting(true), any = decoder.Attempting(false);
    (attempt.template operator()<T>(exact), ...);
    if (!found.has_value() && failed.ok() && !decoder.exact()) {
      errors.clear();
      (attempt.template operator()<T>(any), ...);
    }
    if (found.has_value()) return *std::move(found);
    if (!failed.ok()) return failed;
    return absl::InvalidArgumentError(
        StrCat("no alternative takes it", decoder.Registered(), ": ", errors));
  }
};
template <>
struct Codec<std::monostate> {
  static absl::StatusOr<Value> Encode(std::monostate, const Encoder&) { return Value(); }
  static absl::StatusOr<std::monostate> Decode(const Value& value, const PathLink& where,
                                               const Decoder&) {
    if (value.is_null()) return std::monostate();
    return ExpectedError(where, "null", value);
  }
};

// --- tiffin.duration, tiffin.time: nanoseconds ---

// INVALID_ARGUMENT if a Duration of whole ticks does not hold them.
template <typename Duration>
absl::StatusOr<Duration> DurationOf(int64_t nanoseconds, const PathLink& where) {
  const std::chrono::nanoseconds exact(nanoseconds);
  if constexpr (!std::chrono::treat_as_floating_point_v<typename Duration::rep>) {
    using Wide = std::chrono::duration<long double, typename Duration::period>;
    constexpr auto kMost =
        static_cast<long double>(std::numeric_limits<typename Duration::rep>::max());
    if (!(std::abs(std::chrono::duration_cast<Wide>(exact).count()) <= kMost)) {
      return BadRecord(PathLink(where, "data"),
                       StrCat(nanoseconds, " ns are beyond the type's range"));
    }
  }
  const Duration duration = std::chrono::duration_cast<Duration>(exact);
  if constexpr (!std::chrono::treat_as_floating_point_v<typename Duration::rep>) {
    if (std::chrono::duration_cast<std::chrono::nanoseconds>(duration) != exact) {
      using Period = typename Duration::period;
      return BadRecord(PathLink(where, "data"), StrCat(nanoseconds, " ns are no whole number of ",
                                                       Period::num, "/", Period::den, " s"));
    }
  }
  return duration;
}

template <typename Rep, typename Period>
struct Codec<std::chrono::duration<Rep, Period>> {
  using Duration = std::chrono::duration<Rep, Period>;
  // INVALID_ARGUMENT beyond 292 years, and for parts of a nanosecond (of a floating-point type they
  // are rounded).
  static absl::StatusOr<int64_t> Nanoseconds(const Duration& duration) {
    using Wide = std::chrono::duration<long double, std::nano>;
    constexpr long double kMax = std::numeric_limits<int64_t>::max();
    const long double wide = std::chrono::duration_cast<Wide>(duration).count();
    if (!(std::abs(wide) <= kMax)) {
      return absl::InvalidArgumentError("a time beyond 292 years from its origin");
    }
    if constexpr (std::is_floating_point_v<Rep>) return static_cast<int64_t>(std::llround(wide));
    const auto exact = std::chrono::duration_cast<std::chrono::nanoseconds>(duration);
    if constexpr (!std::is_floating_point_v<Rep>) {
      if (std::chrono::duration_cast<Duration>(exact) != duration) {
        return absl::InvalidArgumentError("a time that is no whole number of nanoseconds");
      }
    }
    return exact.count();
  }
  static absl::StatusOr<Value> Encode(const Duration& duration, const Encoder&) {
    TIFFIN_ASSIGN_OR_RETURN(const int64_t nanoseconds, Nanoseconds(duration));
    return MakeRecord(kObjectType, "tiffin.duration", nanoseconds);
  }
  static absl::StatusOr<Duration> Decode(const Value& value, const PathLink& where,
                                         const Decoder& decoder) {
    TIFFIN_ASSIGN_OR_RETURN(const int64_t count,
                            NanosecondsOf(value, "tiffin.duration", where, decoder));
    return DurationOf<Duration>(count, where);
  }
};

template <typename Duration>
struct Codec<std::chrono::time_point<std::chrono::system_clock, Duration>> {
  using Time = std::chrono::time_point<std::chrono::system_clock, Duration>;
  static absl::StatusOr<Value> Encode(const Time& time, const Encoder&) {
    TIFFIN_ASSIGN_OR_RETURN(const int64_t nanoseconds,
                            Codec<Duration>::Nanoseconds(time.time_since_epoch()));
    return MakeRecord(kObjectType, "tiffin.time", nanoseconds);
  }
  static absl::StatusOr<Time> Decode(const Value& value, const PathLink& where,
                                     const Decoder& decoder) {
    TIFFIN_ASSIGN_OR_RETURN(const int64_t count,
                            NanosecondsOf(value, "tiffin.time", where, decoder));
    TIFFIN_ASSIGN_OR_RETURN(const Duration since, DurationOf<Duration>(count, where));
    return Time(since);
  }
};

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_OBJECT_TABLE_H_
