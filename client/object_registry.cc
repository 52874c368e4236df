#include "client/object_registry.h"

#include <cstring>
#include <deque>
#include <set>

#include "absl/strings/str_join.h"
#include "client/objects.h"  // Encode and Decode
#include "common/base64.h"
#include "common/strings.h"

namespace tiffin {

bool ObjectSlot::SetBytes(std::string_view bytes) const {
  if (plain_size_ == 0 || bytes.size() != plain_size_) return false;
  std::memcpy(Emplace(), bytes.data(), bytes.size());
  return true;
}

ObjectRegistry& ObjectRegistry::AddHook(std::string name, AnySerialiser serialiser) {
  hooks_.insert_or_assign(std::move(name), std::move(serialiser));
  return *this;
}

ObjectRegistry& ObjectRegistry::SetHookFunction(HookFunction function) {
  hook_functions_ = {std::move(function)};
  return *this;
}

ObjectRegistry& ObjectRegistry::SetDefault(AnySerialiser serialiser) {
  default_ = std::move(serialiser);
  return *this;
}

ObjectRegistry operator+(const ObjectRegistry& a, const ObjectRegistry& b) {
  ObjectRegistry sum = b;
  sum.types_.insert(a.types_.begin(), a.types_.end());  // keeps b's where both have one
  sum.bases_.insert(a.bases_.begin(), a.bases_.end());
  sum.derivations_.insert(a.derivations_.begin(), a.derivations_.end());
  sum.hooks_.insert(a.hooks_.begin(), a.hooks_.end());
  sum.hook_functions_.insert(sum.hook_functions_.end(), a.hook_functions_.begin(),
                             a.hook_functions_.end());
  if (a.default_.has_value()) sum.default_ = a.default_;
  return sum;
}

std::string ObjectRegistry::Registered() const {
  std::vector<std::string> names;
  for (const auto& [type, entry] : types_) names.push_back(entry.class_name);
  for (const auto& [type, entry] : derivations_) names.push_back(entry.class_name);
  for (const auto& [name, entry] : hooks_) names.push_back(name);
  for (const auto& [type, entry] : bases_)
    names.push_back(StrCat("what derives from ", entry.name));
  if (default_.has_value()) names.emplace_back("a default");
  return names.empty() ? "nothing is registered"
                       : StrCat("registered are ", absl::StrJoin(names, ", "));
}

const AnySerialiser* ObjectRegistry::FindHook(std::string_view name) const {
  const auto hook = hooks_.find(name);
  return hook == hooks_.end() ? nullptr : &hook->second;
}

absl::StatusOr<const AnySerialiser*> ObjectRegistry::AskHooks(const ObjectView& object,
                                                              std::string* name) const {
  for (const HookFunction& function : hook_functions_) {
    *name = function(object);
    if (name->empty()) continue;
    const AnySerialiser* hook = FindHook(*name);
    if (hook != nullptr) return hook;
    return absl::InternalError(StrCat("a hook function answered ", *name, "; ", Registered()));
  }
  return nullptr;
}

const ObjectRegistry::Type* ObjectRegistry::FindType(std::type_index type) const {
  const auto found = types_.find(type);
  return found == types_.end() ? nullptr : &found->second;
}

void* ObjectRegistry::FoundBase::PartOf(void* object) const {
  for (const Upcast upcast : path) object = upcast(object);
  return object;
}

ObjectRegistry::FoundBase ObjectRegistry::FindBase(std::type_index type) const {
  std::deque<std::pair<std::type_index, std::vector<Upcast>>> queue = {{type, {}}};
  std::set<std::type_index> seen;
  while (!queue.empty()) {
    const auto [at, path] = queue.front();
    queue.pop_front();
    if (!seen.insert(at).second) continue;
    const auto serialiser = bases_.find(at);
    if (serialiser != bases_.end()) return {&serialiser->second, path};
    const auto derivation = derivations_.find(at);
    if (derivation == derivations_.end()) continue;
    for (const auto& [base, upcast] : derivation->second.bases) {
      std::vector<Upcast> further = path;
      further.push_back(upcast);
      queue.emplace_back(base, std::move(further));
    }
  }
  return {};
}

std::string ObjectRegistry::ClassNameOf(const std::type_info& type) const {
  if (const Type* known = FindType(type)) return known->class_name;
  const auto derivation = derivations_.find(type);
  return derivation == derivations_.end() ? TypeName(type) : derivation->second.class_name;
}

absl::StatusOr<std::optional<Value>> ObjectRegistry::EncodeEarly(const ObjectView& object,
                                                                 const Encoder& encoder) const {
  std::string name;
  TIFFIN_ASSIGN_OR_RETURN(const AnySerialiser* hook, AskHooks(object, &name));
  if (hook != nullptr) {
    return hook->encode(object, Pack(&encoder, name, ClassNameOf(object.type())));
  }
  const Type* type = FindType(object.type());
  if (type == nullptr) return std::nullopt;
  return type->serialiser.encode(object, Pack(&encoder, kObjectType, type->class_name));
}

absl::StatusOr<Value> ObjectRegistry::EncodeLate(const ObjectView& object,
                                                 const Encoder& encoder) const {
  const Pack pack(&encoder, kObjectType, ClassNameOf(object.type()));
  const FoundBase base = FindBase(object.type());
  if (base.serialiser != nullptr) {
    // Upcasts take what is not const; what they point to is not changed.
    return base.serialiser->encode(base.PartOf(const_cast<void*>(object.get())), pack);
  }
  if (default_.has_value()) return default_->encode(object, pack);
  return absl::InvalidArgumentError(
      StrCat("no serialiser for ", TypeName(object.type()), ": ", Registered()));
}

std::string Decoder::Registered() const {
  return quiet_ || registry_ == nullptr ? "" : StrCat(" (", registry_->Registered(), ")");
}

absl::Status Decoder::Expected(const PathLink& where, std::string_view what,
                               const Value& found) const {
  return ExpectedError(where, StrCat(what, Registered()), found);
}

absl::StatusOr<bool> ObjectRegistry::DecodeEarly(const Value& value, const PathLink& where,
                                                 const Decoder& decoder,
                                                 const ObjectSlot& slot) const {
  const Type* type = FindType(slot.type());
  const Object* record = AsRecord(value);
  if (record == nullptr) {
    if (type == nullptr) return false;
    return decoder.Expected(where, StrCat("a record of ", type->class_name), value);
  }
  const Unpack unpack(&decoder, &value, &where);
  if (const AnySerialiser* hook = FindHook(RecordType(*record))) {
    TIFFIN_RETURN_IF_ERROR(hook->decode(unpack, slot));
    return true;
  }
  if (type == nullptr) return false;
  if (RecordClass(*record) != type->class_name) {
    return decoder.Expected(where, StrCat("a record of ", type->class_name), value);
  }
  TIFFIN_RETURN_IF_ERROR(type->serialiser.decode(unpack, slot));
  return true;
}

absl::Status ObjectRegistry::DecodeLate(const Value& value, const PathLink& where,
                                        const Decoder& decoder, const ObjectSlot& slot) const {
  const std::string class_name = ClassNameOf(slot.type());
  const Object* record = AsRecord(value);
  if (record == nullptr || RecordClass(*record) != class_name) {
    return decoder.Expected(where, StrCat("a record of ", class_name), value);
  }
  const Unpack unpack(&decoder, &value, &where);
  const FoundBase base = FindBase(slot.type());
  if (base.serialiser != nullptr) {
    void* object = slot.Emplace();
    if (object == nullptr) {
      return absl::InvalidArgumentError(
          StrCat(class_name, " has no default constructor, which its base's serialiser needs"));
    }
    return base.serialiser->decode(unpack, base.PartOf(object));
  }
  if (default_.has_value()) return default_->decode(unpack, slot);
  return absl::InvalidArgumentError(
      StrCat("no serialiser for ", TypeName(slot.type()), ": ", Registered()));
}

ObjectRegistry OpaqueObjects() {
  AnySerialiser opaque;
  opaque.encode = [](const ObjectView& object, const Pack& pack) -> absl::StatusOr<Value> {
    const std::optional<std::string> bytes = object.bytes();
    if (bytes.has_value()) return pack(Base64Encode(*bytes));
    return absl::InvalidArgumentError(
        StrCat(TypeName(object.type()), " is more than its bytes: it needs a serialiser"));
  };
  opaque.decode = [](const Unpack& record, const ObjectSlot& slot) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const std::string text, record.As<std::string>());
    const std::optional<std::string> bytes = Base64Decode(text);
    if (bytes.has_value() && slot.SetBytes(*bytes)) return absl::OkStatus();
    return record.Error(StrCat("not the bytes of a ", TypeName(slot.type())));
  };
  ObjectRegistry registry;
  registry.SetDefault(std::move(opaque));
  return registry;
}

}  // namespace tiffin
