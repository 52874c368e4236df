#include "server/service/jobs_service.h"

#include <algorithm>

#include "common/base64.h"
#include "common/status.h"
#include "server/service/convert.h"

namespace tiffin::server {
namespace {

constexpr uint32_t kDefaultPage = 100, kMaxPage = 1000;
// Calls of so many bytes are read on gRPC's thread: handing them over would cost more.
constexpr size_t kSmallCall = 16 << 10;

// Page tokens: profile NUL name of the last entry told, so that pages stay right whatever is set or
// deleted meanwhile.
std::string TokenOf(const AliasKey& alias) {
  return Base64UrlEncode(alias.profile + '\0' + alias.name);
}
absl::StatusOr<AliasKey> FromToken(const std::string& token) {
  if (token.empty()) return AliasKey();
  const std::optional<std::string> text = Base64UrlDecode(token);
  const size_t at = text ? text->find('\0') : std::string::npos;
  if (at == std::string::npos) {
    return absl::InvalidArgumentError("list.page_token: not one that this server gave");
  }
  return AliasKey{text->substr(0, at), text->substr(at + 1)};
}

absl::Status ListAliases(JobStore& store, const std::string& name_space,
                         const v1::AliasRequest::List& list, v1::AliasResponse* response) {
  if (list.page_size() > kMaxPage) {
    return absl::InvalidArgumentError(
        StrCat("list.page_size: ", list.page_size(), ", the limit is ", kMaxPage));
  }
  const int size = static_cast<int>(list.page_size() == 0 ? kDefaultPage : list.page_size());
  TIFFIN_ASSIGN_OR_RETURN(const AliasKey after, FromToken(list.page_token()));
  TIFFIN_ASSIGN_OR_RETURN(const JobStore::AliasPage page,
                          store.ListAliases(name_space, list.profile(), after, size));
  for (const JobStore::AliasEntry& entry : page.aliases) {
    v1::AliasResponse::Entry* out = response->add_aliases();
    out->mutable_alias()->set_profile(entry.alias.profile);
    out->mutable_alias()->set_name(entry.alias.name);
    out->set_key(std::string(entry.key.view()));
  }
  if (!page.next.profile.empty()) response->set_next_page_token(TokenOf(page.next));
  return absl::OkStatus();
}

absl::StatusOr<AliasKey> AliasFromProto(const v1::AliasName& alias, std::string_view where) {
  if (alias.profile().empty() || alias.profile().size() > 128) {
    return absl::InvalidArgumentError(StrCat(where, ".profile: must have 1 to 128 bytes"));
  }
  if (alias.name().empty() || alias.name().size() > 1024) {
    return absl::InvalidArgumentError(StrCat(where, ".name: must have 1 to 1024 bytes"));
  }
  if (alias.profile().find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(StrCat(where, ".profile: a NUL"));
  }
  return AliasKey{alias.profile(), alias.name()};
}

}  // namespace

absl::Status ApplyBulk(JobStore& store, std::string_view name_space, v1::Bulk bulk,
                       v1::Result* result) {
  if (bulk != v1::BULK_INLINE || !result->has_record()) return absl::OkStatus();
  TIFFIN_ASSIGN_OR_RETURN(std::string json, store.Inline(name_space, result->record().json()));
  result->mutable_record()->set_json(std::move(json));
  return absl::OkStatus();
}

absl::StatusOr<SubmitOptions> OptionsFromProto(const v1::SubmitOptions& options,
                                               const Limits& limits) {
  SubmitOptions out;
  out.can_compute = options.can_compute();
  out.discard_result = options.discard_result();
  TIFFIN_ASSIGN_OR_RETURN(
      out.term, TermFromProto(options.has_term(), options.term(), limits, "options.term"));
  if (options.has_answer_failures()) {
    out.answer_failures = absl::Seconds(options.answer_failures().seconds()) +
                          absl::Nanoseconds(options.answer_failures().nanos());
    if (out.answer_failures < absl::ZeroDuration()) {
      return absl::InvalidArgumentError("options.answer_failures: negative");
    }
  }
  return out;
}

absl::Status Answer(JobStore& store, const CallerInfo& caller, const SubmitAnswer& answer,
                    v1::Bulk bulk, v1::SubmitResponse* response) {
  ToProto(answer, response);
  if (response->has_result()) {
    TIFFIN_RETURN_IF_ERROR(ApplyBulk(store, caller.name_space, bulk, response->mutable_result()));
  }
  if (response->has_workflow()) {
    // With refs if it cannot be inline: an error would lose the lease.
    ApplyBulk(store, caller.name_space, bulk, response->mutable_workflow()).IgnoreError();
  }
  return absl::OkStatus();
}

JobsService::JobsService(JobStore* store, JobHistory* history, Calls* calls)
    : store_(store),
      history_(history),
      calls_(calls),
      gets_(std::make_shared<GroupedGets>(store, &calls->reads())) {
  CountMessages(this, &JobsService::SetMessageAllocatorFor_Submit);
  CountMessages(this, &JobsService::SetMessageAllocatorFor_GetResult);
  CountMessages(this, &JobsService::SetMessageAllocatorFor_Renew);
  CountMessages(this, &JobsService::SetMessageAllocatorFor_Release);
  CountMessages(this, &JobsService::SetMessageAllocatorFor_StoreResult);
  CountMessages(this, &JobsService::SetMessageAllocatorFor_Link);
  CountMessages(this, &JobsService::SetMessageAllocatorFor_Alias);
  CountMessages(this, &JobsService::SetMessageAllocatorFor_GetJob);
  CountMessages(this, &JobsService::SetMessageAllocatorFor_ListJobs);
  CountMessages(this, &JobsService::SetMessageAllocatorFor_Invalidate);
  CountMessages(this, &JobsService::SetMessageAllocatorFor_Explain);
}

grpc::ServerUnaryReactor* JobsService::Submit(grpc::CallbackServerContext* context,
                                              const v1::SubmitRequest* request,
                                              v1::SubmitResponse* response) {
  struct Parsed {
    CallerInfo caller;
    SubmitOptions options;
    PreparedJob job;
  };
  const auto parsed = std::make_shared<Parsed>();
  const auto answer = [=, this](const SubmitAnswer& found) {
    return Answer(*store_, parsed->caller, found, request->options().bulk(), response);
  };
  // A hit is found among the reads and never waits for a write.
  const auto look = [=, this]() -> absl::StatusOr<bool> {
    TIFFIN_ASSIGN_OR_RETURN(parsed->caller, FromProto(request->caller()));
    TIFFIN_ASSIGN_OR_RETURN(parsed->options,
                            OptionsFromProto(request->options(), store_->limits()));
    parsed->options.gone = [context] { return context->IsCancelled(); };
    TIFFIN_ASSIGN_OR_RETURN(const std::string_view json, JsonOf(request->job(), "job"));
    TIFFIN_ASSIGN_OR_RETURN(parsed->job, store_->Prepare(json));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<SubmitAnswer> found,
                            store_->SubmitHit(parsed->caller, parsed->job));
    if (!found) return false;
    TIFFIN_RETURN_IF_ERROR(answer(*found));
    return true;
  };
  const auto change = [=, this](const Calls::Finish& finish) {
    store_->SubmitMiss(parsed->caller, std::move(parsed->job), parsed->options, Blocking(),
                       [=, this](absl::StatusOr<SubmitAnswer> found) {
                         Answers(request->options().bulk()).Add([=, found = std::move(found)] {
                           finish(ToGrpc(found.ok() ? answer(*found) : found.status()));
                         });
                       });
  };
  return calls_->UnaryLater(context, "Submit", request, response, &calls_->reads(),
                            [=, this](const Calls::Finish& finish) {
                              const absl::StatusOr<bool> hit = look();
                              if (!hit.ok() || *hit) return finish(ToGrpc(hit.status()));
                              change(finish);
                            });
}

