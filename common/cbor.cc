#include "common/cbor.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "common/npy.h"
#include "common/record.h"
#include "common/status.h"
#include "common/strings.h"
#include "common/utf8.h"

namespace tiffin {
namespace {

// Major types of RFC 8949, 3.1, in place in the initial byte.
enum Major : uint8_t {
  kUnsigned = 0x00,
  kNegative = 0x20,
  kBytes = 0x40,
  kText = 0x60,
  kArray = 0x80,
  kMap = 0xA0,
  kTag = 0xC0,
};
constexpr uint64_t kTagBignum = 2, kTagNegativeBignum = 3;
constexpr uint64_t kTagObject = 27;  // a type name and its construction arguments
constexpr uint64_t kTagSet = 258;
constexpr uint64_t kTagWtf8 = 273;

void AppendBigEndian(uint64_t value, int bytes, std::string* out) {
  for (int i = bytes; i-- > 0;) out->push_back(static_cast<char>(value >> (8 * i)));
}

void AppendHead(Major major, uint64_t n, std::string* out) {
  const int bytes = n < 24 ? 0 : n <= 0xFF ? 1 : n <= 0xFFFF ? 2 : n <= 0xFFFFFFFF ? 4 : 8;
  const uint8_t info = bytes == 0   ? static_cast<uint8_t>(n)
                       : bytes == 1 ? 24
                       : bytes == 2 ? 25
                       : bytes == 4 ? 26
                                    : 27;
  out->push_back(static_cast<char>(major | info));
  AppendBigEndian(n, bytes, out);
}

void AppendBytes(std::string_view bytes, std::string* out) {
  AppendHead(kBytes, bytes.size(), out);
  *out += bytes;
}

void AppendText(std::string_view wtf8, std::string* out) {
  if (HasSurrogate(wtf8)) {
    AppendHead(kTag, kTagWtf8, out);
    AppendBytes(wtf8, out);
    return;
  }
  AppendHead(kText, wtf8.size(), out);
  *out += wtf8;
}

void AppendInteger(int64_t i, std::string* out) {
  if (i >= 0) {
    AppendHead(kUnsigned, static_cast<uint64_t>(i), out);
  } else {
    AppendHead(kNegative, ~static_cast<uint64_t>(i), out);  // -1 - i
  }
}

void AppendBigInteger(const BigInteger& integer, std::string* out) {
  const BigMagnitude magnitude = DecimalToMagnitude(integer.digits);
  const bool negative = magnitude.negative;
  const std::string bytes = negative ? MagnitudeMinusOne(magnitude.bytes) : magnitude.bytes;
  if (bytes.size() > 8) {
    AppendHead(kTag, negative ? kTagNegativeBignum : kTagBignum, out);
    AppendBytes(bytes, out);
    return;
  }
  uint64_t n = 0;
  for (const char c : bytes) n = n << 8 | static_cast<uint8_t>(c);
  AppendHead(negative ? kNegative : kUnsigned, n, out);
}

// The half-precision form of a finite float, if that keeps the value.
std::optional<uint16_t> ExactHalf(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const int exponent = static_cast<int>(bits >> 23 & 0xFF) - 127;
  const uint32_t fraction = bits & 0x7FFFFF;
  if (f == 0) return sign;
  if (exponent >= -14 && exponent <= 15) {
    if ((fraction & 0x1FFF) != 0) return std::nullopt;
    return static_cast<uint16_t>(sign | (exponent + 15) << 10 | fraction >> 13);
  }
  if (exponent >= -24 && exponent < -14) {  // subnormal: no implied leading one
    const uint32_t significand = fraction | 0x800000;
    const int shift = -exponent - 1;  // 2^-24 is the last place
    if ((significand & ((1u << shift) - 1)) != 0) return std::nullopt;
    return static_cast<uint16_t>(sign | significand >> shift);
  }
  return std::nullopt;
}

void AppendDouble(double d, std::string* out) {
  if (std::isnan(d)) {
    *out += "\xF9\x7E";
    out->push_back('\0');
    return;
  }
  if (std::isinf(d)) {
    *out += d < 0 ? "\xF9\xFC" : "\xF9\x7C";
    out->push_back('\0');
    return;
  }
  const bool in_float_range = std::abs(d) <= std::numeric_limits<float>::max();
  const float f = in_float_range ? static_cast<float>(d) : 0.0f;
  if (!in_float_range || static_cast<double>(f) != d) {
    out->push_back('\xFB');
    AppendBigEndian(std::bit_cast<uint64_t>(d), 8, out);
  } else if (const std::optional<uint16_t> half = ExactHalf(f)) {
    out->push_back('\xF9');
    AppendBigEndian(*half, 2, out);
  } else {
    out->push_back('\xFA');
    AppendBigEndian(std::bit_cast<uint32_t>(f), 4, out);
  }
}

// Map keys in the order of their encodings: plain text before tagged text, then shorter ones first.
bool KeyPrecedes(const Object::Member* a, const Object::Member* b) {
  const std::string& x = a->first;
  const std::string& y = b->first;
  if (const bool tagged = HasSurrogate(x); tagged != HasSurrogate(y)) return !tagged;
  return x.size() != y.size() ? x.size() < y.size() : x < y;
}

const Value* DataOf(const Object& record) {
  static const Value kNull;
  const Value* data = record.Find("data");
  return data == nullptr ? &kNull : data;
}

// Appends encodings to `out`. The functions fail only over malformed refs.
class Encoder {
 public:
  explicit Encoder(std::string* out) : out_(out) {}

