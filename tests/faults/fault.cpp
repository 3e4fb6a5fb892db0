#include "tests/faults/fault.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <mutex>
#include <sstream>
#include <thread>
#include <vector>

#include "wandistill/fault.h"

namespace wandistill {
namespace {

constexpr const char* kActions[] = {"fail", "delay", "slow", "kill", "log"};
constexpr const char* kPoints[] = {"read",       "write", "rename",  "allocation", "collective", "start",
                                   "prompt",     "batch", "latents", "denoising",  "decode",     "step",
                                   "checkpoint", "log",   "sample",  "noise",      "sum",        "clock"};

struct Fault {
  std::string action, point;
  int64_t rank = -1, n = 0, id = -1, over = -1;
  double seconds = 0, factor = 1;
  int64_t visits = 0;
};

[[noreturn]] void refuse(const std::string& item, const std::string& why) {
  std::fprintf(stderr, "WANDISTILL_FAULT: '%s': %s (tests/faults/fault.h)\n", item.c_str(), why.c_str());
  std::_Exit(2);
}

template <size_t N>
bool among(const std::string& name, const char* const (&names)[N]) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

std::vector<Fault> parse(const std::string& list) {
  std::vector<Fault> faults;
  std::istringstream items(list);
  for (std::string item; std::getline(items, item, ',');) {
    std::istringstream fields(item);
    Fault fault;
    std::getline(fields, fault.action, ':');
    std::getline(fields, fault.point, ':');
    if (!among(fault.action, kActions)) refuse(item, "no such action");
    if (!among(fault.point, kPoints)) refuse(item, "no such point");
    for (std::string field; std::getline(fields, field, ':');) {
      const size_t equals = std::min(field.find('='), field.size() - 1);
      const std::string key = field.substr(0, equals);
      std::istringstream value(field.substr(equals + 1));
      const bool read = key == "rank"      ? bool(value >> fault.rank)
                        : key == "n"       ? bool(value >> fault.n)
                        : key == "id"      ? bool(value >> fault.id)
                        : key == "over"    ? bool(value >> fault.over)
                        : key == "seconds" ? bool(value >> fault.seconds)
                        : key == "factor"  ? bool(value >> fault.factor)
                                           : false;
      if (!read) refuse(item, "'" + field + "' is none of rank=R, n=N, id=I, over=I, seconds=S, factor=F");
    }
    faults.push_back(fault);
  }
  return faults;
}

/// As the launcher says: faults may strike before MPI knows it.
int own_rank() {
  for (const char* name : {"PMIX_RANK", "OMPI_COMM_WORLD_RANK"})
    if (const char* text = std::getenv(name)) return std::atoi(text);
  return 0;
}

struct State {
  std::mutex mutex;
  int rank = own_rank();
  std::vector<Fault> faults;
  int64_t struck = 0;

  State() {
    if (const char* list = std::getenv("WANDISTILL_FAULT")) faults = parse(list);
  }
};

void log(int rank, std::string_view point, int64_t id) {
  const char* file = std::getenv("WANDISTILL_FAULT_LOG");
  std::ofstream(std::string(file ? file : "fault_log") + "." + std::to_string(rank), std::ios::app)
      << point << " " << id << "\n";
}

State& state() {
  static State state;
  return state;
}

}  // namespace

bool fault_strikes(std::string_view point, int64_t id) {
  State& s = state();
  bool fails = false, dies = false;
  double sleep = 0;
  {
    const std::lock_guard lock(s.mutex);
    for (Fault& f : s.faults) {
      if (f.point != point || (f.rank >= 0 && f.rank != s.rank)) continue;
      if ((f.id >= 0 && f.id != id) || (f.over >= 0 && id <= f.over)) continue;
      ++f.visits;
      if (f.n > 0 && f.visits != f.n) continue;
      ++s.struck;
      fails = fails || f.action == "fail";
      dies = dies || f.action == "kill";
      if (f.action == "log") log(s.rank, point, id);
      if (f.action == "slow") sleep += (f.factor - 1) * 1e-6 * double(id);
      sleep += f.seconds;
    }
  }
  if (dies) std::raise(SIGKILL);
  std::this_thread::sleep_for(std::chrono::duration<double>(sleep));
  return fails;
}

namespace testing {

Faults::Faults(const std::string& list) {
  const std::lock_guard lock(state().mutex);
  state().faults = parse(list);
  state().struck = 0;
}

Faults::~Faults() {
  const std::lock_guard lock(state().mutex);
  state().faults.clear();
}

int64_t Faults::struck() const {
  const std::lock_guard lock(state().mutex);
  return state().struck;
}

}  // namespace testing
}  // namespace wandistill
