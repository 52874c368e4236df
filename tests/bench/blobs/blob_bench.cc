// The bars of the blob store: each with its floor, in the same run.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "client/client.h"
#include "common/crypto.h"
#include "common/npy.h"
#include "tests/bench/blobs/noise.h"
#include "tests/bench/blobs/raw_client.h"
#include "tests/bench/harness.h"
#include "tests/bench/rpc.h"
#include "tiffin/v1/admin.grpc.pb.h"
#include "tiffin/v1/blobs.grpc.pb.h"

namespace tiffin::bench {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20, kGiB = uint64_t{1} << 30;
constexpr int kRounds = 5;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Makes the file system warm: lets the page cache grow by so much without waiting for a virtual
// machine to get memory from its host, which can take ten times as long as filling it.
void WarmPageCache(const std::string& folder, uint64_t bytes) {
  const std::string path = folder + "/warm", piece(2 * kMiB, 'w');
  {
    std::ofstream file(path, std::ios::binary);
    for (uint64_t at = 0; at < bytes; at += piece.size()) file << piece;
    if (!file.flush()) throw std::runtime_error("writing " + path);
  }
  std::filesystem::remove(path);
}

// A server on a folder of its own.
class OwnServer {
 public:
  static OwnServer Tiffin(const std::vector<std::string>& flags = {}) {
    OwnServer own;
    own.server_ = ServerProcess::Tiffin((own.folder_->path() / "data").string(), flags);
    return own;
  }
  static OwnServer Floor() {
    OwnServer own;
    own.server_ = std::make_unique<ServerProcess>(
        std::vector<std::string>{TIFFIN_FLOOR_SERVER, own.folder_->path().string()});
    return own;
  }
  const std::string& address() const { return server_->address(); }
  std::string folder() const { return folder_->path().string(); }
  // Bytes of its anonymous memory.
  double AnonymousBytes() const {
    std::ifstream status("/proc/" + std::to_string(server_->pid()) + "/status");
    std::string word;
    while (status >> word) {
      double kib = 0;
      if (word == "RssAnon:" && status >> kib) return kib * 1024;
    }
    throw std::runtime_error("no RssAnon of the server");
  }

