// A service out of gRPC's generated parts, one for each rpc: which of them takes messages, and
// which gRPC's buffers as they are.
#ifndef TIFFIN_SERVER_SERVICE_METHODS_H_
#define TIFFIN_SERVER_SERVICE_METHODS_H_

namespace tiffin::server {

// Methods<S, A, B> is A<B<S>>.
template <typename Service, template <typename> typename... Parts>
struct MethodsOf {
  using Type = Service;
};
template <typename Service, template <typename> typename Part,
          template <typename> typename... Parts>
struct MethodsOf<Service, Part, Parts...> {
  using Type = Part<typename MethodsOf<Service, Parts...>::Type>;
};
template <typename Service, template <typename> typename... Parts>
using Methods = typename MethodsOf<Service, Parts...>::Type;

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_METHODS_H_