// Bulk goes to the disk before the row that names it.
JobStore::Blocking JobsService::Blocking() {
  return [this](std::function<void()> wait) { calls_->writes().Add(std::move(wait)); };
}

// Bulk that goes back inline is read from the disk.
Executor& JobsService::Answers(v1::Bulk bulk) {
  return bulk == v1::BULK_INLINE ? calls_->streams() : calls_->answers();
}

grpc::ServerUnaryReactor* JobsService::GetResult(grpc::CallbackServerContext* context,
                                                 const v1::GetResultRequest* request,
                                                 v1::GetResultResponse* response) {
  const auto answer = [=, this](const FoundResult& found) {
    response->set_key(std::string(found.key.view()));
    ToProto(found.result, response->mutable_result());
  };
  if (request->bulk() == v1::BULK_INLINE) {
    return calls_->Unary(context, "GetResult", request, response, calls_->reads(), [=, this] {
      return ToGrpc([&]() -> absl::Status {
        TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
        TIFFIN_ASSIGN_OR_RETURN(const JobAddress address, FromProto(request->job(), "job"));
        TIFFIN_ASSIGN_OR_RETURN(const auto found, store_->GetResult(caller.name_space, address));
        answer(*found);
        return ApplyBulk(*store_, caller.name_space, request->bulk(), response->mutable_result());
      }());
    });
  }
  return calls_->UnaryLater(
      context, "GetResult", request, response, nullptr, [=, this](const Calls::Finish& finish) {
        const absl::StatusOr<CallerInfo> caller = FromProto(request->caller());
        if (!caller.ok()) return finish(ToGrpc(caller.status()));
        const absl::StatusOr<JobAddress> address = FromProto(request->job(), "job");
        if (!address.ok()) return finish(ToGrpc(address.status()));
        // What is hot is answered on gRPC's thread: it costs less than handing it over.
        const auto* key = std::get_if<Digest>(&*address);
        if (const auto hot = key ? store_->FindHot(caller->name_space, *key) : nullptr) {
          answer(*hot);
          return finish(grpc::Status::OK);
        }
        gets_->Add({caller->name_space, *address, [=](const JobStore::Found& found) {
                      if (found.ok()) answer(**found);
                      finish(ToGrpc(found.status()));
                    }});
      });
}

