#include "wandistill/session.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "ranks_text.h"
#include "wandistill/launcher.h"

namespace wandistill {
namespace {

constexpr int64_t kExtraSlots = 8;  // of the board; nothing needs more

/// The cores that this process may run on, one byte per core number.
std::vector<char> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<char> cores(CPU_SETSIZE, 0);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) cores[core] = CPU_ISSET(core, &set) ? 1 : 0;
  return cores;
}

/// `masks` are the allowed cores of all ranks of this host. A rank bound to cores of its own has them all;
/// ranks that may run on the same cores share them.
int fair_threads(const std::vector<char>& masks, int local_rank, int local_size) {
  if (const char* wanted = std::getenv("OMP_NUM_THREADS")) {
    const int threads = std::atoi(wanted);
    if (threads >= 1) return threads;
  }
  const char* own = masks.data() + static_cast<int64_t>(local_rank) * CPU_SETSIZE;
  int cores = 0, sharing = 0;
  for (int core = 0; core < CPU_SETSIZE; ++core) cores += own[core];
  for (int other = 0; other < local_size; ++other) {
    const char* mask = masks.data() + static_cast<int64_t>(other) * CPU_SETSIZE;
    bool overlaps = false;
    for (int core = 0; core < CPU_SETSIZE; ++core) overlaps = overlaps || (own[core] && mask[core]);
    sharing += overlaps ? 1 : 0;
  }
  return std::max(1, cores / std::max(1, sharing));
}

/// "host: ranks 0-3, 2 threads each", hosts in the order of their first rank.
std::string placement_text(const std::vector<std::string>& hosts, const std::vector<int>& threads) {
  std::string text;
  std::vector<bool> done(hosts.size(), false);
  for (size_t first = 0; first < hosts.size(); ++first) {
    if (done[first]) continue;
    std::vector<int> ranks;
    int fewest = threads[first], most = threads[first];
    for (size_t i = first; i < hosts.size(); ++i) {
      if (hosts[i] != hosts[first]) continue;
      done[i] = true;
      ranks.push_back(static_cast<int>(i));
      fewest = std::min(fewest, threads[i]);
      most = std::max(most, threads[i]);
    }
    text += cat(text.empty() ? "" : "\n", hosts[first], ": ", ranks_text(ranks), ", ", fewest);
    if (most != fewest) text += cat("-", most);
    text += cat(most == 1 ? " thread" : " threads", ranks.size() > 1 ? " each" : "");
  }
  return text;
}

}  // namespace

Session::Session(int* argc, char*** argv) : exceptions_at_start_(std::uncaught_exceptions()) {
  check_launcher();
  int provided = 0;
  WD_MPI(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided));
  if (provided < MPI_THREAD_MULTIPLE) {
    MPI_Finalize();
    fail("this MPI library does not offer MPI_THREAD_MULTIPLE; use one that was built with thread support");
  }
  WD_MPI(MPI_Comm_size(MPI_COMM_WORLD, &world_size_));
  try {
    check_launcher(world_size_);
  } catch (const Error&) {
    MPI_Finalize();
    throw;
  }
  // Codes come back to WD_MPI, which can say more than the library; communicators made from these inherit it.
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  WD_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &comm_));
  WD_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &background_));
  WD_MPI(MPI_Comm_rank(comm_, &rank_));
  char host[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  WD_MPI(MPI_Get_processor_name(host, &length));
  board_ = std::make_unique<RankBoard>(comm_, kExtraSlots);
  host_.assign(host, static_cast<size_t>(length));

  MPI_Comm local;
  WD_MPI(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &local));
  WD_MPI(MPI_Comm_rank(local, &local_rank_));
  WD_MPI(MPI_Comm_size(local, &local_size_));
  const std::vector<char> own = allowed_cores();
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (own[core]) cores_.push_back(core);
  std::vector<char> masks(own.size() * static_cast<size_t>(local_size_));
  const int bytes = static_cast<int>(own.size());
  WD_MPI(MPI_Allgather(own.data(), bytes, MPI_BYTE, masks.data(), bytes, MPI_BYTE, local));
  WD_MPI(MPI_Comm_free(&local));
  threads_ = fair_threads(masks, local_rank_, local_size_);
  placement_ = placement_text(gather(host_), gather(std::vector<int>{threads_}));
}

Session::~Session() {
  if (std::uncaught_exceptions() > exceptions_at_start_ && !failed_together_ && world_size_ > 1) {
    abort("left by an exception that the other ranks do not know of");
  }
  meet("the end of the job");  // here a rank that is late has a name; below it would be a silent wait
  board_.reset();
  MPI_Comm_free(&background_);
  MPI_Comm_free(&comm_);
  MPI_Finalize();
}

void Session::abort(const std::string& message, int code) const {
  std::fprintf(stderr, "wandistill: rank %d on %s: %s\n", rank_, host_.c_str(), message.c_str());
  std::fflush(nullptr);
  MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);  // MPI_Abort does not return; the compiler cannot know
}

void Session::collectively(const std::function<void()>& work) {
  std::string message;
  bool failed = false;
  failed_together_ = false;
  try {
    work();
  } catch (const CollectiveError&) {
    throw;  // thrown on every rank already
  } catch (const std::exception& e) {
    failed = true;
    message = e.what();
  }
  if (!any(failed, "work in common")) return;
  const std::vector<std::string> messages = gather((failed ? "!" : " ") + message);
  std::string text;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i][0] != '!') continue;
    if (std::find(messages.begin(), messages.begin() + static_cast<int64_t>(i), messages[i]) !=
        messages.begin() + static_cast<int64_t>(i)) {
      continue;  // said already
    }
    std::vector<int> ranks;
    for (size_t j = i; j < messages.size(); ++j) {
      if (messages[j] == messages[i]) ranks.push_back(static_cast<int>(j));
    }
    if (!text.empty()) text += "\n";
    if (static_cast<int>(ranks.size()) < world_size_) text += ranks_text(ranks) + ": ";
    text += messages[i].substr(1);
  }
  failed_together_ = true;
  throw CollectiveError(text);
}

int run_session(int argc, char** argv, const std::function<int(Session&)>& job) {
  try {
    Session session(&argc, &argv);
    try {
      return job(session);
    } catch (const CollectiveError& e) {
      if (session.is_root()) std::fprintf(stderr, "wandistill: %s\n", e.what());
    } catch (const std::exception& e) {
      if (session.world_size() > 1) session.abort(e.what());
      std::fprintf(stderr, "wandistill: %s\n", e.what());
    }
  } catch (const std::exception& e) {  // no session came about, on any rank
    if (launched_rank() <= 0) std::fprintf(stderr, "wandistill: %s\n", e.what());
  }
  return 1;
}

}  // namespace wandistill
