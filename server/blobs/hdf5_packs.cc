#include "server/blobs/hdf5_packs.h"

#include <H5Cpp.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "common/status.h"
#include "server/blobs/pack_file.h"

namespace tiffin::server {
namespace {

// of a type or an attribute: HDF5 takes less than 64 KiB, with all around it
constexpr size_t kMaxHeaderBytes = 64'000;
constexpr uint64_t kDatasetOverhead = 64 << 10;      // of metadata, generously
constexpr uint64_t kSpareBytes = uint64_t{8} << 20;  // left for others that write just now

// HDF5's own state is global, so this is too.
std::mutex& Hdf5Mutex() {
  static std::mutex mutex;
  return mutex;
}

H5::DataType Opaque(const DType& type) {
  H5::DataType opaque(H5T_OPAQUE, std::max<uint64_t>(type.item_size, 1));
  // h5py takes the tag as the name of a numpy type; plain void it writes without one, and one of no
  // bytes it cannot read.
  std::string tag;
  if (type.kind != 'V' && type.item_size > 0) {
    tag = DTypeDescr(type);
    tag = "NUMPY:" + tag.substr(1, tag.size() - 2);
  }
  if (H5Tset_tag(opaque.getId(), tag.c_str()) < 0) {  // not in the C++ API
    throw H5::DataTypeIException("Opaque", "H5Tset_tag failed");
  }
  return opaque;
}

// Sizes of floats that HDF5 can describe here; a longdouble (16) is this machine's, as in h5py.
bool FitsFloat(uint64_t size) { return size <= 8 || size == sizeof(long double); }

H5::DataType FloatOf(uint64_t size, bool big) {
  if (size > 8) {
    H5::FloatType extended(H5::PredType::NATIVE_LDOUBLE);
    extended.setOrder(big ? H5T_ORDER_BE : H5T_ORDER_LE);
    return extended;
  }
  if (size == 4) return big ? H5::PredType::IEEE_F32BE : H5::PredType::IEEE_F32LE;
  if (size == 8) return big ? H5::PredType::IEEE_F64BE : H5::PredType::IEEE_F64LE;
  H5::FloatType half(big ? H5::PredType::IEEE_F32BE : H5::PredType::IEEE_F32LE);
  half.setFields(15, 10, 5, 0, 10);
  half.setSize(2);
  half.setEbias(15);
  return half;
}

H5::DataType IntegerOf(uint64_t size, bool is_signed, bool big) {
  using P = H5::PredType;
  switch (size) {
    case 1:
      return is_signed ? P::STD_I8LE : P::STD_U8LE;
    case 2:
      return is_signed ? (big ? P::STD_I16BE : P::STD_I16LE) : (big ? P::STD_U16BE : P::STD_U16LE);
    case 4:
      return is_signed ? (big ? P::STD_I32BE : P::STD_I32LE) : (big ? P::STD_U32BE : P::STD_U32LE);
    default:
      return is_signed ? (big ? P::STD_I64BE : P::STD_I64LE) : (big ? P::STD_U64BE : P::STD_U64LE);
  }
}

H5::DataType TypeOf(const DType& type);

H5::ArrayType ArrayOf(const H5::DataType& items, const std::vector<uint64_t>& shape) {
  const std::vector<hsize_t> extents(shape.begin(), shape.end());
  return H5::ArrayType(items, static_cast<int>(extents.size()), extents.data());
}

// Subarrays of subarrays become arrays of arrays, the innermost made first.
H5::DataType FieldTypeOf(const DType& type) {
  H5::DataType field = TypeOf(type);
  for (auto shape = type.inner_shapes.rbegin(); shape != type.inner_shapes.rend(); ++shape) {
    field = ArrayOf(field, *shape);
  }
  return type.sub_shape.empty() ? field : ArrayOf(field, type.sub_shape);
}

// HDF5 has no compound without fields, no field of no bytes, and no two of a name, which ends at a
// NUL.
bool FitsCompound(const DType& type) {
  std::set<std::string> names;
  int halves = 0;
  for (const DTypeField& field : type.fields) {
    if (field.name.empty()) continue;
    const std::string name = field.name.c_str();
    if (field.type.total_size() == 0 || name.empty() || !names.insert(name).second) return false;
    halves += field.type.kind == 'f' && field.type.total_size() == 2;
  }
  // h5py takes two floats of these names for a complex number, of which there is none of two
  // halves.
  if (halves == 2 && names == std::set<std::string>{"i", "r"}) return false;
  return !names.empty();
}

H5::DataType TypeOf(const DType& type) {
  const bool big = type.order == '>';
  if (type.item_size == 0) return Opaque(type);
  switch (type.kind) {
    case 'b': {
      H5::EnumType boolean(H5::PredType::STD_I8LE);
      int8_t value = 0;
      boolean.insert("FALSE", &value);
      value = 1;
      boolean.insert("TRUE", &value);
      return boolean;
    }
    case 'i':
    case 'u':
      return IntegerOf(type.item_size, type.kind == 'i', big);
    case 'f':
      return FitsFloat(type.item_size) ? FloatOf(type.item_size, big) : Opaque(type);
    case 'c': {
      // h5py misreads a big-endian complex longdouble as a compound, and reads it whole as opaque.
      if (type.item_size > 16 && (big || !FitsFloat(type.item_size / 2))) return Opaque(type);
      const H5::DataType part = FloatOf(type.item_size / 2, big);
      H5::CompType complex(type.item_size);
      complex.insertMember("r", 0, part);
      complex.insertMember("i", type.item_size / 2, part);
      return complex;
    }
    case 'S': {
      H5::StrType text(H5::PredType::C_S1, type.item_size);
      text.setStrpad(H5T_STR_NULLPAD);
      return text;
    }
    default:
      break;
  }
  if (!type.structured() || !FitsCompound(type)) return Opaque(type);
  H5::CompType compound(type.item_size);
  for (const DTypeField& field : type.fields) {
    if (!field.name.empty())
      compound.insertMember(field.name, field.offset, FieldTypeOf(field.type));
  }
  return compound;
}

// As h5py would have stored it, unless HDF5 does not take that, or its description is too large:
// bytes then. A type must not fail here, or none of the blobs beside it could be sealed.
H5::DataType StoredTypeOf(const DType& type) {
  try {
    const H5::DataType stored = TypeOf(type);
    size_t bytes = 0;
    if (H5Tencode(stored.getId(), nullptr, &bytes) >= 0 && bytes <= kMaxHeaderBytes) return stored;
  } catch (const H5::Exception& error) {
    // Clients choose the names of fields.
    spdlog::warn("event=opaque dtype=\"{}\" error=\"{}\"",
                 absl::CHexEscape(DTypeName(type).substr(0, 300)), error.getDetailMsg());
  }
  H5::DataType opaque(H5T_OPAQUE, std::max<uint64_t>(type.item_size, 1));
  if (H5Tset_tag(opaque.getId(), "") < 0) {
    throw H5::DataTypeIException("StoredTypeOf", "H5Tset_tag failed");
  }
  return opaque;
}

// Bytes of any size worth mapping begin on a page, those of a large dataset on a huge page: the
// kernel maps those whole. What lies before is a hole that takes no space.
constexpr uint64_t kAlignedBytes = 64 << 10, kPage = 4096;
constexpr uint64_t kLargeFile = uint64_t{16} << 20, kHugePage = uint64_t{2} << 20;

H5::FileAccPropList Access(uint64_t alignment = kPage) {
  H5::FileAccPropList access;
  access.setLibverBounds(H5F_LIBVER_V18, H5F_LIBVER_V18);
  access.setAlignment(kAlignedBytes, alignment);
  return access;
}

// Once a close has failed, the library may not run at the exit either, as the C++ API has arranged:
// what was registered before this, that included, is left out. By then the server has written all
// that it has to write.
void EndWithoutHdf5() {
  static const bool arranged = [] {
    return on_exit(
               [](int status, void*) {
                 fflush(nullptr);
                 _exit(status);
               },
               nullptr) == 0;
  }();
  (void)arranged;
}

// A file of which H5Fclose is called once: after a close that failed, as on a full disk, the
// library keeps the id, and crashes when it is closed again.
class OpenFile {
 public:
  static OpenFile Create(const std::filesystem::path& path, uint64_t alignment) {
    return OpenFile(H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, Access(alignment).getId()));
  }
  static OpenFile Open(const std::filesystem::path& path) {
    return OpenFile(H5Fopen(path.c_str(), H5F_ACC_RDWR, Access().getId()));
  }
  ~OpenFile() {
    if (id_ >= 0 && H5Fclose(id_) < 0) EndWithoutHdf5();
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  // For the C++ API; counts as a second reference, so that its end closes nothing.
  H5::H5File file() const { return H5::H5File(id_); }
  void Close() {
    const hid_t id = std::exchange(id_, -1);
    if (H5Fclose(id) < 0) {
      EndWithoutHdf5();
      throw H5::FileIException("H5Fclose", "the file could not be written");
    }
  }

 private:
  explicit OpenFile(hid_t id) : id_(id) {
    if (id < 0) throw H5::FileIException("H5Fopen", "the file could not be opened or made");
  }
  hid_t id_;
};

// Of the dataset's bytes in its file; 0 if it has none.
uint64_t OffsetOf(const H5::DataSet& dataset, const DType& type) {
  const bool empty = type.total_size() == 0 || dataset.getSpace().getSimpleExtentNpoints() == 0;
  return empty ? 0 : static_cast<uint64_t>(dataset.getOffset());
}

uint64_t MakeDataset(const H5::H5File& file, const DatasetSpec& spec, const DType& type) {
  H5::DSetCreatPropList layout;
  layout.setLayout(H5D_CONTIGUOUS);
  layout.setAllocTime(H5D_ALLOC_TIME_EARLY);
  layout.setFillTime(H5D_FILL_TIME_NEVER);
  const std::vector<hsize_t> extents(spec.shape.begin(), spec.shape.end());
  const H5::DataSpace space = extents.empty()
                                  ? H5::DataSpace(H5S_SCALAR)
                                  : H5::DataSpace(static_cast<int>(extents.size()), extents.data());
  const H5::DataSet dataset = file.createDataSet(spec.name, StoredTypeOf(type), space, layout);
  const H5::StrType text(H5::PredType::C_S1, std::max<size_t>(spec.dtype.size(), 1));
  if (spec.dtype.size() <= kMaxHeaderBytes) {
    dataset.createAttribute("dtype", text, H5::DataSpace(H5S_SCALAR)).write(text, spec.dtype);
  }
  return OffsetOf(dataset, type);
}

// What the system said when HDF5's last call failed; 0: nothing. Guarded by Hdf5Mutex.
int& SystemError() {
  static int error = 0;
  return error;
}

// Called by the library for each call that fails: its stack of errors is gone soon after. HDF5
// tells what the system said in words only.
herr_t NoteError(hid_t stack, void*) {
  const H5E_walk2_t look = [](unsigned, const H5E_error2_t* entry, void*) -> herr_t {
    constexpr std::string_view kTell = "errno = ";
    const std::string_view text = entry->desc == nullptr ? "" : entry->desc;
    const size_t at = text.find(kTell);
    if (at != text.npos && SystemError() == 0) {
      const std::string_view number = text.substr(at + kTell.size());
      (void)absl::SimpleAtoi(ToAbsl(number.substr(0, number.find(','))), &SystemError());
    }
    return 0;
  };
  return H5Ewalk2(stack, H5E_WALK_UPWARD, look, nullptr);
}

// Before each use, as the library keeps it for each thread.
void NoteErrors() {
  SystemError() = 0;
  (void)H5Eset_auto2(H5E_DEFAULT, NoteError, nullptr);
}

absl::Status FromHdf5(const H5::Exception& error, const std::filesystem::path& file) {
  if (SystemError() != 0) return FromErrno(SystemError(), "HDF5, writing", file);
  return absl::InternalError(
      StrCat("HDF5: ", file.string(), ": ", error.getFuncName(), ": ", error.getDetailMsg()));
}

// So it is looked at before: HDF5 must never meet a full disk, or a file larger than the file
// system can hold.
absl::Status CheckSpace(const std::filesystem::path& file, uint64_t bytes) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(file.parent_path(), error);
  if (error) {
    return absl::UnavailableError(
        StrCat("looking at ", file.parent_path().string(), ": ", error.message()));
  }
  if (space.available >= bytes && space.available - bytes >= kSpareBytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(StrCat(bytes, " bytes are needed in ",
                                             file.parent_path().string(), ", ", space.available,
                                             " are free"));
}

void Initialise() {
  // Before the first use: what a failed close left behind would crash the exit.
  static const bool done = [] {
    (void)H5dont_atexit();
    return true;
  }();
  (void)done;
  NoteErrors();
}

}  // namespace

absl::StatusOr<std::vector<uint64_t>> MakeHdf5File(const std::filesystem::path& file,
                                                   std::span<const DatasetSpec> datasets) {
  std::vector<DType> types;
  uint64_t bytes = 0;
  for (const DatasetSpec& spec : datasets) {
    TIFFIN_ASSIGN_OR_RETURN(DType type, ParseDType(spec.dtype));
    TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, ArrayBytes(type, spec.shape));
    bytes += size + kDatasetOverhead;
    types.push_back(std::move(type));
  }
  TIFFIN_RETURN_IF_ERROR(CheckSpace(file, bytes));
  std::lock_guard lock(Hdf5Mutex());
  try {
    Initialise();
    const bool large = datasets.size() == 1 && bytes >= kLargeFile;
    OpenFile out = OpenFile::Create(file, large ? kHugePage : kPage);
    std::vector<uint64_t> offsets;
    for (size_t i = 0; i < datasets.size(); ++i) {
      offsets.push_back(MakeDataset(out.file(), datasets[i], types[i]));
    }
    out.Close();
    return offsets;
  } catch (const H5::Exception& error) {
    return FromHdf5(error, file);
  } catch (const std::exception& error) {
    return absl::InternalError(StrCat("HDF5: ", file.string(), ": ", error.what()));
  }
}