grpc::ServerUnaryReactor* JobsService::Renew(grpc::CallbackServerContext* context,
                                             const v1::RenewRequest* request,
                                             v1::RenewResponse* response) {
  return calls_->Unary(context, "Renew", request, response, calls_->reads(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_RETURN_IF_ERROR(FromProto(request->caller()).status());
      TIFFIN_RETURN_IF_ERROR(CheckBatch(request->leases_size(), store_->limits(), "leases"));
      const std::vector<std::string> leases(request->leases().begin(), request->leases().end());
      for (const Renewal renewal : store_->Renew(leases, request->progress())) {
        switch (renewal) {
          case Renewal::kRenewed:
            response->add_outcomes(v1::RenewResponse::RENEWED);
            break;
          case Renewal::kDoneElsewhere:
            response->add_outcomes(v1::RenewResponse::DONE_ELSEWHERE);
            break;
          case Renewal::kLost:
            response->add_outcomes(v1::RenewResponse::LOST);
            break;
        }
      }
      return absl::OkStatus();
    }());
  });
}

grpc::ServerUnaryReactor* JobsService::Release(grpc::CallbackServerContext* context,
                                               const v1::ReleaseRequest* request,
                                               v1::ReleaseResponse* response) {
  return calls_->Unary(context, "Release", request, response, calls_->writes(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      TIFFIN_RETURN_IF_ERROR(CheckBatch(request->leases_size(), store_->limits(), "leases"));
      TIFFIN_RETURN_IF_ERROR(CheckBatch(request->keys_size(), store_->limits(), "keys"));
      std::vector<Digest> keys;
      for (int i = 0; i < request->keys_size(); ++i) {
        TIFFIN_ASSIGN_OR_RETURN(const Digest key,
                                KeyFromProto(request->keys(i), StrCat("keys[", i, "]")));
        keys.push_back(key);
      }
      TIFFIN_ASSIGN_OR_RETURN(const size_t released, store_->Release({request->leases().begin(),
                                                                      request->leases().end()}));
      TIFFIN_ASSIGN_OR_RETURN(const size_t forced,
                              store_->ForceRelease(caller.name_space, std::move(keys)));
      response->set_released(static_cast<uint32_t>(released + forced));
      return absl::OkStatus();
    }());
  });
}

