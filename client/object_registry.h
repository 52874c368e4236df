// The Registry of a client: finds how a C++ object becomes a record and comes back (DESIGN.md 6).
// Users include client/objects.h.
#ifndef TIFFIN_CLIENT_OBJECT_REGISTRY_H_
#define TIFFIN_CLIENT_OBJECT_REGISTRY_H_

#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeindex>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "client/object_codec.h"

namespace tiffin {

// What holds another object and has no record of its own.
template <typename T>
struct IsWrapper : std::false_type {};
template <typename T>
struct IsWrapper<std::optional<T>> : std::true_type {};
template <typename... T>
struct IsWrapper<std::variant<T...>> : std::true_type {};

// An object whose type is known at run time only: what hook functions and defaults see.
class ObjectView {
 public:
  template <typename T>
  explicit ObjectView(const T* object) : type_(&typeid(T)), object_(object) {
    if constexpr (IsItsBytes<T>()) bytes_ = &BytesOf<T>;
  }

  const std::type_info& type() const { return *type_; }
  // nullptr if it is no T.
  template <typename T>
  const T* If() const {
    return *type_ == typeid(T) ? static_cast<const T*>(object_) : nullptr;
  }
  // Its bytes, padding as zeros, if they are all there is of it (trivially copyable); else nullopt.
  std::optional<std::string> bytes() const {
    if (bytes_ == nullptr) return std::nullopt;
    return bytes_(object_);
  }
  const void* get() const { return object_; }

 private:
  // What it is lies elsewhere: its bytes are an address. (Members that are views cannot be seen.)
  template <typename T>
  struct IsView : std::bool_constant<std::is_pointer_v<T> || std::is_member_pointer_v<T>> {};
  template <typename T, size_t N>
  struct IsView<std::span<T, N>> : std::true_type {};
  template <typename C, typename Traits>
  struct IsView<std::basic_string_view<C, Traits>> : std::true_type {};
  template <typename T>
  struct IsView<std::reference_wrapper<T>> : std::true_type {};
  template <typename T>
  struct IsView<std::initializer_list<T>> : std::true_type {};

  // Equal objects must have equal bytes, or they would be different jobs.
  template <typename T>
  static constexpr bool IsItsBytes() {
#if __has_builtin(__builtin_clear_padding)
    return std::is_trivially_copyable_v<T> && std::is_copy_constructible_v<T> && !IsView<T>::value;
#else
    return std::has_unique_object_representations_v<T> && !IsView<T>::value;
#endif
  }
  template <typename T>
  static std::string BytesOf(const void* object) {
    T copy = *static_cast<const T*>(object);
#if __has_builtin(__builtin_clear_padding)
    __builtin_clear_padding(&copy);
#endif
    return std::string(reinterpret_cast<const char*>(&copy), sizeof copy);
  }

  const std::type_info* type_;
  const void* object_;
  std::string (*bytes_)(const void*) = nullptr;
};

// Where a decoded object goes to, whose type is known at run time only.
class ObjectSlot {
 public:
  template <typename T>
  explicit ObjectSlot(std::optional<T>* slot) : type_(&typeid(T)), slot_(slot) {
    if constexpr (std::is_trivially_copyable_v<T> && std::is_default_constructible_v<T>) {
      plain_size_ = sizeof(T);
    }
    if constexpr (std::is_default_constructible_v<T>) {
      emplace_ = [](void* s) -> void* { return &static_cast<std::optional<T>*>(s)->emplace(); };
    }
  }

  const std::type_info& type() const { return *type_; }
  // nullptr if no T is wanted.
  template <typename T>
  std::optional<T>* If() const {
    return *type_ == typeid(T) ? static_cast<std::optional<T>*>(slot_) : nullptr;
  }
  // Makes an object from its bytes. False if the wanted type is not just bytes, or has another
  // size.
  bool SetBytes(std::string_view bytes) const;
  // Makes a default-constructed object and returns it; nullptr if the type has no such constructor.
  void* Emplace() const { return emplace_ == nullptr ? nullptr : emplace_(slot_); }

