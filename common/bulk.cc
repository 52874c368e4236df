#include "common/bulk.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "common/base64.h"
#include "common/cbor.h"
#include "common/json.h"
#include "common/path.h"
#include "common/shape_check.h"
#include "common/status.h"
#include "common/strings.h"

namespace tiffin {
namespace {

// Refs in an order, to keep each once.
struct RefLess {
  bool operator()(const RecordRef& a, const RecordRef& b) const {
    if (a.index() != b.index()) return a.index() < b.index();
    if (const BlobName* name = std::get_if<BlobName>(&a)) return *name < std::get<BlobName>(b);
    const ValueRef& x = std::get<ValueRef>(a);
    const ValueRef& y = std::get<ValueRef>(b);
    return x.value != y.value ? x.value < y.value : x.size < y.size;
  }
};

class RefSet {
 public:
  // True if it was not there.
  bool Add(const RecordRef& ref) {
    if (!seen_.insert(ref).second) return false;
    refs_.push_back(ref);
    return true;
  }
  std::vector<RecordRef> Take() { return std::move(refs_); }

 private:
  std::set<RecordRef, RefLess> seen_;
  std::vector<RecordRef> refs_;  // as they came
};

// Calls `visit(item, path)` for the items of a list, the members of a plain object, or a record's
// data: what else a record has are names.
template <typename ValueType, typename Visit>
absl::Status ForEachChild(ValueType& value, const PathLink& where, const Visit& visit) {
  if (auto* list = value.if_list()) {
    for (size_t i = 0; i < list->size(); ++i) {
      TIFFIN_RETURN_IF_ERROR(visit((*list)[i], PathLink(where, i)));
    }
  } else if (auto* object = value.if_object()) {
    const bool is_record = IsRecord(*object);
    for (auto& [name, member] : *object) {
      if (is_record && name != "data") continue;
      TIFFIN_RETURN_IF_ERROR(visit(member, PathLink(where, name)));
    }
  }
  return absl::OkStatus();
}

// The record, if the value is one.
Object* AsRecord(Value& value) {
  Object* object = value.if_object();
  return object != nullptr && IsRecord(*object) ? object : nullptr;
}

// Whether `ref` stands where TakeBulk puts its own: directly before the data.
bool LooksOurs(const Object& record) {
  const auto ref = std::find_if(record.begin(), record.end(),
                                [](const Object::Member& m) { return m.first == "ref"; });
  return ref != record.end() && ref + 1 != record.end() && (ref + 1)->first == "data";
}

class Taker {
 public:
  explicit Taker(const BulkOptions& options) : options_(options) {}

  absl::Status Take(Value& value, const PathLink& where) {
    Object* record = AsRecord(value);
    if (record == nullptr) {
      return ForEachChild(value, where,
                          [this](Value& v, const PathLink& path) { return Take(v, path); });
    }
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<RecordRef> ref, RefOf(*record, where));
    TIFFIN_RETURN_IF_ERROR(Ask(*record, ref, where));
    if (ref.has_value()) {
      refs_.Add(*ref);
      DropFiles(record);
      return absl::OkStatus();
    }
    return TakeFromRecord(record, where);
  }

  TakenRecord Finish(Value record) { return {std::move(record), std::move(taken_), refs_.Take()}; }

 private:
  // Asks the record's serialiser whether it is well formed and what must leave.
  absl::Status Ask(const Object& record, const std::optional<RecordRef>& ref,
                   const PathLink& where) {
    if (options_.registry == nullptr) return absl::OkStatus();
    const absl::StatusOr<const RecordSerialiser*> found = options_.registry->Find(record);
    if (!found.ok()) return Annotate(found.status(), where.text());
    if (*found == nullptr) return absl::OkStatus();
    TIFFIN_RETURN_IF_ERROR(CheckFrame(record, where));
    TIFFIN_RETURN_IF_ERROR((*found)->Check(record, ref, where));
    if (ref.has_value()) return absl::OkStatus();
    const absl::StatusOr<std::vector<const Object*>> leaving = (*found)->LeavingAtAnySize(record);
    if (!leaving.ok()) return Annotate(leaving.status(), where.text());
    leaving_.insert(leaving->begin(), leaving->end());
    return absl::OkStatus();
  }

