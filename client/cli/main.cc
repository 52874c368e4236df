// The `tiffin` program. README.md in this folder shows its commands.
#include <unistd.h>

#include <exception>
#include <iostream>

#include "client/cli/context.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  const tiffin::cli::Environment environment{.in = std::cin,
                                             .out = std::cout,
                                             .err = std::cerr,
                                             .terminal = isatty(STDERR_FILENO) == 1,
                                             .connect = tiffin::MakeGrpcConnection};
  try {
    return tiffin::cli::RunCli({argv + 1, argv + argc}, environment);
  } catch (const std::exception& error) {  // out of memory, and what libraries throw
    std::cerr << "tiffin: INTERNAL: " << error.what() << std::endl;
    return tiffin::cli::kRefused;
  }
}