grpc::ServerUnaryReactor* JobsService::StoreResult(grpc::CallbackServerContext* context,
                                                   const v1::StoreResultRequest* request,
                                                   v1::StoreResultResponse* response) {
  const auto answered = [=](const absl::Status& status, const StoreAnswer& answer) {
    if (!status.ok()) return ToGrpc(status, answer.missing);
    response->set_key(std::string(answer.key.view()));
    response->set_digest(std::string(answer.digest.view()));
    response->set_repeated_store(answer.repeated);
    for (const BlobName& blob : answer.blobs) ToProto(blob, response->add_stored_blobs());
    return grpc::Status::OK;
  };
  const bool small = request->ByteSizeLong() <= kSmallCall;
  return calls_->UnaryLater(
      context, "StoreResult", request, response, small ? nullptr : &calls_->writes(),
      [=, this](const Calls::Finish& finish) {
        const absl::StatusOr<CallerInfo> caller = FromProto(request->caller());
        if (!caller.ok()) return finish(ToGrpc(caller.status()));
        absl::StatusOr<StoreRequest> store = FromProto(*request);
        if (!store.ok()) return finish(ToGrpc(store.status()));
        store_->StoreResult(*caller, *std::move(store), Blocking(),
                            [=, this](const absl::Status& status, StoreAnswer answer) {
                              calls_->answers().Add([=, answer = std::move(answer)] {
                                finish(answered(status, answer));
                              });
                            });
      });
}

grpc::ServerUnaryReactor* JobsService::Link(grpc::CallbackServerContext* context,
                                            const v1::LinkRequest* request,
                                            v1::LinkResponse* response) {
  return calls_->Unary(context, "Link", request, response, calls_->writes(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      TIFFIN_ASSIGN_OR_RETURN(const Digest key, KeyFromProto(request->key(), "key"));
      TIFFIN_ASSIGN_OR_RETURN(const Digest target, KeyFromProto(request->target(), "target"));
      return store_->Link(caller, key, request->lease(), target);
    }());
  });
}

grpc::ServerUnaryReactor* JobsService::Alias(grpc::CallbackServerContext* context,
                                             const v1::AliasRequest* request,
                                             v1::AliasResponse* response) {
  Executor& executor = request->has_list() ? calls_->reads() : calls_->writes();
  return calls_->Unary(context, "Alias", request, response, executor, [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      if (request->has_set()) {
        TIFFIN_ASSIGN_OR_RETURN(const AliasKey alias,
                                AliasFromProto(request->set().alias(), "set.alias"));
        TIFFIN_ASSIGN_OR_RETURN(const Digest key, KeyFromProto(request->set().key(), "set.key"));
        return store_->SetAlias(caller, alias, key, request->set().replace());
      }
      if (request->has_delete_()) {
        TIFFIN_ASSIGN_OR_RETURN(const AliasKey alias, AliasFromProto(request->delete_(), "delete"));
        return store_->DeleteAlias(caller.name_space, alias);
      }
      if (!request->has_list())
        return absl::InvalidArgumentError("action: none of set, list, delete");
      return ListAliases(*store_, caller.name_space, request->list(), response);
    }());
  });
}

}  // namespace tiffin::server
