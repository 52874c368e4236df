#include "server/service/deref_stream.h"

#include <sys/stat.h>

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "common/status.h"
#include "server/service/convert.h"
#include "server/service/raw_messages.h"
#include "server/store/blob_download.h"
#include "tiffin/v1/blobs.pb.h"

namespace tiffin::server {
namespace {

// A request for a blob by its name, with a slab; one with a record may take long to read.
constexpr size_t kSmallRequest = 4096;
// What a download may hold in memory: two pieces that were gathered.
constexpr uint64_t kGathered = uint64_t{2} << 20;

absl::StatusOr<DownloadRange> RangeOf(const v1::DerefRequest& request) {
  DownloadRange range;
  range.offset = request.offset();
  if (request.has_limit()) range.limit = request.limit();
  range.npy = request.format() == v1::DEREF_NPY;
  if (!v1::DerefFormat_IsValid(request.format())) {
    return absl::InvalidArgumentError(StrCat("format: ", static_cast<int>(request.format())));
  }
  if (request.has_slab()) {
    range.slab.emplace();
    for (const v1::Slab::Dimension& d : request.slab().dimensions()) {
      range.slab->push_back({d.start(), d.count(), d.stride() == 0 ? 1 : d.stride()});
    }
  }
  return range;
}

// One step is under way at a time: started by Begin, then by each OnWriteDone. What is at hand is
// sent from gRPC's own thread, all else is brought in elsewhere; so is what is found damaged, once
// more, as that is to be written down.
class DerefReactor : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                     public OpenStream,
                     public std::enable_shared_from_this<DerefReactor> {
 public:
  DerefReactor(Calls* calls, BlobCatalogue* blobs, const Limits& limits, bool allow_local,
               grpc::CallbackServerContext* context, const grpc::ByteBuffer* request)
      : calls_(calls),
        blobs_(blobs),
        limits_(limits),
        allow_local_(allow_local),
        call_(context),
        request_(request) {}

  void Begin(std::atomic<bool>* opening_here) {
    self_ = shared_from_this();
    added_ = true;  // before a drain can end it
    if (!calls_->Add(self_)) {
      added_ = false;
      return End(DrainingStatus());
    }
    // Opened here, one at a time: that costs less than handing it over.
    if (request_->Length() <= kSmallRequest && !opening_here->exchange(true)) {
      Open(IfDamaged::kOnlyTell);
      *opening_here = false;
    } else {
      OpenElsewhere();
    }
  }
  // Noticed before the next piece.
  void Drain() override {
    drained_ = true;
    stop_ = true;
  }
  // A write that the client does not read can only be cancelled.
  void MakeRoom() override {
    if (writing_) call_.Cancel();
  }
  void OnCancel() override { Cancel(); }
  void OnWriteDone(bool ok) override {
    Touch();
    writing_ = false;
    if (!ok) Cancel();
    if (stop_ || download_->AtHand()) {
      Send(IfDamaged::kOnlyTell);
    } else {
      SendElsewhere();
    }
  }
  void OnDone() override {
    call_.Forget();
    if (added_) calls_->Remove(self_);
    calls_->Log("Deref", caller_, status_, absl::Now() - start_);
    self_.reset();  // may delete this
  }

 private:
  void Cancel() {
    cancelled_ = true;
    stop_ = true;
  }

  // From now on it is the client that it waits for.
  void BeginWrite() {
    Touch();
    writing_ = true;
  }

  void OpenElsewhere() {
    calls_->reads().Add([self = self_, this] { Open(IfDamaged::kReport); });
  }

  void Open(IfDamaged if_damaged) {
    v1::DerefResponse response;
    const absl::Status status = OpenBlob(response.mutable_header(), if_damaged);
    if (IsForElsewhere(status, if_damaged)) return OpenElsewhere();
    if (!status.ok()) return End(ToGrpc(status));
    if (!response.header().has_local()) {
      share_ = calls_->memory().Take(kGathered);
      if (!share_) return End(TooMuchInFlight());
    }
    if (first_with_header_ && !response.header().has_local() && !download_->done() &&
        download_->AtHand()) {
      const absl::StatusOr<std::vector<BlobSlice>> first = download_->Next(if_damaged, stop_);
      if (IsForElsewhere(first.status(), if_damaged)) return OpenElsewhere();
      if (!first.ok()) return End(ToGrpc(first.status()));
      message_ = HeaderMessage(response.header(), *first);
    } else if (!WriteMessage(response, &message_).ok()) {
      return End(grpc::Status(grpc::StatusCode::INTERNAL, "the header cannot be written"));
    }
    if (response.header().has_local() || download_->done()) return EndWith(message_);
    // Without a buffer hint: such a write is done only when something else goes out.
    BeginWrite();
    StartWrite(&message_);
  }

  static bool IsForElsewhere(const absl::Status& status, IfDamaged if_damaged) {
    return absl::IsDataLoss(status) && if_damaged == IfDamaged::kOnlyTell;
  }

  absl::Status OpenBlob(v1::DerefResponse::Header* header, IfDamaged if_damaged) {
    v1::DerefRequest request;
    if (!ReadMessage(*request_, &request).ok()) {
      return absl::InvalidArgumentError("the request is no DerefRequest");
    }
    caller_ = request.caller();
    first_with_header_ = request.first_with_header();
    TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(caller_));
    TIFFIN_ASSIGN_OR_RETURN(const BlobAddress address, FromProto(request.ref(), limits_, "ref"));
    TIFFIN_ASSIGN_OR_RETURN(const DownloadRange range, RangeOf(request));
    TIFFIN_ASSIGN_OR_RETURN(BlobView blob, blobs_->Find(caller.name_space, address));
    TIFFIN_ASSIGN_OR_RETURN(download_,
                            BlobDownload::Make(blobs_, std::move(blob), range, if_damaged));
    ToProto(download_->blob().row.name, header->mutable_name());
    header->set_size(download_->blob().row.size);
    header->set_length(download_->length());
    header->set_json(download_->blob().json);
    header->mutable_shape()->Assign(download_->shape().begin(), download_->shape().end());
    if (request.local() && allow_local_) TellPlace(header);
    return absl::OkStatus();
  }

