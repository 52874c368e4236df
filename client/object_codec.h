// The frame in which C++ objects become records and come back: Encoder and Decoder, Pack and
// Unpack. Users include client/objects.h.
#ifndef TIFFIN_CLIENT_OBJECT_CODEC_H_
#define TIFFIN_CLIENT_OBJECT_CODEC_H_

#include <concepts>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <typeinfo>
#include <vector>

#include "absl/status/statusor.h"
#include "client/object_blobs.h"
#include "common/npy.h"
#include "common/path.h"
#include "common/record.h"
#include "common/status.h"
#include "common/value.h"

namespace tiffin {

class ObjectRegistry;

struct EncodeOptions {
  // of records that name files and no host; empty: TIFFIN_HOST, else the machine's name
  std::string host;
  int indent = -1;                     // of to_json: spaces per level; -1: one line
  std::shared_ptr<ObjectBlobs> blobs;  // where bulk goes from inline_limit on
  size_t inline_limit = 4096;          // bytes
  // Of records given as Value: the files they name on this host are uploaded, arrays in `.npy` and
  // HDF5 files as arrays. Needs `blobs`.
  bool upload_files = false;
  // Reads a dataset of a HDF5 file: ReadHdf5Array of client/hdf5_array.h. Without it such records
  // keep their files.
  std::function<absl::StatusOr<Array>(const std::string& file, const std::string& dataset)>
      read_hdf5;
};

struct DecodeOptions {
  bool deref = false;  // bring what refs stand for; else they become Ref<T>
  std::shared_ptr<ObjectBlobs> blobs;
};

// A codec of the table in DESIGN.md 6. Specialisations have
//   static absl::StatusOr<Value> Encode(const T&, const Encoder&);
//   static absl::StatusOr<T> Decode(const Value&, const PathLink& where, const Decoder&);
template <typename T>
struct Codec;

// What pack(value, {…}) may say.
struct PackOptions {
  // Marks the record: `data` leaves the record on the server, whatever its size, and comes back as
  // a Ref<T> unless asked for.
  bool ref = false;
  // Files that belong to the object, told with the host they are on.
  std::vector<std::filesystem::path> files;
  // Uploads the content of the files, so that every host can read it (Unpack::File), instead of
  // naming the host. Needs EncodeOptions::blobs.
  bool upload = false;
};

// Turns objects into values. Threads: as its registry; it is used during one call.
class Encoder {
 public:
  Encoder(const ObjectRegistry* registry, EncodeOptions options);

  // Looks up how (ObjectRegistry) and encodes. INVALID_ARGUMENT if nothing knows the type, telling
  // what is registered.
  template <typename T>
  absl::StatusOr<Value> Encode(const T& object) const;

  // An array or bytes: a ref to what is uploaded from inline_limit on, else inline.
  // FAILED_PRECONDITION for a larger array without blobs: an array is never sent as base64.
  absl::StatusOr<Value> EncodeArray(std::string_view class_name, std::string_view dtype,
                                    const Shape& shape, std::string_view c_order_bytes) const;

  // Records that somebody else made, at any depth of the value: those that name files get this host
  // unless they name one; arrays and bytes are uploaded as those of EncodeArray, if there are
  // blobs; files as upload_files says.
  absl::StatusOr<Value> EncodeRecords(Value value) const;

  // The data of a record with the content of files in it, as refs. NOT_FOUND if one is no readable
  // file; FAILED_PRECONDITION without blobs.
  absl::StatusOr<Value> WithFiles(Value data,
                                  const std::vector<std::filesystem::path>& files) const;

  const ObjectRegistry& registry() const { return *registry_; }
  const EncodeOptions& options() const { return options_; }

 private:
  const ObjectRegistry* registry_;
  EncodeOptions options_;
};

// NOT_FOUND if it is no readable file; UNAVAILABLE if reading fails.
absl::StatusOr<std::string> ReadWholeFile(const std::filesystem::path& file);

// {"_noodles", "type", "class", "data"}
Value MakeRecord(std::string_view type, std::string_view class_name, Value data);

// Makes the record of one object: what a serialiser is given. `pack(value)` encodes the value, of
// any type that can be encoded, as the record's data.
class Pack {
 public:
  Pack(const Encoder* encoder, std::string_view type, std::string_view class_name)
      : encoder_(encoder), type_(type), class_name_(class_name) {}

  template <typename T>
  absl::StatusOr<Value> operator()(const T& value, const PackOptions& options = {}) const {
    absl::StatusOr<Value> data = encoder_->Encode(value);
    if (!data.ok()) return data;
    return Finish(*std::move(data), options);
  }

  const Encoder& encoder() const { return *encoder_; }

 private:
  absl::StatusOr<Value> Finish(Value data, const PackOptions& options) const;