  absl::Status Append(const Value& value, const PathLink& where) {
    if (const Object* object = value.if_object()) {
      return IsRecord(*object) ? AppendRecord(*object, where) : AppendMap(*object, where);
    }
    if (const List* list = value.if_list()) return AppendList(*list, where);
    if (const std::string* s = value.if_string()) {
      AppendText(*s, out_);
    } else if (const int64_t* i = value.if_int64()) {
      AppendInteger(*i, out_);
    } else if (const BigInteger* big = value.if_big_integer()) {
      AppendBigInteger(*big, out_);
    } else if (const double* d = value.if_double()) {
      AppendDouble(*d, out_);
    } else if (const bool* b = value.if_bool()) {
      out_->push_back(*b ? '\xF5' : '\xF4');
    } else {
      out_->push_back('\xF6');
    }
    return absl::OkStatus();
  }

  absl::Status AppendBody(const Object& record, const std::optional<RecordRef>& ref,
                          const PathLink& where) {
    const std::string_view class_name = RecordClass(record);
    const PathLink data_path(where, "data");
    if (RecordType(record) != kObjectType) return Append(*DataOf(record), data_path);
    if (ref) return AppendArrayBody(class_name, std::get<BlobName>(*ref));
    if (const std::optional<std::string> bytes = InlineBytes(record)) {
      return AppendArrayBody(class_name, BytesBlobName(*bytes));
    }
    if (const std::optional<Array> array = InlineArray(record)) {
      return AppendArrayBody(class_name, array->Name());
    }
    const Value& data = *DataOf(record);
    if (class_name == "builtins.set" || class_name == "builtins.frozenset") {
      return AppendSet(data, data_path, &Encoder::Append);
    }
    if (class_name == kWorkflowClass && data.if_object() != nullptr) {
      return AppendMapWithSet(*data.if_object(), "links", data_path, &Encoder::AppendLink);
    }
    return Append(data, data_path);
  }

 private:
  using AppendFunction = absl::Status (Encoder::*)(const Value&, const PathLink&);

  absl::Status AppendList(const List& list, const PathLink& where) {
    AppendHead(kArray, list.size(), out_);
    for (size_t i = 0; i < list.size(); ++i) {
      TIFFIN_RETURN_IF_ERROR(Append(list[i], PathLink(where, i)));
    }
    return absl::OkStatus();
  }

  absl::Status AppendMap(const Object& object, const PathLink& where) {
    return AppendMapWithSet(object, {}, where, nullptr);
  }

  // A map; of its member `set_member`, if any, the items go as a set, each by `append_item`.
  absl::Status AppendMapWithSet(const Object& object, std::optional<std::string_view> set_member,
                                const PathLink& where, AppendFunction append_item) {
    std::vector<const Object::Member*> members;
    members.reserve(object.size());
    for (const Object::Member& m : object) members.push_back(&m);
    std::sort(members.begin(), members.end(), KeyPrecedes);
    AppendHead(kMap, members.size(), out_);
    for (const Object::Member* m : members) {
      AppendText(m->first, out_);
      const PathLink member_path(where, m->first);
      TIFFIN_RETURN_IF_ERROR(m->first == set_member ? AppendSet(m->second, member_path, append_item)
                                                    : Append(m->second, member_path));
    }
    return absl::OkStatus();
  }

