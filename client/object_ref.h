// Ref<T>: what stands for an object that is elsewhere. Users include client/objects.h.
#ifndef TIFFIN_CLIENT_OBJECT_REF_H_
#define TIFFIN_CLIENT_OBJECT_REF_H_

#include <ostream>
#include <span>
#include <string>
#include <utility>

#include "client/object_codec.h"

namespace tiffin {

// A placeholder: holds the record of a T and brings the object on demand. Encoded again, it is the
// record that it was. Cheap to copy as far as its record is small, which refs are.
template <typename T>
class Ref {
 public:
  Ref() = default;
  // The decoder's blobs are where the data comes from.
  Ref(Value record, Decoder decoder) : record_(std::move(record)), decoder_(std::move(decoder)) {}

  const Value& record() const { return record_; }
  // False if the record holds the object's data itself.
  bool elsewhere() const {
    const Object* record = AsRecord(record_);
    return record != nullptr && HasRef(*record);
  }

  // Brings the object. Errors as Decoder::Decode with `deref`, and those of the blobs.
  // FAILED_PRECONDITION if this Ref was made of nothing.
  absl::StatusOr<T> Deref() const {
    if (decoder_.registry() == nullptr) return absl::FailedPreconditionError("an empty Ref");
    DecodeOptions options = decoder_.options();
    options.deref = true;
    return Decoder(decoder_.registry(), std::move(options)).template Decode<T>(record_);
  }

  // Of an array: streams its elements in C order into the caller's memory, without a copy in
  // between. As std::byte: the bytes of a bytes object, or of an array of any dtype.
  // INVALID_ARGUMENT if their number or dtype differ from what the record says; else as Deref.
  template <typename Element>
  absl::Status DerefInto(std::span<Element> memory) const;

  // `Ref(numpy.ndarray, 4Z8k…= int64 [10])`.
  std::string ToText() const;
  friend std::ostream& operator<<(std::ostream& out, const Ref& ref) { return out << ref.ToText(); }

 private:
  Value record_;
  Decoder decoder_{nullptr, {}};
};

// The text of a placeholder for that record.
std::string RefRecordText(const Value& record);

template <typename T>
std::string Ref<T>::ToText() const {
  return RefRecordText(record_);
}

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_OBJECT_REF_H_
