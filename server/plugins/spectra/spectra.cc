// A plug-in that knows spectra: it refuses malformed ones, and keeps their samples as arrays.
//
//   {"_noodles": "0.3.0", "type": "<automagic>", "class": "spectra.Spectrum",
//    "data": {"unit": "nm", "start": 400.0, "step": 0.5, "samples": <numpy.ndarray record>}}
//
// The wavelength of sample i is start + i * step; samples are float32 or float64, at least two.
#include <cmath>
#include <memory>

#include "common/plugin.h"
#include "common/shape_check.h"
#include "common/strings.h"

namespace {

using tiffin::BadRecord;
using tiffin::Object;
using tiffin::PathLink;
using tiffin::Value;

constexpr std::string_view kClass = "spectra.Spectrum";
constexpr std::string_view kHook = "<spectrum>";

absl::Status Unit(const Value& value, const PathLink& where) {
  TIFFIN_RETURN_IF_ERROR(tiffin::AnyString(value, where));
  const std::string& unit = *value.if_string();
  if (unit == "nm" || unit == "angstrom" || unit == "um") return absl::OkStatus();
  return BadRecord(where, "expected nm, angstrom or um");
}

// In units of length: more than nothing.
absl::Status Length(const Value& value, const PathLink& where) {
  TIFFIN_RETURN_IF_ERROR(tiffin::AnyNumber(value, where));
  const double* real = value.if_double();
  const int64_t* integer = value.if_int64();
  if (real != nullptr && std::isfinite(*real) && *real > 0) return absl::OkStatus();
  if (integer != nullptr && *integer > 0) return absl::OkStatus();
  return BadRecord(where, "expected a finite number above zero, an integer of 64 bits at most");
}

// dtype and shape of an array record, inline or a ref. NOT_FOUND if it is neither: a file on a
// host.
absl::StatusOr<std::pair<std::string, tiffin::Shape>> Outline(const Object& record) {
  if (const auto array = tiffin::InlineArray(record)) {
    return std::make_pair(array->dtype, array->shape);
  }
  TIFFIN_ASSIGN_OR_RETURN(const auto ref, tiffin::RefOf(record));
  if (ref && std::holds_alternative<tiffin::BlobName>(*ref)) {
    const auto& name = std::get<tiffin::BlobName>(*ref);
    return std::make_pair(name.dtype, name.shape);
  }
  return absl::NotFoundError("no array that tiffin keeps");
}

absl::Status Samples(const Value& value, const PathLink& where) {
  TIFFIN_RETURN_IF_ERROR(tiffin::CheckRecordOf(value, "numpy.ndarray", where));
  const auto outline = Outline(*value.if_object());
  if (!outline.ok()) return BadRecord(where, tiffin::ToStd(outline.status().message()));
  const auto& [dtype, shape] = *outline;
  if (dtype != "float32" && dtype != "float64") {
    return BadRecord(where, tiffin::StrCat("expected float32 or float64, found ", dtype));
  }
  if (shape.size() != 1 || shape[0] < 2) {
    return BadRecord(where, "expected one dimension of at least two samples");
  }
  return absl::OkStatus();
}

class SpectrumSerialiser : public tiffin::RecordSerialiser {
 public:
  absl::Status Check(const Object& record, const std::optional<tiffin::RecordRef>& ref,
                     const PathLink& where) const override {
    const PathLink data_path(where, "data");
    if (ref.has_value()) {
      // another record's data
      if (std::holds_alternative<tiffin::ValueRef>(*ref)) return absl::OkStatus();
      return BadRecord(data_path, "a ref to an array, where a spectrum has none");
    }
    const Value* data = record.Find("data");
    if (data == nullptr) return BadRecord(data_path, "is missing");
    return tiffin::CheckMembers(
        *data, data_path,
        {{"unit", Unit}, {"start", Length}, {"step", Length}, {"samples", Samples}});
  }

  absl::StatusOr<std::vector<const Object*>> LeavingAtAnySize(const Object& record) const override {
    return std::vector<const Object*>{
        record.Find("data")->if_object()->Find("samples")->if_object()};
  }

  std::string Keeps() const override { return "samples as an array, whatever their number"; }
};

// Spectra as Noodles writes them (<automagic>), as anyone else may (<object>), and pickled, which
// the serialiser refuses.
tiffin::Registry SpectraRegistry() {
  tiffin::Registry registry;
  registry.AddHook(kHook, std::make_shared<SpectrumSerialiser>());
  registry.SetHookFunction([](const Object& record) {
    return std::string(tiffin::RecordClass(record) == kClass ? kHook : "");
  });
  return registry;
}

}  // namespace

TIFFIN_PLUGIN(SpectraRegistry);
