#include "src/teacher/process_identity.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <optional>
#include <sstream>

#include "wandistill/error.h"

namespace wandistill {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string pid_namespace() {
  char target[64] = {};
  return ::readlink("/proc/self/ns/pid", target, sizeof target - 1) > 0 ? target : "";
}

struct ProcessState {
  char state;       // 'R', 'S', ..., 'Z': ended, but its parent has not asked yet
  int64_t started;  // clock ticks after the boot
};

/// From /proc/PID/stat: "pid (name) state ...", the name with any characters; the start is field 22.
std::optional<ProcessState> state_of(int64_t pid) {
  const std::string line = first_line(cat("/proc/", pid, "/stat"));
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(name_end + 1));
  ProcessState state{};
  std::string skipped;
  fields >> state.state;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  fields >> state.started;
  return fields ? std::optional(state) : std::nullopt;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

}  // namespace

Json process_identity() {
  const std::optional<ProcessState> state = state_of(::getpid());
  return {{"host", host_name()},
          {"boot", first_line("/proc/sys/kernel/random/boot_id")},
          {"pid_namespace", pid_namespace()},
          {"pid", int64_t(::getpid())},
          {"started", state ? state->started : 0}};
}

bool process_ended(const Json& identity) {
  const Json ours = process_identity();
  for (const char* key : {"boot", "pid_namespace"})
    if (ours[key] == "" || !identity.contains(key) || identity[key] != ours[key]) return false;
  if (!identity.contains("pid") || !identity["pid"].is_number_integer()) return false;
  const int64_t pid = identity["pid"];
  if (::kill(pid_t(pid), 0) != 0 && errno == ESRCH) return true;
  const std::optional<ProcessState> state = state_of(pid);  // may be hidden from us
  return state && (state->state == 'Z' || state->state == 'X' ||
                   identity.value("started", int64_t{-1}) != state->started);
}

}  // namespace wandistill
