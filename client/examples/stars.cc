// How C++ objects become records and come back: stars, their spectra, and who reads them.
//   tiffin_stars [ADDRESS [DATA]]
// With DATA, the server's folder on this machine, the array at the end is read straight from HDF5.
#include <H5Cpp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <compare>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <set>
#include <string>
#include <vector>

#include "client/client.h"
#include "client/objects.h"

namespace stars {

// Its bytes are all there is of it, so that the opaque registry can keep it. Nobody else can read
// it.
struct RawStar {
  char spectral_type;
  float subclass;
  int luminosity;
};

// Types of a library, which one cannot change.
struct Body {
  double kilograms = 0;
};
struct Planet : Body {
  int moons = 0;
};

}  // namespace stars

namespace {

using stars::Body;
using stars::Planet;
using stars::RawStar;

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::cerr << value.status() << "\n";
  std::exit(1);
}

// --- The same with serialise and construct ----------------------------------------------------

struct LuminosityClass {
  std::string_view name, meaning;
};
constexpr std::array<LuminosityClass, 10> kLuminosityClasses = {{{"Ia+", "hypergiant"},
                                                                 {"Iab", "supergiant"},
                                                                 {"Ia", "luminous supergiant"},
                                                                 {"Ib", "less luminous supergiant"},
                                                                 {"III", "giant"},
                                                                 {"II", "bright giant"},
                                                                 {"IV", "subgiant"},
                                                                 {"VII", "white dwarf"},
                                                                 {"VI", "subdwarf"},
                                                                 {"V", "main-sequence star"}}};

// A star in the Morgan-Keenan classification: `G2V` is a main-sequence star of type G, 2 tenths of
// the way from G to K.
class Star {
 public:
  static constexpr std::string_view kClassName = "stars.Star";

  // Reads `B8Ia`: a letter of OBAFGKM, a number from 0 to below 10, a luminosity class.
  static absl::StatusOr<Star> Parse(std::string_view text) {
    Star star;
    const char* const end = text.data() + text.size();
    if (text.empty() || std::string_view("OBAFGKM").find(text[0]) == std::string_view::npos) {
      return absl::InvalidArgumentError("expected one of O, B, A, F, G, K, M");
    }
    star.spectral_type_ = text[0];
    const auto number =
        std::from_chars(text.data() + 1, end, star.number_, std::chars_format::fixed);
    // from_chars would take a sign, and "nan".
    const bool digit = text.size() > 1 && text[1] >= '0' && text[1] <= '9';
    if (!digit || number.ec != std::errc() || star.number_ >= 10) {
      return absl::InvalidArgumentError("expected a number from 0 to below 10");
    }
    const std::string_view luminosity(number.ptr, end);
    star.luminosity_ = std::find_if(kLuminosityClasses.begin(), kLuminosityClasses.end(),
                                    [&](const auto& c) { return c.name == luminosity; }) -
                       kLuminosityClasses.begin();
    if (star.luminosity_ == kLuminosityClasses.size()) {
      return absl::InvalidArgumentError("expected a luminosity class: Ia+, Ia, Iab, Ib, II to VII");
    }
    return star;
  }

  std::string Text() const {
    std::array<char, 32> number;
    const auto end = std::to_chars(number.data(), number.data() + number.size(), number_);
    return spectral_type_ + std::string(number.data(), end.ptr) + std::string(luminosity().name);
  }
  const LuminosityClass& luminosity() const { return kLuminosityClasses[luminosity_]; }
  char spectral_type() const { return spectral_type_; }
  double number() const { return number_; }

  // All that tiffin needs to know. The record's data is the text that astronomers write.
  absl::StatusOr<tiffin::Value> serialise(const tiffin::Pack& pack) const { return pack(Text()); }
  static absl::StatusOr<Star> construct(const tiffin::Unpack& record) {
    TIFFIN_ASSIGN_OR_RETURN(const std::string text, record.As<std::string>());
    absl::StatusOr<Star> star = Parse(text);
    if (!star.ok()) return record.Error(tiffin::ToStd(star.status().message()));
    return star;
  }