  absl::Status TakeFromRecord(Object* record, const PathLink& where) {
    Value* data = record->Find("data");
    if (data == nullptr) return absl::OkStatus();
    // A record that names files stays what it is: the files are part of what it means.
    const bool may_leave = !NamesFiles(*record);
    const bool marked = HasRef(*record);
    const bool sent_away = !leaving_.empty() && leaving_.contains(record);
    if (may_leave && (marked || sent_away || IsBig(*record))) {
      if (std::optional<Array> bulk = InlineBulk(*record)) {
        Replace(record, *std::move(bulk));
        return absl::OkStatus();
      }
      if (marked || IsOpaque(*record)) return TakeValue(record, where);
    }
    return Take(*data, PathLink(where, "data"));
  }

  // True for an <object> whose data may be base64 of at least inline_limit bytes.
  bool IsBig(const Object& record) const {
    if (RecordType(record) != kObjectType) return false;
    const std::string* text = record.Find("data")->if_string();
    if (text == nullptr) return false;
    const std::optional<size_t> size = Base64DecodedSize(*text);
    return size.has_value() && *size >= options_.inline_limit;
  }

  // True for an <object> whose data is canonical base64.
  static bool IsOpaque(const Object& record) {
    const std::string* text = record.Find("data")->if_string();
    return RecordType(record) == kObjectType && text != nullptr && Base64Decode(*text).has_value();
  }

  absl::Status TakeValue(Object* record, const PathLink& where) {
    const PathLink data_path(where, "data");
    TIFFIN_RETURN_IF_ERROR(Take(*record->Find("data"), data_path));
    absl::StatusOr<Digest> digest = BodyDigest(*record);
    if (!digest.ok()) return Annotate(digest.status(), where.text());
    std::string text = PrintJson(*record->Find("data"));
    const ValueRef ref = {*digest, text.size()};
    MakeRef(record, ref);
    if (seen_.Add(ref)) {
      const Shape shape = {text.size()};
      BlobName name = BytesBlobName(text);
      taken_.push_back(
          {Array{std::string(kBytesDType), shape, std::move(text)}, std::move(name), ref});
    }
    return absl::OkStatus();
  }

  void Replace(Object* record, Array array) {
    BlobName name = array.Name();
    MakeRef(record, name);
    if (seen_.Add(name)) taken_.push_back({std::move(array), std::move(name), std::nullopt});
  }

  static void MakeRef(Object* record, const RecordRef& ref) {
    DropFiles(record);
    *record->Find("data") = RefData(ref);
    const bool marked = HasRef(*record);
    if (marked && !LooksOurs(*record)) {
      *record->Find("ref") = true;
      return;
    }
    record->Erase("ref");
    if (marked) {
      record->Set("ref", true);  // the sender's, out of the place of ours
    } else {
      record->InsertBefore("data", "ref", true);
    }
  }

  static void DropFiles(Object* record) {
    record->Erase("host");
    record->Erase("files");
  }

  const BulkOptions options_;
  std::vector<TakenBulk> taken_;
  RefSet seen_;  // of what is in taken_
  // Records that leave whatever their size. They stay where they are until they are walked through.
  absl::flat_hash_set<const Object*> leaving_;
  RefSet refs_;
};

absl::Status CollectRefs(const Value& value, const PathLink& where, RefSet* refs) {
  const Object* record = AsRecord(value);
  if (record != nullptr) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<RecordRef> ref, RefOf(*record, where));
    if (ref.has_value()) {
      refs->Add(*ref);
      return absl::OkStatus();
    }
  }
  return ForEachChild(value, where, [refs](const Value& v, const PathLink& path) {
    return CollectRefs(v, path, refs);
  });
}

// Counts the text as it will be printed: what refs gain for what they lose.
class Putter {
 public:
  Putter(const Value& record, const BulkFetcher& fetch, size_t max_bytes)
      : fetch_(fetch), max_bytes_(max_bytes), text_bytes_(PrintJson(record).size()) {}

