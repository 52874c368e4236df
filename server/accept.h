// Accepting connections when descriptors are short.
#ifndef TIFFIN_SERVER_ACCEPT_H_
#define TIFFIN_SERVER_ACCEPT_H_

namespace tiffin::server {

// gRPC 1.51 closes its listening socket for good when accept4 fails for want of a descriptor:
// nobody could connect until a restart. Once this was called, accept4 closes such a connection
// instead, and tells gRPC that there was none: clients try again. To be called before the server
// listens; keeps a descriptor of its own for that.
void KeepAccepting();

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_ACCEPT_H_