 private:
  const std::type_info* type_;
  void* slot_;
  size_t plain_size_ = 0;
  void* (*emplace_)(void*) = nullptr;
};

// A serialiser of objects of any type: of hooks, and the default.
struct AnySerialiser {
  std::function<absl::StatusOr<Value>(const ObjectView&, const Pack&)> encode;
  std::function<absl::Status(const Unpack&, const ObjectSlot&)> decode;
};

// Types, bases, hooks, hook functions and a default. Look-up for an object: hook functions, then
// the serialiser of its type, then serialise/construct of the type itself, then the table of
// DESIGN.md 6 (client/object_table.h), then its declared bases breadth-first, then the default.
// Registries add up with `+`. An empty one knows the table and all types that serialise themselves.
//
// Threads: a registry that is no longer changed may be used from many threads at once.
class ObjectRegistry {
 public:
  // The name of a hook for this object, or "" to leave it to others.
  using HookFunction = std::function<std::string(const ObjectView&)>;

  // Registers a type under the class name that its records have. Each replaces what was there.
  template <typename T>
  ObjectRegistry& AddType(std::string class_name,
                          std::function<absl::StatusOr<Value>(const T&, const Pack&)> encode,
                          std::function<absl::StatusOr<T>(const Unpack&)> decode);

  // Registers a serialiser for every type that is declared to derive from Base. Decoding fills in a
  // default-constructed object of the derived type.
  template <typename Base>
  ObjectRegistry& AddBase(std::function<absl::StatusOr<Value>(const Base&, const Pack&)> encode,
                          std::function<absl::Status(const Unpack&, Base*)> decode);

  // Declares the direct bases of a type, in the order they are searched, and its class name.
  template <typename Derived, typename... Bases>
  ObjectRegistry& DeclareBases(std::string class_name);

  // A hook: records of type `name`, which is written `<…>`.
  ObjectRegistry& AddHook(std::string name, AnySerialiser serialiser);
  ObjectRegistry& SetHookFunction(HookFunction function);
  ObjectRegistry& SetDefault(AnySerialiser serialiser);

  // `b` overrides `a`; b's hook function is asked first; the default stays a's, if it has one.
  friend ObjectRegistry operator+(const ObjectRegistry& a, const ObjectRegistry& b);

  // An object as a value: what a job's argument or result is made of.
  // Errors: INVALID_ARGUMENT if nothing knows a type, telling what is registered;
  // FAILED_PRECONDITION if something must be uploaded and there are no blobs; those of serialisers
  // and blobs.
  template <typename T>
  absl::StatusOr<Value> Encode(const T& object, const EncodeOptions& options = {}) const;
  // The object of a value. Refs keep a copy of the registry.
  // Errors: INVALID_ARGUMENT with the path of what is not as T has it, what was found, and what is
  // registered; FAILED_PRECONDITION for a ref where T is no Ref and `deref` or the blobs are not
  // given.
  template <typename T>
  absl::StatusOr<T> Decode(const Value& value, const DecodeOptions& options = {}) const;
  // The same with JSON text in between, as Python prints it.
  template <typename T>
  absl::StatusOr<std::string> to_json(const T& object, const EncodeOptions& options = {}) const;
  template <typename T>
  absl::StatusOr<T> from_json(std::string_view text, const DecodeOptions& options = {}) const;

  // "registered are stars.Star, <sky>, what derives from m::Body, a default", for messages.
  std::string Registered() const;

 private:
  friend class Encoder;
  friend class Decoder;

  using Upcast = void* (*)(void*);
  struct Type {
    std::string class_name;
    AnySerialiser serialiser;
  };
  struct BaseSerialiser {
    std::string name;  // of the C++ type
    std::function<absl::StatusOr<Value>(const void* base, const Pack&)> encode;
    std::function<absl::Status(const Unpack&, void* base)> decode;
  };
  struct Derivation {
    std::string class_name;
    std::vector<std::pair<std::type_index, Upcast>> bases;
  };
  // A base's serialiser for an object of a derived type, and the way to its part in the object.
  struct FoundBase {
    const BaseSerialiser* serialiser = nullptr;
    std::vector<Upcast> path;
    void* PartOf(void* object) const;
  };