  // `nesting` counts lists and objects around the value, through refs too: what was sent whole was
  // nested no deeper, and refs made by hand must not lead the recursion on.
  absl::Status Put(Value& value, const PathLink& where, size_t nesting) {
    if (value.if_list() == nullptr && value.if_object() == nullptr) return absl::OkStatus();
    if (nesting >= kMaxJsonNesting) {
      return Error(absl::StatusCode::kResourceExhausted, where,
                   StrCat("nested deeper than ", kMaxJsonNesting));
    }
    if (Object* record = AsRecord(value)) {
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<RecordRef> ref, RefOf(*record, where));
      if (ref.has_value()) return PutRef(record, *ref, where, nesting);
    }
    return ForEachChild(value, where, [this, nesting](Value& v, const PathLink& path) {
      return Put(v, path, nesting + 1);
    });
  }

 private:
  absl::Status PutRef(Object* record, const RecordRef& ref, const PathLink& where, size_t nesting) {
    const uint64_t size = RefSize(ref);
    const bool is_value = std::holds_alternative<ValueRef>(ref);
    Value* data = record->Find("data");
    text_bytes_ -= PrintJson(*data).size();
    // Before anything is brought: base64 takes four bytes for three, and a `ref` may go. The size
    // of a value is its sender's word.
    const uint64_t at_least = is_value ? 0 : size / 3 * 4;
    TIFFIN_RETURN_IF_ERROR(CheckSize(at_least - std::min(at_least, kRefBytes), where));
    absl::StatusOr<std::string> bytes = fetch_(ref);
    if (!bytes.ok()) return Annotate(bytes.status(), where.text());
    const uint64_t came = bytes->size();
    if (is_value) {
      // Another text of it may have been first: any with that E is the value.
      TIFFIN_RETURN_IF_ERROR(CheckSize(came - std::min(came, kRefBytes), where));
    } else if (came != size) {
      return Error(absl::StatusCode::kDataLoss, where,
                   StrCat(RefText(ref), " came as ", came, " bytes"));
    }
    absl::StatusOr<Value> inlined = DataOfRef(*record, ref, *std::move(bytes));
    if (!inlined.ok()) return Annotate(inlined.status(), where.text());
    *data = *std::move(inlined);
    text_bytes_ += is_value ? came : data->if_string()->size() + 2;  // base64 and its quotes
    if (is_value) TIFFIN_RETURN_IF_ERROR(Put(*data, PathLink(where, "data"), nesting + 1));
    if (RefIsOurs(*record)) {
      record->Erase("ref");
      text_bytes_ -= kRefBytes;
    }
    return CheckSize(0, where);
  }

  // True if TakeBulk added the `ref`: only where bulk leaves unmarked, which is text in an
  // <object>.
  static bool RefIsOurs(const Object& record) {
    return RecordType(record) == kObjectType && record.Find("data")->if_string() != nullptr &&
           LooksOurs(record);
  }

  // RESOURCE_EXHAUSTED if there is no room for `more` bytes.
  absl::Status CheckSize(uint64_t more, const PathLink& where) const {
    if (text_bytes_ + more <= max_bytes_) return absl::OkStatus();
    return Error(absl::StatusCode::kResourceExhausted, where,
                 StrCat("with its bulk inline the text has more than ", max_bytes_, " bytes"));
  }

  static absl::Status Error(absl::StatusCode code, const PathLink& where, std::string_view what) {
    return Annotate(absl::Status(code, ToAbsl(what)), where.text());
  }

  static constexpr uint64_t kRefBytes = std::string_view("\"ref\":true,").size();

  const BulkFetcher& fetch_;
  const uint64_t max_bytes_;
  uint64_t text_bytes_;
};

}  // namespace

absl::StatusOr<TakenRecord> TakeBulk(Value record, const BulkOptions& options) {
  Taker taker(options);
  TIFFIN_RETURN_IF_ERROR(taker.Take(record, {}));
  return taker.Finish(std::move(record));
}

absl::StatusOr<std::vector<RecordRef>> RefsIn(const Value& value) {
  RefSet refs;
  TIFFIN_RETURN_IF_ERROR(CollectRefs(value, {}, &refs));
  return refs.Take();
}

absl::StatusOr<Value> PutBulkBack(Value record, const BulkFetcher& fetch, size_t max_bytes) {
  Putter putter(record, fetch, max_bytes);
  TIFFIN_RETURN_IF_ERROR(putter.Put(record, {}, 0));
  return record;
}

}  // namespace tiffin