  const Encoder* encoder_;
  const std::string type_, class_name_;
};

// Turns values into objects. Errors name the path, what was found and what was expected.
class Decoder {
 public:
  Decoder(std::shared_ptr<const ObjectRegistry> registry, DecodeOptions options)
      : registry_(std::move(registry)), options_(std::move(options)) {}

  template <typename T>
  absl::StatusOr<T> Decode(const Value& value, const PathLink& where = {}) const;

  const std::shared_ptr<const ObjectRegistry>& registry() const { return registry_; }
  const DecodeOptions& options() const { return options_; }

  // INVALID_ARGUMENT: "path: expected WHAT (registered are …), found a record …".
  absl::Status Expected(const PathLink& where, std::string_view what, const Value& found) const;
  // " (registered are stars.Star, …)", for messages.
  std::string Registered() const;
  // The same decoder for attempts, whose errors do not say what is registered. `exact`:
  // floating-point types take neither integers nor doubles that they would round, at any depth.
  Decoder Attempting(bool exact) const {
    Decoder copy(*this);
    copy.quiet_ = true;
    copy.exact_ = exact;
    return copy;
  }
  bool exact() const { return exact_; }

  // Of a ref of the second form: the record as it was before its data left. nullopt: the value can
  // be decoded as it is (arrays are left to their codecs). FAILED_PRECONDITION if it is a ref, and
  // `deref` or the blobs are not given; DATA_LOSS if what comes does not match the ref.
  absl::StatusOr<std::optional<Value>> Resolve(const Value& value, const PathLink& where) const;

 private:
  std::shared_ptr<const ObjectRegistry> registry_;
  bool quiet_ = false, exact_ = false;
  DecodeOptions options_;
};

// A record that is being decoded: what `construct` and serialisers are given.
class Unpack {
 public:
  // All outlive it. The record is no ref.
  Unpack(const Decoder* decoder, const Value* record, const PathLink* where);

  const Object& record() const { return *record_; }
  // What was packed, as it stands in the record. null if the record has no data.
  const Value& data() const { return *data_; }
  // What was packed, as a T.
  template <typename T>
  absl::StatusOr<T> As() const {
    return decoder_->Decode<T>(*data_, data_path_);
  }
  // A member of a packed object. INVALID_ARGUMENT if there is none of that name.
  template <typename T>
  absl::StatusOr<T> Member(std::string_view name) const {
    absl::StatusOr<const Value*> member = FindMember(name);
    if (!member.ok()) return member.status();
    return decoder_->Decode<T>(**member, PathLink(data_path_, name));
  }
  // The content of one of the object's files: of an uploaded one, or of one on this host.
  // NOT_FOUND if the object has no such file; FAILED_PRECONDITION naming host and file if it is on
  // another host.
  absl::StatusOr<std::string> File(std::string_view name) const;

  // INVALID_ARGUMENT with the path of the data in front.
  absl::Status Error(std::string_view what) const;

 private:
  absl::StatusOr<const Value*> FindMember(std::string_view name) const;

  const Decoder* decoder_;
  const Object* record_;
  const Value* data_;
  const Object* uploaded_ = nullptr;  // files by name
  PathLink data_path_;
};

// The host that records name: `told`, else TIFFIN_HOST, else the machine's name.
std::string HostOf(const std::string& told);

// How messages name a C++ type: `stars::Star`.
std::string TypeName(const std::type_info& type);

// INVALID_ARGUMENT: "path: expected WHAT, found a string".
absl::Status ExpectedError(const PathLink& where, std::string_view what, const Value& found);

// A type that needs no registration: it has a class name, serialise(pack) and construct(record).
//
//   struct Star {
//     static constexpr std::string_view kClassName = "stars.Star";
//     absl::StatusOr<tiffin::Value> serialise(const tiffin::Pack& pack) const;
//     static absl::StatusOr<Star> construct(const tiffin::Unpack& record);
//   };
template <typename T>
concept SelfSerialising = requires(const T& object, const Pack& pack, const Unpack& record) {
  {std::string_view(T::kClassName)};
  { object.serialise(pack) } -> std::convertible_to<absl::StatusOr<Value>>;
  { T::construct(record) } -> std::convertible_to<absl::StatusOr<T>>;
};

template <typename T>
concept HasCodec = requires(const T& object, const Encoder& encoder) {
  { Codec<T>::Encode(object, encoder) } -> std::same_as<absl::StatusOr<Value>>;
};

template <typename T>
concept HasDecodingCodec = requires(const Value& value, const PathLink& where,
                                    const Decoder& decoder) {
  { Codec<T>::Decode(value, where, decoder) } -> std::same_as<absl::StatusOr<T>>;
};

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_OBJECT_CODEC_H_