  const AnySerialiser* FindHook(std::string_view name) const;
  // The hook that a hook function names for the object, with its name; nullptr if none does.
  absl::StatusOr<const AnySerialiser*> AskHooks(const ObjectView& object, std::string* name) const;
  const Type* FindType(std::type_index type) const;
  FoundBase FindBase(std::type_index type) const;
  // The class name that was told for a type, else the C++ name.
  std::string ClassNameOf(const std::type_info& type) const;

  // Both try what is registered only, before the compile-time ways (`early`) or after them.
  absl::StatusOr<std::optional<Value>> EncodeEarly(const ObjectView& object,
                                                   const Encoder& encoder) const;
  absl::StatusOr<Value> EncodeLate(const ObjectView& object, const Encoder& encoder) const;
  // True if the slot was filled.
  absl::StatusOr<bool> DecodeEarly(const Value& record, const PathLink& where,
                                   const Decoder& decoder, const ObjectSlot& slot) const;
  absl::Status DecodeLate(const Value& record, const PathLink& where, const Decoder& decoder,
                          const ObjectSlot& slot) const;

  std::map<std::type_index, Type> types_;
  std::map<std::type_index, BaseSerialiser> bases_;
  std::map<std::type_index, Derivation> derivations_;
  std::map<std::string, AnySerialiser, std::less<>> hooks_;
  std::vector<HookFunction> hook_functions_;  // asked in this order
  std::optional<AnySerialiser> default_;
};

// A registry whose default keeps trivially copyable objects as their bytes, base64, which nobody
// but the same program on the same kind of machine can read: what a pickle is to Python.
ObjectRegistry OpaqueObjects();

template <typename T>
ObjectRegistry& ObjectRegistry::AddType(
    std::string class_name, std::function<absl::StatusOr<Value>(const T&, const Pack&)> encode,
    std::function<absl::StatusOr<T>(const Unpack&)> decode) {
  static_assert(!IsWrapper<T>::value,
                "what an optional or a variant holds is encoded: register that");
  AnySerialiser any;
  any.encode = [encode = std::move(encode)](const ObjectView& object, const Pack& pack) {
    return encode(*object.If<T>(), pack);
  };
  any.decode = [decode = std::move(decode)](const Unpack& record,
                                            const ObjectSlot& slot) -> absl::Status {
    absl::StatusOr<T> object = decode(record);
    if (!object.ok()) return object.status();
    slot.If<T>()->emplace(*std::move(object));
    return absl::OkStatus();
  };
  types_.insert_or_assign(typeid(T), Type{std::move(class_name), std::move(any)});
  return *this;
}

template <typename Base>
ObjectRegistry& ObjectRegistry::AddBase(
    std::function<absl::StatusOr<Value>(const Base&, const Pack&)> encode,
    std::function<absl::Status(const Unpack&, Base*)> decode) {
  BaseSerialiser erased;
  erased.name = TypeName(typeid(Base));
  erased.encode = [encode = std::move(encode)](const void* base, const Pack& pack) {
    return encode(*static_cast<const Base*>(base), pack);
  };
  erased.decode = [decode = std::move(decode)](const Unpack& record, void* base) {
    return decode(record, static_cast<Base*>(base));
  };
  bases_.insert_or_assign(typeid(Base), std::move(erased));
  return *this;
}

template <typename Derived, typename... Bases>
ObjectRegistry& ObjectRegistry::DeclareBases(std::string class_name) {
  static_assert((std::is_base_of_v<Bases, Derived> && ...));
  Derivation derivation{std::move(class_name), {}};
  (derivation.bases.emplace_back(
       typeid(Bases),
       [](void* object) -> void* { return static_cast<Bases*>(static_cast<Derived*>(object)); }),
   ...);
  derivations_.insert_or_assign(typeid(Derived), std::move(derivation));
  return *this;
}

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_OBJECT_REGISTRY_H_
