#include "wandistill/node_memory.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include <cstdio>
#include <utility>

#include "wandistill/error.h"
#include "wandistill/memory.h"

namespace wandistill {
namespace {

constexpr const char* kSharedFolder = "/dev/shm";  // where Open MPI has its windows

std::string gigabytes(int64_t bytes) {
  char text[40];
  std::snprintf(text, sizeof text, "%.2f GB", double(bytes) / 1e9);
  return text;
}

/// Pages of a window that does not fit are missed when they are first written to, by SIGBUS: so ask before.
void check_room(const std::string& host, int64_t bytes, const std::string& what, bool shared) {
  const int64_t memory = available_memory();
  if (memory > 0 && bytes > memory)
    fail(what, ": ", gigabytes(bytes), " are needed once per node, and ", host, " has ", gigabytes(memory),
         " of free memory");
  struct statvfs status;
  if (!shared || ::statvfs(kSharedFolder, &status) != 0) return;
  const int64_t room = int64_t(status.f_bavail) * int64_t(status.f_frsize);
  if (bytes > room)
    fail(what, ": ", gigabytes(bytes), " are needed once per node in ", kSharedFolder, ", which has ",
         gigabytes(room), " free on ", host,
         "; make it larger (mount -o remount,size=..., or --shm-size of a ",
         "container), or start one rank per node");
}

/// A window is a file for the system: with a smaller limit Open MPI fails on one rank, and waits on the
/// others.
bool exceeds_file_limit(int64_t bytes) {
  struct rlimit limit;
  return ::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
         rlim_t(bytes) + 4096 > limit.rlim_cur;
}

}  // namespace

NodeMemory::NodeMemory(Session* session, int64_t bytes, const std::string& what) : size_(bytes) {
  const bool shared =
      session && session->any(session->local_size() > 1) && !session->any(exceeds_file_limit(bytes));
  if (!session) {
    check_room("this machine", bytes, what, false);
  } else {
    session->collectively([&] {
      if (session->local_rank() == 0) check_room(session->host(), bytes, what, shared);
    });
  }
  if (shared && share(*session)) return;
  const auto allocate = [&] { own_ = Buffer<char>(bytes); };
  session ? session->collectively(allocate) : allocate();
  data_ = own_.data();
  ::madvise(data_, static_cast<size_t>(bytes), MADV_HUGEPAGE);
}

/// False on every rank if there are no shared windows.
bool NodeMemory::share(Session& session) {
  MPI_Comm node;
  WD_MPI(MPI_Comm_split_type(session.comm(), MPI_COMM_TYPE_SHARED, session.rank(), MPI_INFO_NULL, &node));
  constexpr MPI_Aint kAlignment = 64;
  MPI_Aint size = session.local_rank() == 0 ? static_cast<MPI_Aint>(size_) + kAlignment : 0;
  int unit = 0;
  void* base = nullptr;
  const bool made = MPI_Win_allocate_shared(size, 1, MPI_INFO_NULL, node, &base, &window_) == MPI_SUCCESS;
  if (session.any(!made)) {  // a window that some have is left: to free it takes all of them
    window_ = MPI_WIN_NULL;
    WD_MPI(MPI_Comm_free(&node));
    return false;
  }
  WD_MPI(MPI_Win_set_errhandler(window_, MPI_ERRORS_RETURN));
  WD_MPI(MPI_Win_shared_query(window_, 0, &size, &unit, &base));
  WD_MPI(MPI_Win_lock_all(MPI_MODE_NOCHECK, window_));
  WD_MPI(MPI_Comm_free(&node));
  const auto address = reinterpret_cast<uintptr_t>(base);
  // A window begins on a page, so every rank finds the same offset.
  data_ = static_cast<char*>(base) + (kAlignment - address % kAlignment) % kAlignment;
  ranks_ = session.local_size();
  rank_ = session.local_rank();
  return true;
}

NodeMemory& NodeMemory::operator=(NodeMemory&& other) noexcept {
  std::swap(own_, other.own_);
  std::swap(window_, other.window_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(ranks_, other.ranks_);
  std::swap(rank_, other.rank_);
  std::swap(exceptions_, other.exceptions_);
  return *this;
}

NodeMemory::~NodeMemory() {
  if (window_ == MPI_WIN_NULL || std::uncaught_exceptions() > exceptions_) return;
  WD_MPI(MPI_Win_unlock_all(window_));
  WD_MPI(MPI_Win_free(&window_));
}

void NodeMemory::sync() const {
  if (window_ != MPI_WIN_NULL) WD_MPI(MPI_Win_sync(window_));
}

}  // namespace wandistill