  friend auto operator<=>(const Star& a, const Star& b) { return a.Text() <=> b.Text(); }
  friend bool operator==(const Star& a, const Star& b) { return a.Text() == b.Text(); }

 private:
  char spectral_type_ = 'G';
  double number_ = 0;
  size_t luminosity_ = 0;  // in kLuminosityClasses
};

void KeepAStarOpaque() {
  std::cout << "# A star as its bytes\n";
  const RawStar sun{'G', 2, 5};
  const absl::StatusOr<std::string> refused = tiffin::to_json(sun);
  std::cout << refused.status().message() << "\n";
  // Registries add up, as on the server: what the left does not know, the right may.
  const tiffin::ObjectRegistry registry = tiffin::ObjectRegistry() + tiffin::OpaqueObjects();
  const std::string text = OrDie(registry.to_json(sun, {.indent = 2}));
  std::cout << text << "\n";
  const auto back = OrDie(registry.from_json<RawStar>(text));
  std::cout << "back: type " << back.spectral_type << ", number " << back.subclass << "\n";
}

void WriteStarsAsAstronomersDo() {
  std::cout << "\n# Stars as text\n";
  for (const char* text : {"G2V", "B8Ia", "B2IV"}) {
    const Star star = OrDie(Star::Parse(text));
    const std::string json = OrDie(tiffin::to_json(star));
    const Star back = OrDie(tiffin::from_json<Star>(json));
    std::cout << json << "\n  type " << back.spectral_type() << ", number " << back.number() << ", "
              << back.luminosity().meaning << "\n";
  }
  const auto bad = tiffin::from_json<std::vector<Star>>(
      R"([{"_noodles": "0.3.0", "type": "<automagic>", "class": "stars.Star", "data": "X1V"}])");
  std::cout << "refused: " << bad.status().message() << "\n";

  const std::set<Star> sky = {OrDie(Star::Parse("G2V")), OrDie(Star::Parse("B8Ia"))};
  const std::string json = OrDie(tiffin::to_json(sky, {.indent = 2}));
  std::cout << "a set: " << json
            << "\nback: " << OrDie(tiffin::from_json<std::set<Star>>(json)).size() << " stars\n";
}

// Planck's law, in W sr^-1 m^-3: `n` wavelengths from 100 nm on, 1 nm apart.
tiffin::NdArray<double> BlackBody(double kelvin, size_t n) {
  constexpr double kPlanck = 6.62607015e-34, kLight = 299792458.0, kBoltzmann = 1.380649e-23;
  tiffin::NdArray<double> spectrum({n});
  for (size_t i = 0; i < n; ++i) {
    const double metres = (100.0 + static_cast<double>(i)) * 1e-9;
    spectrum.elements()[i] = 2 * kPlanck * kLight * kLight / std::pow(metres, 5) /
                             std::expm1(kPlanck * kLight / (metres * kBoltzmann * kelvin));
  }
  return spectrum;
}

// Stores a spectrum as a job's result, and returns its record with what is large as a ref.
tiffin::Value StoreASpectrum(tiffin::Client& client,
                             const std::shared_ptr<tiffin::ObjectBlobs>& blobs) {
  std::cout << "\n# A spectrum by reference\n";
  const tiffin::Value job = tiffin::Object{{"function", "stars.black_body"},
                                           {"arguments", tiffin::List{5772.0, 2000}},
                                           {"version", "1"}};
  tiffin::Value record = OrDie(client.Run(job, [&]() -> absl::StatusOr<tiffin::Value> {
    return tiffin::Encode(BlackBody(5772.0, 2000), {.blobs = blobs});
  }));
  std::cout << tiffin::PrintJson(record, {.spaces = true, .indent = 2}) << "\n";
  return record;
}

