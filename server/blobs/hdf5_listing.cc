#include "server/blobs/hdf5_listing.h"

#include <H5Cpp.h>

#include <exception>
#include <utility>

#include "common/status.h"

namespace tiffin::server {
namespace {

ListedDataset Describe(const H5::H5File& file, const std::string& name) {
  ListedDataset out;
  out.spec.name = name;
  const H5::DataSet dataset = file.openDataSet(name);
  const H5::DataSpace space = dataset.getSpace();
  std::vector<hsize_t> extents(static_cast<size_t>(space.getSimpleExtentNdims()));
  if (!extents.empty()) space.getSimpleExtentDims(extents.data());
  out.spec.shape.assign(extents.begin(), extents.end());
  if (dataset.attrExists("dtype")) {
    const H5::Attribute attribute = dataset.openAttribute("dtype");
    attribute.read(attribute.getStrType(), out.spec.dtype);
    out.spec.dtype = out.spec.dtype.substr(0, out.spec.dtype.find('\0'));
  }
  if (dataset.getStorageSize() > 0) out.offset = static_cast<uint64_t>(dataset.getOffset());
  return out;
}

}  // namespace

absl::StatusOr<std::vector<ListedDataset>> ListHdf5File(const std::filesystem::path& file) {
  try {
    H5::Exception::dontPrint();
    const H5::H5File opened(file.string(), H5F_ACC_RDONLY);
    std::vector<ListedDataset> out;
    for (hsize_t i = 0; i < opened.getNumObjs(); ++i) {
      const std::string name = opened.getObjnameByIdx(i);
      if (opened.childObjType(i) == H5O_TYPE_DATASET) out.push_back(Describe(opened, name));
    }
    return out;
  } catch (const H5::Exception& error) {
    return absl::DataLossError(
        StrCat(file.string(), ": ", error.getFuncName(), ": ", error.getDetailMsg()));
  } catch (const std::exception& error) {
    return absl::DataLossError(StrCat(file.string(), ": ", error.what()));
  }
}

}  // namespace tiffin::server