  // The items sorted by their encodings; what is no list (a pickled set) goes as it is.
  absl::Status AppendSet(const Value& value, const PathLink& where, AppendFunction append_item) {
    const List* list = value.if_list();
    if (list == nullptr) return Append(value, where);
    std::vector<std::string> items(list->size());
    for (size_t i = 0; i < list->size(); ++i) {
      Encoder item_encoder(&items[i]);
      TIFFIN_RETURN_IF_ERROR((item_encoder.*append_item)((*list)[i], PathLink(where, i)));
    }
    std::sort(items.begin(), items.end());
    AppendHead(kTag, kTagSet, out_);
    AppendHead(kArray, items.size(), out_);
    for (const std::string& item : items) *out_ += item;
    return absl::OkStatus();
  }

  // One of a workflow's links, {"node": …, "to": [...]}.
  absl::Status AppendLink(const Value& value, const PathLink& where) {
    const Object* link = value.if_object();
    if (link == nullptr || IsRecord(*link)) return Append(value, where);
    return AppendMapWithSet(*link, "to", where, &Encoder::Append);
  }

  absl::Status AppendArrayBody(std::string_view class_name, const BlobName& name) {
    if (class_name == kBytesClass) {
      AppendHead(kArray, 3, out_);
      AppendText("tiffin.bytes", out_);
      AppendHead(kUnsigned, name.shape[0], out_);
    } else {
      AppendHead(kArray, 4, out_);
      AppendText("tiffin.array", out_);
      AppendText(name.dtype, out_);
      AppendHead(kArray, name.shape.size(), out_);
      for (const uint64_t n : name.shape) AppendHead(kUnsigned, n, out_);
    }
    AppendBytes(name.key.view(), out_);
    return absl::OkStatus();
  }

  absl::Status AppendRecord(const Object& record, const PathLink& where);
  absl::Status AppendOptional(const Value* member, const PathLink& where) {
    if (member != nullptr) return Append(*member, where);
    out_->push_back('\xF6');
    return absl::OkStatus();
  }

  std::string* out_;
};

absl::StatusOr<Digest> BodyDigestAt(const Object& record, const std::optional<RecordRef>& ref,
                                    const PathLink& where) {
  if (ref.has_value()) {
    if (const ValueRef* value = std::get_if<ValueRef>(&*ref)) return value->value;
  }
  std::string body;
  TIFFIN_RETURN_IF_ERROR(Encoder(&body).AppendBody(record, ref, where));
  return Sha256::Of(body);
}

absl::Status Encoder::AppendRecord(const Object& record, const PathLink& where) {
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<RecordRef> ref, RefOf(record, where));
  TIFFIN_ASSIGN_OR_RETURN(const Digest digest, BodyDigestAt(record, ref, where));
  const bool names_files = NamesFiles(record) && !ref.has_value();
  AppendHead(kTag, kTagObject, out_);
  AppendHead(kArray, names_files ? 5 : 3, out_);
  AppendText(RecordType(record), out_);
  TIFFIN_RETURN_IF_ERROR(AppendOptional(record.Find("class"), PathLink(where, "class")));
  AppendBytes(digest.view(), out_);
  if (!names_files) return absl::OkStatus();
  TIFFIN_RETURN_IF_ERROR(AppendOptional(record.Find("host"), PathLink(where, "host")));
  return AppendOptional(record.Find("files"), PathLink(where, "files"));
}

}  // namespace

absl::Status AppendEncoded(const Value& value, const PathLink& where, std::string* out) {
  return Encoder(out).Append(value, where);
}

void AppendArrayHead(uint64_t items, std::string* out) { AppendHead(kArray, items, out); }

absl::StatusOr<std::string> EncodeCbor(const Value& value) {
  std::string out;
  TIFFIN_RETURN_IF_ERROR(AppendEncoded(value, {}, &out));
  return out;
}

absl::StatusOr<Digest> BodyDigest(const Object& record) {
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<RecordRef> ref, RefOf(record));
  return BodyDigestAt(record, ref, {});
}

absl::StatusOr<Digest> ResultDigest(const Value& result) {
  std::string out;
  AppendArrayHead(2, &out);
  AppendText("tiffin.result/1", &out);
  TIFFIN_RETURN_IF_ERROR(AppendEncoded(result, {}, &out));
  return Sha256::Of(out);
}

}  // namespace tiffin
