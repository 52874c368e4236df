#include "tests/support/server_process.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <thread>
#include <utility>

namespace tiffin::testing {

ServerProcess::ServerProcess(std::vector<std::string> command) {
  int ends[2];
  if (::pipe(ends) != 0) std::abort();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(ends[1], 2);
    ::close(ends[0]);
    ::close(ends[1]);
    std::vector<char*> arguments;
    for (std::string& word : command) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  log_ = ends[0];
  std::string text;
  char c;
  while (::read(log_, &c, 1) == 1) {
    text += c;
    if (c != '\n') continue;
    const size_t at = text.find("event=serving address=");
    if (at != std::string::npos) {
      address_ = text.substr(at + std::strlen("event=serving address="));
      address_ = address_.substr(0, address_.find_first_of(" \n"));
      // The rest is read away, so that the server never waits for us.
      std::thread([fd = log_] {
        char rest[4096];
        while (::read(fd, rest, sizeof rest) > 0) {
        }
        ::close(fd);
      }).detach();
      return;
    }
    text.clear();
  }
  std::cerr << command[0] << " did not start" << std::endl;
  std::abort();
}

std::unique_ptr<ServerProcess> ServerProcess::Tiffin(const std::string& data,
                                                     const std::vector<std::string>& flags) {
  const char* binary = std::getenv("TIFFIN_SERVER_BINARY");
  std::vector<std::string> command = {binary ? binary : TIFFIN_SERVER_DEFAULT, "--data", data,
                                      "--listen", "127.0.0.1:0"};
  command.insert(command.end(), flags.begin(), flags.end());
  return std::make_unique<ServerProcess>(std::move(command));
}

void ServerProcess::Stop(int signal) {
  if (pid_ == 0) return;
  ::kill(pid_, signal);
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

std::shared_ptr<grpc::Channel> ServerProcess::Connect() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.enable_retries", 0);
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  arguments.SetMaxReceiveMessageSize(20 << 20);
  return grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace tiffin::testing