  void TellPlace(v1::DerefResponse::Header* header) {
    const std::optional<FilePlace> place = download_->File();
    struct stat file;
    if (!place || stat(place->path.c_str(), &file) != 0) return;
    v1::LocalPlace* local = header->mutable_local();
    local->set_path(place->path);
    local->set_offset(place->offset);
    local->set_file_size(static_cast<uint64_t>(file.st_size));
    local->set_inode(file.st_ino);
    header->set_length(0);
  }

  void SendElsewhere() {
    calls_->streams().Add([self = self_, this] { Send(IfDamaged::kReport); });
  }

  void Send(IfDamaged if_damaged) {
    if (cancelled_) return End(grpc::Status::CANCELLED);
    if (drained_) return End(DrainingStatus());
    const absl::StatusOr<std::vector<BlobSlice>> piece = download_->Next(if_damaged, stop_);
    if (IsForElsewhere(piece.status(), if_damaged)) return SendElsewhere();
    if (!piece.ok()) return End(ToGrpc(piece.status()));
    message_ = ChunkMessage(*piece);
    if (download_->done()) return EndWith(message_);
    BeginWrite();
    StartWrite(&message_);
  }

  void End(grpc::Status status) {
    status_ = status;
    const auto self = self_;  // OnDone may come before Finish returns
    Finish(std::move(status));
  }
  void EndWith(grpc::ByteBuffer& last) {
    status_ = grpc::Status::OK;
    const auto self = self_;
    BeginWrite();
    StartWriteAndFinish(&last, grpc::WriteOptions(), grpc::Status::OK);
  }

  Calls* const calls_;
  BlobCatalogue* const blobs_;
  const Limits& limits_;
  const bool allow_local_;
  Cancellable call_;
  const grpc::ByteBuffer* const request_;
  const absl::Time start_ = absl::Now();
  std::shared_ptr<DerefReactor> self_;
  bool added_ = false;
  std::atomic<bool> drained_{false}, cancelled_{false};
  std::atomic<bool> stop_{false};     // one of the two
  std::atomic<bool> writing_{false};  // until the client has taken the message
  ByteBudget::Share share_;
  v1::Caller caller_;
  bool first_with_header_ = false;
  std::unique_ptr<BlobDownload> download_;
  grpc::ByteBuffer message_;
  grpc::Status status_;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartDeref(Calls* calls, BlobCatalogue* blobs,
                                                       const Limits& limits, bool allow_local,
                                                       grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request,
                                                       std::atomic<bool>* opening_here) {
  auto reactor =
      std::make_shared<DerefReactor>(calls, blobs, limits, allow_local, context, request);
  reactor->Begin(opening_here);
  return reactor.get();
}

}  // namespace tiffin::server
