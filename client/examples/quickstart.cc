// Runs a job twice: the first time it is computed, the second time it comes from the store.
//   tiffin_quickstart [ADDRESS]
#include <iostream>
#include <numeric>
#include <vector>

#include "client/client.h"
#include "common/json.h"

int main(int argc, char** argv) {
  tiffin::Client client(
      tiffin::MakeGrpcConnection({.server = argc > 1 ? argv[1] : "127.0.0.1:7410"}));

  // A job is a call: function, arguments, version. What it returns is stored under its key.
  const tiffin::Value job(tiffin::Object{
      {"function", "example.square_sum"}, {"arguments", tiffin::List{3, 4}}, {"version", "1"}});
  int computed = 0;
  for (int i = 0; i < 2; ++i) {
    const absl::StatusOr<tiffin::Value> result = client.Run(job, [&computed] {
      ++computed;
      return tiffin::Value(3 * 3 + 4 * 4);
    });
    if (!result.ok()) {
      std::cerr << result.status() << "\n";
      return 1;
    }
    std::cout << "result " << tiffin::PrintJson(*result) << ", computed here " << computed
              << " times\n";
  }

  // An array is uploaded once, and named by its content.
  std::vector<int64_t> numbers(10);
  std::iota(numbers.begin(), numbers.end(), 0);
  const std::string_view bytes(reinterpret_cast<const char*>(numbers.data()),
                               numbers.size() * sizeof(int64_t));
  const absl::StatusOr<tiffin::BlobName> name = client.Put("int64", {10}, bytes);
  if (!name.ok()) {
    std::cerr << name.status() << "\n";
    return 1;
  }
  const absl::StatusOr<tiffin::Array> back = client.Deref(*name);
  if (!back.ok()) {
    std::cerr << back.status() << "\n";
    return 1;
  }
  std::cout << "array " << name->key.ToText()
            << (back->bytes == bytes ? " came back equal\n" : " differs\n");
  return back->bytes == bytes ? 0 : 1;
}