void ReadItBack(const tiffin::Value& record, const std::shared_ptr<tiffin::ObjectBlobs>& blobs) {
  using Spectrum = tiffin::NdArray<double>;
  std::cout << "without deref: " << tiffin::Decode<Spectrum>(record).status().message() << "\n";
  const auto ref = OrDie(tiffin::Decode<tiffin::Ref<Spectrum>>(record, {.blobs = blobs}));
  std::cout << "a placeholder: " << ref << "\n";
  // Into memory of one's own, streamed.
  std::vector<double> memory(2000);
  const absl::Status status = ref.DerefInto(std::span(memory));
  std::cout << "into memory: " << (status.ok() ? "peak at " : std::string(status.message()))
            << 100 + (std::max_element(memory.begin(), memory.end()) - memory.begin()) << " nm\n";
  const auto whole = OrDie(tiffin::Decode<Spectrum>(record, {.deref = true, .blobs = blobs}));
  std::cout << "with deref: " << whole.size() << " values, "
            << (whole == BlackBody(5772.0, 2000) ? "equal" : "not equal") << "\n";
}

void AddRegistries() {
  std::cout << "\n# Registries add up\n";
  tiffin::ObjectRegistry bodies;  // for all that is declared to be a Body
  bodies.AddBase<Body>(
      [](const Body& body, const tiffin::Pack& pack) { return pack(body.kilograms); },
      [](const tiffin::Unpack& record, Body* body) -> absl::Status {
        TIFFIN_ASSIGN_OR_RETURN(body->kilograms, record.As<double>());
        return absl::OkStatus();
      });
  bodies.DeclareBases<Planet, Body>("stars.Planet");
  tiffin::ObjectRegistry planets;  // for planets: it overrides when it stands on the right
  planets.AddType<Planet>(
      "stars.Planet",
      [](const Planet& planet, const tiffin::Pack& pack) {
        return pack(std::make_pair(planet.kilograms, planet.moons));
      },
      [](const tiffin::Unpack& record) -> absl::StatusOr<Planet> {
        TIFFIN_ASSIGN_OR_RETURN(const auto pair, (record.As<std::pair<double, int>>()));
        return Planet{{pair.first}, pair.second};
      });
  const Planet jupiter{{1.898e27}, 95};
  std::cout << "bodies:           " << OrDie(bodies.to_json(jupiter)) << "\n"
            << "bodies + planets: " << OrDie((bodies + planets).to_json(jupiter)) << "\n"
            << "neither:          " << tiffin::to_json(jupiter).status().message() << "\n";
}

// The array is an ordinary dataset, named by its key, in one of the files under DATA/packs.
void ReadFromHdf5(tiffin::Client& client, const tiffin::Value& record, const std::string& data) {
  std::cout << "\n# Straight from HDF5\n";
  tiffin::v1::SealRequest request;
  *request.mutable_caller() = client.caller();
  OrDie(client.connection().Seal(request));  // so that any HDF5 reader can open all of them
  const auto ref = OrDie(tiffin::RefOf(*tiffin::AsRecord(record)));
  const std::string key = std::get<tiffin::BlobName>(*ref).key.ToText();
  for (const auto& file : std::filesystem::recursive_directory_iterator(data + "/packs")) {
    if (file.path().extension() != ".h5") continue;
    const H5::H5File pack(file.path().string(), H5F_ACC_RDONLY);
    if (!pack.nameExists(key)) continue;
    std::vector<double> values(2000);
    pack.openDataSet(key).read(values.data(), H5::PredType::NATIVE_DOUBLE);
    const auto expected = BlackBody(5772.0, 2000);
    std::cout << "dataset " << key << ": " << values.size() << " values, "
              << (std::ranges::equal(values, expected.elements()) ? "equal" : "not equal") << "\n";
    return;
  }
  std::cout << "no dataset " << key << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  tiffin::Client client(
      tiffin::MakeGrpcConnection({.server = argc > 1 ? argv[1] : "127.0.0.1:7410"}));
  const std::shared_ptr<tiffin::ObjectBlobs> blobs = tiffin::MakeObjectBlobs(client);
  KeepAStarOpaque();
  WriteStarsAsAstronomersDo();
  const tiffin::Value record = StoreASpectrum(client, blobs);
  ReadItBack(record, blobs);
  AddRegistries();
  if (argc > 2) ReadFromHdf5(client, record, argv[2]);
  return 0;
}