absl::Status RenameDataset(const std::filesystem::path& file, std::string_view from,
                           std::string_view to) {
  TIFFIN_RETURN_IF_ERROR(CheckSpace(file, kDatasetOverhead));
  std::lock_guard lock(Hdf5Mutex());
  try {
    Initialise();
    OpenFile out = OpenFile::Open(file);
    out.file().moveLink(std::string(from), std::string(to));
    out.Close();
    return absl::OkStatus();
  } catch (const H5::Exception& error) {
    return FromHdf5(error, file);
  }
}

absl::Status CheckHdf5File(const std::filesystem::path& file, const DatasetSpec& dataset,
                           uint64_t offset) {
  TIFFIN_ASSIGN_OR_RETURN(const DType type, ParseDType(dataset.dtype));
  std::lock_guard lock(Hdf5Mutex());
  try {
    Initialise();
    const OpenFile in = OpenFile::Open(file);
    const H5::DataSet found = in.file().openDataSet(dataset.name);
    const std::vector<hsize_t> extents(dataset.shape.begin(), dataset.shape.end());
    std::vector<hsize_t> there(std::max(found.getSpace().getSimpleExtentNdims(), 1));
    there.resize(found.getSpace().getSimpleExtentDims(there.data()));
    if (there == extents && found.getDataType() == StoredTypeOf(type) &&
        OffsetOf(found, type) == offset) {
      return absl::OkStatus();
    }
  } catch (const H5::Exception& error) {
    if (SystemError() != 0) return FromErrno(SystemError(), "HDF5, reading", file);
  }
  return absl::DataLossError(StrCat("HDF5: ", file.string(), " is damaged"));
}

}  // namespace tiffin::server