 private:
  std::unique_ptr<Folder> folder_ = std::make_unique<Folder>();
  std::unique_ptr<ServerProcess> server_;
};

// Once to warm up, then in turns.
void Compare(const char* name, const char* unit, double bar, bool at_most,
             const std::function<double()>& thing, const std::function<double()>& floor,
             int rounds = kRounds) {
  (void)floor();
  (void)thing();
  Report(Of(Interleaved(rounds, thing, floor),
            {.name = name, .unit = unit, .bar = bar, .at_most = at_most}));
}

void Wait(RawClient& client) {
  if (!client.channel()->WaitForConnected(std::chrono::system_clock::now() +
                                          std::chrono::seconds(20))) {
    throw std::runtime_error("a server does not answer");
  }
}

// With the key, as clients send it: so the upload can be resumed.
v1::PutRequest::Header HeaderOf(const Shape& shape, std::string_view bytes) {
  v1::PutRequest::Header header;
  header.mutable_name()->set_dtype("float64");
  header.mutable_name()->mutable_shape()->Assign(shape.begin(), shape.end());
  header.mutable_name()->set_key(std::string(BlobKey("float64", shape, bytes).view()));
  return header;
}

v1::BlobName PutNoise(RawClient& to, const Shape& shape, uint64_t seed) {
  const std::string bytes =
      Noise(std::accumulate(shape.begin(), shape.end(), uint64_t{8}, std::multiplies<>()), seed);
  return to.Put(HeaderOf(shape, bytes), bytes).name();
}

v1::DerefRequest DerefOf(const v1::BlobName& name, uint64_t bytes) {
  v1::DerefRequest request;
  *request.mutable_ref()->mutable_name() = name;
  request.set_limit(bytes);  // the floor goes by it
  return request;
}

TIFFIN_BENCH(put_1GiB) {
  const OwnServer tiffin = OwnServer::Tiffin();
  const OwnServer floor = OwnServer::Floor();
  RawClient client(tiffin.address()), bare(floor.address());
  Wait(client);
  Wait(bare);
  std::string bytes = Noise(kGiB, 1);
  uint64_t number = 0;
  const auto put = [&](RawClient& to) {
    std::memcpy(bytes.data(), &++number, sizeof number);  // never the same blob
    const v1::PutRequest::Header header = HeaderOf({kGiB / 8}, bytes);
    WarmPageCache(floor.folder(), kGiB + kGiB / 4);
    const double start = Now();
    (void)to.Put(header, bytes);
    return 1.073741824 / (Now() - start);
  };
  Compare(
      "put_1GiB", "GB/s", 0.85, false, [&] { return put(client); }, [&] { return put(bare); });
}

// `name`: checks the bytes against its key.
double Bring(RawClient& from, const v1::DerefRequest& request, const v1::BlobName* name) {
  static std::string memory(kGiB, '\0');  // "server → client memory"
  Sha256 sha = StartBlobKey("float64", {kGiB / 8});
  const double start = Now();
  size_t at = 0;
  (void)from.Deref(request, [&](std::string_view part) {
    std::memcpy(memory.data() + at, part.data(), part.size());
    at += part.size();
    if (name != nullptr) sha.Update(part);
  });
  if (name != nullptr && sha.Finish().view() != name->key()) {
    throw std::runtime_error("bytes of another key");
  }
  if (at != request.limit()) throw std::runtime_error("the stream was cut");
  return static_cast<double>(at) / 1e9 / (Now() - start);
}

void Deref1GiB(bool verified) {
  const OwnServer tiffin = OwnServer::Tiffin();
  const OwnServer floor = OwnServer::Floor();
  RawClient client(tiffin.address()), bare(floor.address());
  Wait(client);
  Wait(bare);
  const v1::BlobName name = PutNoise(client, {kGiB / 8}, kDerefSeed);
  const v1::BlobName* const checked = verified ? &name : nullptr;
  const v1::DerefRequest request = DerefOf(name, kGiB);
  Compare(
      verified ? "deref_1GiB_verified" : "deref_1GiB", "GB/s", 0.85, false,
      [&] { return Bring(client, request, checked); },
      [&] { return Bring(bare, request, checked); });
}

TIFFIN_BENCH(deref_1GiB) { Deref1GiB(false); }
TIFFIN_BENCH(deref_1GiB_verified) { Deref1GiB(true); }

TIFFIN_BENCH(deref_concurrent) {
  constexpr int kReaders = 16;
  constexpr uint64_t kEach = 64 * kMiB;
  const OwnServer tiffin = OwnServer::Tiffin();
  const OwnServer floor = OwnServer::Floor();
  std::vector<std::unique_ptr<RawClient>> clients, bares;
  std::vector<v1::DerefRequest> requests;
  for (int i = 0; i < kReaders; ++i) {
    clients.push_back(std::make_unique<RawClient>(tiffin.address()));
    bares.push_back(std::make_unique<RawClient>(floor.address()));
    Wait(*clients.back());
    Wait(*bares.back());
    requests.push_back(DerefOf(PutNoise(*clients[i], {kEach / 8}, 10 + i), kEach));
  }
  const auto all = [&](const std::vector<std::unique_ptr<RawClient>>& from) {
    std::atomic<uint64_t> got{0};
    std::atomic<bool> failed{false};
    const double start = Now();
    std::vector<std::thread> threads;
    for (int i = 0; i < kReaders; ++i) {
      threads.emplace_back([&, i] {
        try {
          uint64_t bytes = 0;
          (void)from[i]->Deref(requests[i], [&](std::string_view part) { bytes += part.size(); });
          got += bytes;
        } catch (const std::exception&) {
          failed = true;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (failed || got != kReaders * kEach) throw std::runtime_error("a reader was cut off");
    return static_cast<double>(got) / 1e9 / (Now() - start);
  };
  Compare(
      "deref_concurrent", "GB/s", 0.85, false, [&] { return all(clients); },
      [&] { return all(bares); });
}

// The sum of all words, which cannot be had without reading them.
uint64_t ReadAll(std::string_view bytes) {
  uint64_t sum = 0;
  for (size_t at = 0; at + 8 <= bytes.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + at, 8);
    sum += word;
  }
  return sum;
}

TIFFIN_BENCH(deref_local) {
  const OwnServer tiffin = OwnServer::Tiffin({"--allow-local"});
  Client client(MakeGrpcConnection({.server = tiffin.address()}), {.verify = false});
  const std::string bytes = Noise(kGiB, 4);
  const absl::StatusOr<BlobName> name = client.Put("float64", {kGiB / 8}, bytes);
  if (!name.ok()) throw std::runtime_error(name.status().ToString());
  const std::string path = tiffin.folder() + "/plain";
  std::ofstream(path, std::ios::binary) << bytes;
  const uint64_t sum = ReadAll(bytes);
  const auto read = [&](const std::function<MappedBlob()>& map) {
    const double start = Now();
    const MappedBlob blob = map();
    if (!blob.mapped() || ReadAll(blob.bytes()) != sum) throw std::runtime_error("other bytes");
    return 1.073741824 / (Now() - start);
  };
  Compare(
      "deref_local", "GB/s", 0.95, false, [&] { return read([&] { return *client.Map(*name); }); },
      [&] {
        return read([&] {
          struct stat file;
          if (stat(path.c_str(), &file) != 0) throw std::runtime_error(path);
          return *MappedBlob::Map(path, 0, kGiB, kGiB, file.st_ino);
        });
      },
      15);
}

TIFFIN_BENCH(slab_100x100) {
  constexpr int kCalls = 2000;
  const uint64_t side = 11'585;  // of a matrix of 1 GiB
  const OwnServer tiffin = OwnServer::Tiffin();
  const OwnServer floor = OwnServer::Floor();
  RawClient client(tiffin.address()), bare(floor.address());
  Wait(client);
  Wait(bare);
  const v1::BlobName name = PutNoise(client, {side, side}, 4);
  const auto blobs = v1::Blobs::NewStub(client.channel());
  const auto admin = v1::Admin::NewStub(bare.channel());
  uint64_t number = 0;
  const auto slab = [&] {
    v1::DerefRequest request;
    *request.mutable_ref()->mutable_name() = name;
    request.set_first_with_header(true);  // as the client library
    for (int d = 0; d < 2; ++d) {
      v1::Slab::Dimension* dimension = request.mutable_slab()->add_dimensions();
      dimension->set_start(static_cast<int64_t>((++number * 7919) % (side - 100)));
      dimension->set_count(100);
    }
    grpc::ClientContext context;
    auto stream = blobs->Deref(&context, request);
    v1::DerefResponse response;
    size_t bytes = 0;
    while (stream->Read(&response))
      bytes += response.header().first().size() + response.chunk().size();
    Check(stream->Finish());
    if (bytes != 80'000) throw std::runtime_error("a slab of another size");
  };
  const auto empty = [&] {
    grpc::ClientContext context;
    v1::DescribeResponse response;
    Check(admin->Describe(&context, {}, &response));
  };
  for (int i = 0; i < kCalls; ++i) slab();  // warm: every block is checked once
  const auto p50 = [](const std::function<void()>& call) {
    std::vector<double> times;
    for (int i = 0; i < kCalls; ++i) {
      const double start = Now();
      call();
      times.push_back((Now() - start) * 1e6);
    }
    return Median(std::move(times));
  };
  Compare(
      "slab_100x100", "us p50", 3, true, [&] { return p50(slab); }, [&] { return p50(empty); });
}

constexpr int kSmallClients = 4, kSmallBatch = 64, kSmallBatches = 60;
constexpr size_t kSmallBytes = 16 << 10;
constexpr size_t kSmallTotal = size_t{kSmallClients} * kSmallBatch * kSmallBatches;

// The same work in this process: hash, append, sync, rows, one transaction a batch.
double PutSmallFloor(const std::string& folder, std::atomic<uint64_t>& seed) {
  SQLite::Database database(folder + "/floor.db", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  database.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
      "CREATE TABLE IF NOT EXISTS blobs (id INTEGER PRIMARY KEY, key BLOB, dtype TEXT, "
      "shape TEXT, size INTEGER, location TEXT, checksums BLOB);"
      "CREATE INDEX IF NOT EXISTS blob_key ON blobs (key)");
  // A new file, with its space reserved, as a pack: writing over pages that are there costs less.
  const int fd = open((folder + "/floor.pack").c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (fd < 0 || posix_fallocate(fd, 0, kSmallTotal * kSmallBytes) != 0) {
    throw std::runtime_error("the floor's file");
  }
  WarmPageCache(folder, kSmallTotal * kSmallBytes * 5 / 4);
  std::mutex mutex;
  std::atomic<uint64_t> end{0};
  const double start = Now();
  std::vector<std::thread> threads;
  for (int t = 0; t < kSmallClients; ++t) {
    threads.emplace_back([&] {
      std::string bytes = Noise(kSmallBytes, 5);
      for (int b = 0; b < kSmallBatches; ++b) {
        std::vector<Digest> keys;
        const uint64_t at = end.fetch_add(kSmallBatch * kSmallBytes);
        for (int i = 0; i < kSmallBatch; ++i) {
          const uint64_t n = ++seed;
          std::memcpy(bytes.data(), &n, sizeof n);
          keys.push_back(BlobKey("float64", {kSmallBytes / 8}, bytes));
          (void)!pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at + i * kSmallBytes));
        }
        fdatasync(fd);
        std::lock_guard lock(mutex);
        SQLite::Transaction transaction(database);
        SQLite::Statement insert(database,
                                 "INSERT INTO blobs (key, dtype, shape, size, location, checksums) "
                                 "VALUES (?, 'float64', '2048', 16384, 'pack:o:1', ?)");
        for (const Digest& key : keys) {
          insert.bindNoCopy(1, key.view().data(), 32);
          insert.bindNoCopy(2, key.view().data(), 16);
          insert.exec();
          insert.reset();
        }
        transaction.commit();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  close(fd);
  return kSmallTotal / (Now() - start);
}

double PutSmallTiffin(std::vector<std::unique_ptr<v1::Blobs::Stub>>& stubs,
                      std::atomic<uint64_t>& seed) {
  std::atomic<bool> failed{false};
  const double start = Now();
  std::vector<std::thread> threads;
  for (auto& stub : stubs) {
    threads.emplace_back([&] {
      const std::string bytes = Noise(kSmallBytes, 5);
      grpc::ClientContext context;
      const auto stream = stub->BatchPut(&context);
      for (int b = 0; b < kSmallBatches; ++b) {
        v1::BatchPutRequest request;
        for (int i = 0; i < kSmallBatch; ++i) {
          v1::BatchPutRequest::Item* item = request.add_items();
          item->mutable_name()->set_dtype("float64");
          item->mutable_name()->add_shape(kSmallBytes / 8);
          item->set_data(bytes);
          const uint64_t n = ++seed;
          std::memcpy(item->mutable_data()->data(), &n, sizeof n);
        }
        v1::BatchPutResponse response;
        if (!stream->Write(request) || !stream->Read(&response)) failed = true;
        if (response.items_size() != kSmallBatch) failed = true;
        for (const auto& item : response.items()) {
          if (item.status().code() != 0) failed = true;
        }
      }
      stream->WritesDone();
      if (!stream->Finish().ok()) failed = true;
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (failed) throw std::runtime_error("a batch failed");
  return kSmallTotal / (Now() - start);
}

TIFFIN_BENCH(put_small) {
  const OwnServer tiffin = OwnServer::Tiffin();
  const OwnServer floor = OwnServer::Floor();  // for its folder
  std::vector<std::unique_ptr<RawClient>> clients;
  std::vector<std::unique_ptr<v1::Blobs::Stub>> stubs;
  for (int i = 0; i < kSmallClients; ++i) {
    clients.push_back(std::make_unique<RawClient>(tiffin.address()));
    Wait(*clients.back());
    stubs.push_back(v1::Blobs::NewStub(clients.back()->channel()));
  }
  std::atomic<uint64_t> seed{0};
  const auto put = [&] {
    WarmPageCache(floor.folder(), kSmallTotal * kSmallBytes * 5 / 4);
    const double rate = PutSmallTiffin(stubs, seed);
    // Sealing waits for a pause: now, so that the floor is not measured beside it.
    grpc::ClientContext context;
    v1::SealResponse sealed;
    const auto admin = v1::Admin::NewStub(clients[0]->channel());
    if (!admin->Seal(&context, {}, &sealed).ok()) throw std::runtime_error("sealing failed");
    return rate;
  };
  Compare("put_small", "arrays/s", 0.4, false, put,
          [&] { return PutSmallFloor(floor.folder(), seed); });
}

TIFFIN_BENCH(rss_stream) {
  constexpr int kBlobs = 8;
  const OwnServer tiffin = OwnServer::Tiffin();
  RawClient client(tiffin.address());
  Wait(client);
  std::string bytes = Noise(kGiB, 6);
  const auto round = [&](uint64_t number) {
    std::memcpy(bytes.data(), &number, sizeof number);
    const v1::BlobName name = client.Put(HeaderOf({kGiB / 8}, bytes), bytes).name();
    (void)client.Deref(DerefOf(name, kGiB), [](std::string_view) {});
  };
  round(0);  // threads and pools are there
  const double before = tiffin.AnonymousBytes();
  std::atomic<bool> over{false};
  double most = before;
  std::thread watcher([&] {
    while (!over) {
      most = std::max(most, tiffin.AnonymousBytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  for (int i = 1; i <= kBlobs; ++i) round(i);
  over = true;
  watcher.join();
  Report({.name = "rss_stream",
          .value = (most - before) / kMiB,
          .unit = "MiB",
          .bar = 64,
          .at_most = true});
}

}  // namespace
}  // namespace tiffin::bench
