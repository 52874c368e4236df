// C++ objects as records and back, in the serialisation design of Noodles (DESIGN.md 6).
//
//   struct Star {
//     static constexpr std::string_view kClassName = "stars.Star";
//     absl::StatusOr<tiffin::Value> serialise(const tiffin::Pack& pack) const;  // pack(name)
//     static absl::StatusOr<Star> construct(const tiffin::Unpack& record);
//     std::string name;
//   };
//   absl::StatusOr<std::string> text = tiffin::to_json(std::vector<Star>{sun}, {.indent = 2});
//   auto stars = tiffin::from_json<std::vector<Star>>(*text);
//
// The standard types that need nothing are those of client/object_table.h and, as arrays,
// client/object_array.h. examples/stars.cc is a tour.
#ifndef TIFFIN_CLIENT_OBJECTS_H_
#define TIFFIN_CLIENT_OBJECTS_H_

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "client/object_array.h"
#include "client/object_codec.h"
#include "client/object_ref.h"
#include "client/object_registry.h"
#include "client/object_table.h"
#include "common/json.h"

namespace tiffin {

template <typename T>
struct IsRef : std::false_type {};
template <typename T>
struct IsRef<Ref<T>> : std::true_type {};

// What JSON has itself: never looked up, so that numbers and text stay what they are.
template <typename T>
concept PlainJson = (std::is_arithmetic_v<T> && !std::is_same_v<T, long double>) ||
                    std::is_same_v<T, std::string> || std::is_same_v<T, std::nullptr_t> ||
                    std::is_same_v<T, BigInteger> || std::is_convertible_v<const T&, const char*>;

template <typename T>
absl::StatusOr<Value> ObjectRegistry::Encode(const T& object, const EncodeOptions& options) const {
  return Encoder(this, options).Encode(object);
}

template <typename T>
absl::StatusOr<T> ObjectRegistry::Decode(const Value& value, const DecodeOptions& options) const {
  return Decoder(std::make_shared<const ObjectRegistry>(*this), options).Decode<T>(value);
}

template <typename T>
absl::StatusOr<std::string> ObjectRegistry::to_json(const T& object,
                                                    const EncodeOptions& options) const {
  absl::StatusOr<Value> value = Encode(object, options);
  if (!value.ok()) return value.status();
  JsonStyle style = JsonStyle::Python();
  style.indent = options.indent;
  return PrintJson(*value, style);
}

template <typename T>
absl::StatusOr<T> ObjectRegistry::from_json(std::string_view text,
                                            const DecodeOptions& options) const {
  absl::StatusOr<Value> value = ParseJson(text);
  if (!value.ok()) return value.status();
  return Decode<T>(*value, options);
}

// The same without a registry of one's own: with the table, and types that serialise themselves.
template <typename T>
absl::StatusOr<Value> Encode(const T& object, const EncodeOptions& options = {}) {
  return ObjectRegistry().Encode(object, options);
}
template <typename T>
absl::StatusOr<T> Decode(const Value& value, const DecodeOptions& options = {}) {
  return ObjectRegistry().Decode<T>(value, options);
}
template <typename T>
absl::StatusOr<std::string> to_json(const T& object, const EncodeOptions& options = {}) {
  return ObjectRegistry().to_json(object, options);
}
template <typename T>
absl::StatusOr<T> from_json(std::string_view text, const DecodeOptions& options = {}) {
  return ObjectRegistry().from_json<T>(text, options);
}

template <typename T>
absl::StatusOr<Value> Encoder::Encode(const T& object) const {
  if constexpr (std::is_same_v<T, Value> || std::is_same_v<T, List> || std::is_same_v<T, Object>) {
    return EncodeRecords(Value(object));
  } else if constexpr (IsRef<T>::value) {
    return object.record();
  } else if constexpr (PlainJson<T> || IsWrapper<T>::value) {
    // of a wrapper: what is in it looks for hooks and serialisers
    return Codec<T>::Encode(object, *this);
  } else {
    const ObjectView view(&object);
    TIFFIN_ASSIGN_OR_RETURN(std::optional<Value> early, registry_->EncodeEarly(view, *this));
    if (early.has_value()) return *std::move(early);
    if constexpr (SelfSerialising<T>) {
      return object.serialise(Pack(this, "<automagic>", T::kClassName));
    } else if constexpr (HasCodec<T>) {
      return Codec<T>::Encode(object, *this);
    } else {
      return registry_->EncodeLate(view, *this);
    }
  }
}

template <typename T>
absl::StatusOr<T> Decoder::Decode(const Value& value, const PathLink& where) const {
  if constexpr (std::is_same_v<T, Value>) {
    return value;
  } else if constexpr (IsRef<T>::value) {
    return T(value, *this);
  } else if constexpr (PlainJson<T> || IsWrapper<T>::value) {
    // of a wrapper: what is in it looks for hooks and refs
    return Codec<T>::Decode(value, where, *this);
  } else {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<Value> brought, Resolve(value, where));
    const Value& whole = brought.has_value() ? *brought : value;
    std::optional<T> object;
    TIFFIN_ASSIGN_OR_RETURN(const bool done,
                            registry_->DecodeEarly(whole, where, *this, ObjectSlot(&object)));
    if (!done) {
      if constexpr (SelfSerialising<T>) {
        const Object* record = AsRecord(whole);
        if (record == nullptr || RecordClass(*record) != T::kClassName) {
          return Expected(where, StrCat("a record of ", T::kClassName), whole);
        }
        return T::construct(Unpack(this, &whole, &where));
      } else if constexpr (HasDecodingCodec<T>) {
        return Codec<T>::Decode(whole, where, *this);
      } else {
        TIFFIN_RETURN_IF_ERROR(registry_->DecodeLate(whole, where, *this, ObjectSlot(&object)));
      }
    }
    // A hook or default may have been content without making an object of this type.
    if (!object.has_value()) return ExpectedError(where, TypeName(typeid(T)), whole);
    return *std::move(object);
  }
}

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_OBJECTS_H_
