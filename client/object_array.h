// Arrays in memory as numpy.ndarray records. Users include client/objects.h.
#ifndef TIFFIN_CLIENT_OBJECT_ARRAY_H_
#define TIFFIN_CLIENT_OBJECT_ARRAY_H_

#include <algorithm>
#include <bit>
#include <complex>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "client/object_codec.h"
#include "client/object_ref.h"
#include "common/npy.h"
#include "common/strings.h"

namespace tiffin {

template <typename T>
struct IsComplex : std::false_type {};
template <std::floating_point F>
struct IsComplex<std::complex<F>> : std::true_type {};

// What an array may hold: arithmetic and complex types.
template <typename T>
concept ArrayElement = std::is_arithmetic_v<T> || IsComplex<T>::value;

// numpy's name of an element type in this machine's byte order: `float64`.
template <ArrayElement T>
std::string DTypeOf() {
  constexpr size_t kBits = sizeof(T) * 8;
  if constexpr (std::is_same_v<T, bool>) return "bool";
  if constexpr (IsComplex<T>::value) return StrCat("complex", kBits);
  if constexpr (std::is_floating_point_v<T>) return StrCat("float", kBits);
  return StrCat(std::is_signed_v<T> ? "int" : "uint", kBits);
}

// Number of elements of a shape: 1 for a 0-d array.
inline size_t ElementsOf(const Shape& shape) {
  size_t n = 1;
  for (const uint64_t extent : shape) n *= extent;
  return n;
}

// Elements in C order in someone else's memory, with a shape.
template <ArrayElement T>
struct NdView {
  std::span<const T> elements;
  Shape shape;
};

// Elements in C order in memory of its own, with a shape.
template <ArrayElement T>
class NdArray {
 public:
  NdArray() : NdArray(Shape{0}) {}
  // Elements are zero.
  explicit NdArray(Shape shape)
      : shape_(std::move(shape)),
        size_(ElementsOf(shape_)),
        elements_(std::make_unique<T[]>(size_)) {}
  NdArray(Shape shape, std::span<const T> elements) : NdArray(std::move(shape)) {
    std::copy_n(elements.begin(), std::min(size_, elements.size()), elements_.get());
  }
  NdArray(const NdArray& other) : NdArray(other.shape_, other.elements()) {}
  // What is moved from has no elements.
  NdArray(NdArray&& other) noexcept
      : shape_(std::exchange(other.shape_, Shape{0})),
        size_(std::exchange(other.size_, 0)),
        elements_(std::move(other.elements_)) {}
  NdArray& operator=(NdArray other) noexcept {
    std::swap(shape_, other.shape_);
    std::swap(size_, other.size_);
    std::swap(elements_, other.elements_);
    return *this;
  }

  const Shape& shape() const { return shape_; }
  size_t size() const { return size_; }
  std::span<const T> elements() const { return {elements_.get(), size_}; }
  std::span<T> elements() { return {elements_.get(), size_}; }
  NdView<T> view() const { return {elements(), shape_}; }
  friend bool operator==(const NdArray& a, const NdArray& b) {
    return a.shape_ == b.shape_ && std::ranges::equal(a.elements(), b.elements());
  }

 private:
  Shape shape_;
  size_t size_ = 0;
  std::unique_ptr<T[]> elements_;
};

// The array that a record stands for, inline or as a ref; its bytes if they are inline.
struct ArrayOutline {
  BlobName name;  // the key only of a ref
  std::optional<std::string> bytes;
};
// INVALID_ARGUMENT if the value is no array record; FAILED_PRECONDITION if it is for a file on a
// host.
absl::StatusOr<ArrayOutline> OutlineOf(const Value& value, const PathLink& where,
                                       const Decoder& decoder);

// INVALID_ARGUMENT if its dtype is none.
absl::StatusOr<size_t> BytesOf(const ArrayOutline& array);

// Brings the elements of an array record into memory of its size. INVALID_ARGUMENT if dtype or
// number of bytes differ; FAILED_PRECONDITION if it is a ref and there are no blobs.
absl::Status ReadArray(const ArrayOutline& array, std::string_view dtype, const PathLink& where,
                       const Decoder& decoder, char* memory, size_t size);

template <ArrayElement T>
struct Codec<NdView<T>> {
  static absl::StatusOr<Value> Encode(const NdView<T>& view, const Encoder& encoder) {
    if (ElementsOf(view.shape) != view.elements.size()) {
      return absl::InvalidArgumentError(StrCat("an array view of ", view.elements.size(),
                                               " elements, whose shape tells ",
                                               ElementsOf(view.shape)));
    }
    return encoder.EncodeArray(
        "numpy.ndarray", DTypeOf<T>(), view.shape,
        {reinterpret_cast<const char*>(view.elements.data()), view.elements.size_bytes()});
  }
};

template <ArrayElement T>
struct Codec<std::span<const T>> {
  static absl::StatusOr<Value> Encode(std::span<const T> elements, const Encoder& encoder) {
    return Codec<NdView<T>>::Encode({elements, {elements.size()}}, encoder);
  }
};
template <ArrayElement T>
requires(!std::is_const_v<T>) struct Codec<std::span<T>> : Codec<std::span<const T>> {
};

template <ArrayElement T>
struct Codec<NdArray<T>> {
  static absl::StatusOr<Value> Encode(const NdArray<T>& array, const Encoder& encoder) {
    return Codec<NdView<T>>::Encode(array.view(), encoder);
  }
  static absl::StatusOr<NdArray<T>> Decode(const Value& value, const PathLink& where,
                                           const Decoder& decoder) {
    TIFFIN_ASSIGN_OR_RETURN(const ArrayOutline outline, OutlineOf(value, where, decoder));
    // Before memory is taken for it.
    TIFFIN_RETURN_IF_ERROR(ReadArray(outline, DTypeOf<T>(), where, decoder, nullptr, 0));
    NdArray<T> array(outline.name.shape);
    TIFFIN_RETURN_IF_ERROR(ReadArray(outline, DTypeOf<T>(), where, decoder,
                                     reinterpret_cast<char*>(array.elements().data()),
                                     array.elements().size_bytes()));
    return array;
  }
};

template <typename T>
template <typename Element>
absl::Status Ref<T>::DerefInto(std::span<Element> memory) const {
  static_assert(ArrayElement<Element> || std::is_same_v<Element, std::byte>);
  if (decoder_.registry() == nullptr) return absl::FailedPreconditionError("an empty Ref");
  TIFFIN_ASSIGN_OR_RETURN(const ArrayOutline outline, OutlineOf(record_, {}, decoder_));
  constexpr bool kBytes = std::is_same_v<Element, std::byte>;
  std::string dtype = outline.name.dtype;
  size_t elements = 0;
  if constexpr (kBytes) {
    TIFFIN_ASSIGN_OR_RETURN(elements, BytesOf(outline));
  } else {
    dtype = DTypeOf<Element>();
    elements = ElementsOf(outline.name.shape);
  }
  if (elements != memory.size()) {
    return absl::InvalidArgumentError(StrCat("memory for ", memory.size(),
                                             kBytes ? " bytes" : " elements", ", the array has ",
                                             elements));
  }
  return ReadArray(outline, dtype, {}, decoder_, reinterpret_cast<char*>(memory.data()),
                   memory.size_bytes());
}

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_OBJECT_ARRAY_H_
