// Bytes in flight, counted and capped.
#ifndef TIFFIN_SERVER_SERVICE_BYTE_BUDGET_H_
#define TIFFIN_SERVER_SERVICE_BYTE_BUDGET_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

namespace tiffin::server {

// Threads: all methods may be called from any thread.
class ByteBudget {
 public:
  // `refused` is called by each Take that finds too little left, on its thread.
  explicit ByteBudget(uint64_t bytes, std::function<void()> refused = nullptr)
      : limit_(bytes), refused_(std::move(refused)) {}

  // Bytes that were taken; given back by destruction.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept
        : budget_(std::exchange(other.budget_, nullptr)), bytes_(other.bytes_) {}
    Share& operator=(Share&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Share() {
      if (budget_) budget_->used_ -= bytes_;
    }
    explicit operator bool() const { return budget_ != nullptr; }
    uint64_t bytes() const { return bytes_; }

   private:
    friend class ByteBudget;
    Share(ByteBudget* budget, uint64_t bytes) : budget_(budget), bytes_(bytes) {}
    ByteBudget* budget_ = nullptr;
    uint64_t bytes_ = 0;
  };

  // False as a bool: there are not so many left. Nothing, and a lone share, always fit.
  Share Take(uint64_t bytes) {
    uint64_t used = used_;
    do {
      if (bytes > 0 && used > 0 && (bytes > limit_ || used > limit_ - bytes)) {
        if (refused_) refused_();
        return Share();
      }
    } while (!used_.compare_exchange_weak(used, used + bytes));
    return Share(this, bytes);
  }
  // Whatever is left.
  Share Charge(uint64_t bytes) {
    used_ += bytes;
    return Share(this, bytes);
  }
  uint64_t used() const { return used_; }
  uint64_t limit() const { return limit_; }

 private:
  const uint64_t limit_;
  const std::function<void()> refused_;
  std::atomic<uint64_t> used_{0};
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_BYTE_BUDGET_H_
