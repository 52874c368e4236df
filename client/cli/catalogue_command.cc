// tiffin catalogue: an HDF5 file that links every blob by its key, so that `h5py.File(OUT)[KEY]` is
// the array. The one file of the command line that needs HDF5.
#include <H5Cpp.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "common/base64.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

struct CatalogueCommand {
  std::string out;
  bool force = false;
};

// The names of a pack's datasets by the offset of their bytes, and of those without bytes.
struct PackNames {
  std::map<uint64_t, std::string> by_offset;
  std::vector<std::string> all;
};

PackNames NamesIn(const std::string& path) {
  PackNames names;
  const H5::H5File pack(path, H5F_ACC_RDONLY);
  for (hsize_t i = 0; i < pack.getNumObjs(); ++i) {
    const std::string name = pack.getObjnameByIdx(i);
    if (pack.childObjType(i) != H5O_TYPE_DATASET) continue;
    const H5::DataSet dataset = pack.openDataSet(name);
    names.all.push_back(name);
    if (dataset.getStorageSize() > 0) names.by_offset.emplace(dataset.getOffset(), name);
  }
  return names;
}

bool HasDtypeAndShape(const H5::H5File& pack, const std::string& name, const v1::BlobName& blob) {
  const H5::DataSet dataset = pack.openDataSet(name);
  const H5::DataSpace space = dataset.getSpace();
  std::vector<hsize_t> extents(static_cast<size_t>(space.getSimpleExtentNdims()));
  if (!extents.empty()) space.getSimpleExtentDims(extents.data());
  std::string dtype;
  if (dataset.attrExists("dtype")) {
    const H5::Attribute attribute = dataset.openAttribute("dtype");
    attribute.read(attribute.getStrType(), dtype);
    dtype = dtype.substr(0, dtype.find('\0'));
  }
  // A name too long for HDF5 has no attribute.
  return (dtype.empty() || dtype == blob.dtype()) &&
         std::equal(extents.begin(), extents.end(), blob.shape().begin(), blob.shape().end());
}

// Writes the file under another name, which is taken away again unless it is finished.
class CatalogueFile {
 public:
  explicit CatalogueFile(const std::string& out)
      : out_(out), partial_(out + ".partial"), file_(partial_, H5F_ACC_TRUNC) {}
  ~CatalogueFile() {
    if (!finished_) std::remove(partial_.c_str());
  }
  CatalogueFile(const CatalogueFile&) = delete;
  CatalogueFile& operator=(const CatalogueFile&) = delete;

  // NOT_FOUND: the pack is not on this host, or not as the server said.
  absl::Status Add(const v1::CatalogueResponse::Entry& entry) {
    if (pack_path_ != entry.pack()) {
      if (!std::filesystem::exists(entry.pack())) {
        return absl::NotFoundError(StrCat(entry.pack(),
                                          " is not on this host: run this command on "
                                          "the server's"));
      }
      names_ = NamesIn(entry.pack());
      pack_path_ = entry.pack();
    }
    const std::string key = Base64UrlEncode(entry.name().key());
    std::string dataset;
    if (const auto it = names_.by_offset.find(entry.offset()); it != names_.by_offset.end()) {
      dataset = it->second;
    }
    if (!dataset.starts_with(key)) dataset = FindByName(key, entry.name());
    if (dataset.empty()) {
      return absl::NotFoundError(StrCat(entry.pack(), " has no dataset ", key));
    }
    const int n = ++named_[key];
    const std::string link = n == 1 ? key : StrCat(key, "#", n);
    if (H5Lcreate_external(pack_path_.c_str(), dataset.c_str(), file_.getId(), link.c_str(),
                           H5P_DEFAULT, H5P_DEFAULT) < 0) {  // not in the C++ API
      return absl::InternalError(StrCat("HDF5 cannot link ", link));
    }
    ++links_;
    return absl::OkStatus();
  }
  absl::Status Finish() {
    file_.close();
    std::error_code error;
    std::filesystem::rename(partial_, out_, error);
    if (error) return absl::UnavailableError(StrCat(out_, ": ", error.message()));
    finished_ = true;
    return absl::OkStatus();
  }
  uint64_t links() const { return links_; }

 private:
  // Of a blob without bytes, whose place in the file tells nothing.
  std::string FindByName(const std::string& key, const v1::BlobName& name) const {
    const H5::H5File pack(pack_path_, H5F_ACC_RDONLY);
    for (const std::string& each : names_.all) {
      if (each.starts_with(key) && HasDtypeAndShape(pack, each, name)) return each;
    }
    return "";
  }

  const std::string out_, partial_;
  H5::H5File file_;
  std::string pack_path_;
  PackNames names_;
  std::map<std::string, int> named_;
  uint64_t links_ = 0;
  bool finished_ = false;
};

absl::Status Write(const CatalogueCommand& command, Context& context, uint64_t* links) {
  CatalogueFile file(command.out);
  v1::CatalogueRequest request;
  *request.mutable_caller() = context.caller();
  absl::Status added;
  const absl::Status called =
      context.connection()->Catalogue(request, [&](const v1::CatalogueResponse& page) {
        for (const auto& entry : page.entries()) {
          added = file.Add(entry);
          if (!added.ok()) return false;
        }
        return true;
      });
  TIFFIN_RETURN_IF_ERROR(added);
  TIFFIN_RETURN_IF_ERROR(called);
  *links = file.links();
  return file.Finish();
}

absl::StatusOr<int> RunCatalogue(const CatalogueCommand& command, Context& context) {
  if (!command.force && std::filesystem::exists(command.out)) {
    return WrongUse(StrCat("catalogue: ", command.out, " is there; --force replaces it"));
  }
  uint64_t links = 0;
  try {
    H5::Exception::dontPrint();
    TIFFIN_RETURN_IF_ERROR(Write(command, context, &links));
  } catch (const H5::Exception& error) {
    return absl::InternalError(
        StrCat("HDF5: ", command.out, ": ", error.getFuncName(), ": ", error.getDetailMsg()));
  }
  if (context.globals.json) {
    PrintLine({{"file", command.out}, {"blobs", links}}, context.out());
  } else {
    context.out() << command.out << ": " << links << (links == 1 ? " blob\n" : " blobs\n");
  }
  return kDone;
}

}  // namespace

void AddCatalogueCommand(CLI::App* app, Command* chosen) {
  CLI::App* catalogue = app->add_subcommand(
      "catalogue", "Writes an HDF5 file that links every blob by its key; on the server's host");
  auto command = std::make_shared<CatalogueCommand>();
  catalogue->add_option("out", command->out, "The file, OUT.h5: h5py.File(OUT)[KEY] is the array")
      ->required();
  catalogue->add_flag("--force", command->force, "Replace a file that is there");
  catalogue->callback(
      [=] { *chosen = [command](Context& context) { return RunCatalogue(*command, context); }; });
}

}  // namespace tiffin::cli
