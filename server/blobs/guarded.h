// Reading mapped memory and living on: touching a mapping whose file was cut, or cannot be read,
// raises SIGBUS.
#ifndef TIFFIN_SERVER_BLOBS_GUARDED_H_
#define TIFFIN_SERVER_BLOBS_GUARDED_H_

#include <memory>
#include <type_traits>

namespace tiffin::server {

// False if SIGBUS cut `touch` short. It may only read and write memory: what it had locked or
// allocated would stay so. Threads: any. The first call of the process installs the handler; a
// SIGBUS outside of `touch` does what it did before.
bool RunGuarded(void (*touch)(void*), void* context);

template <typename Touch>
bool Guarded(Touch&& touch) {
  using Plain = std::remove_reference_t<Touch>;
  return RunGuarded([](void* context) { (*static_cast<Plain*>(context))(); },
                    const_cast<void*>(static_cast<const void*>(std::addressof(touch))));
}

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_GUARDED_H_
