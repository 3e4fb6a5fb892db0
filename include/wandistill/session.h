// The MPI world that one run lives in: start, end, errors that end every rank, and small collectives.
#pragma once

#include <mpi.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "wandistill/error.h"
#include "wandistill/rank_board.h"

namespace wandistill {

/// An MPI call must succeed: else prints rank, host, call and place, and ends every rank.
#define WD_MPI(call) ::wandistill::check_mpi((call), #call, __FILE__, __LINE__)
void check_mpi(int code, const char* call, const char* file, int line);

/// An error that every rank knows of and throws together: one of them may print it and all may leave in
/// order.
class CollectiveError : public Error {
 public:
  using Error::Error;
};

/// When a rank that waits for others says so, in seconds of waiting.
struct Patience {
  double say_seconds = 1;       // on the board
  double notice_seconds = 30;   // rank 0, on stderr and for whom; again after twice the time, 60 s at most
  std::vector<int> ranks = {};  // that are waited for; empty: all
};

/// MPI from initialisation to finalisation; one per process. Works without mpirun as a world of one rank.
/// Unless said otherwise the functions that communicate are collective: every rank calls them, in the same
/// order. A rank that waits in one gives its core away, and what it waits for stands on the board; after the
/// time-out the job ends with a report of who is late.
class Session {
 public:
  /// Error if the MPI library does not offer MPI_THREAD_MULTIPLE, or does not fit the launcher
  /// (check_launcher).
  Session(int* argc, char*** argv);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  /// Finalises. While an exception that the other ranks do not know of unwinds the stack, waiting for them
  /// would hang: then it ends every rank instead.
  ~Session();

  int rank() const { return rank_; }
  int world_size() const { return world_size_; }
  /// Rank and number of ranks on this host.
  int local_rank() const { return local_rank_; }
  int local_size() const { return local_size_; }
  const std::string& host() const { return host_; }
  /// Threads of compute for this rank: OMP_NUM_THREADS if set, else the cores that it may run on, shared
  /// fairly with the ranks of this host that may run there too; at least 1.
  int threads() const { return threads_; }
  /// The cores that this rank may run on, by the system's numbers.
  const std::vector<int>& cores() const { return cores_; }
  bool is_root() const { return rank_ == 0; }
  /// "host: ranks 0-3, 2 threads each" for every host, one a line; the same text on every rank.
  const std::string& placement() const { return placement_; }

  /// For the job's own calls (the main thread's).
  MPI_Comm comm() const { return comm_; }
  /// The same ranks; for traffic that runs beside the main thread's.
  MPI_Comm background() const { return background_; }

  /// Where every rank says what it is doing.
  RankBoard& board() const { return *board_; }
  /// Seconds (--fence_timeout) that a rank waits for others; then rank 0 prints for which, and where each of
  /// them stands, and ends the job with code 1. If it does not, because it is late itself, the others do so 5
  /// seconds later. Not collective.
  void set_collective_timeout(double seconds) { collective_timeout_ = seconds; }

  /// Returns when the request, of a call that every rank makes, is complete. `what` names the call ("a sum
  /// over the ranks").
  void wait(MPI_Request* request, const std::string& what, const Patience& patience = {}) const;
  /// The same for whatever `done` tests by an MPI call.
  void wait_until(const std::function<bool()>& done, const std::string& what,
                  const Patience& patience = {}) const;

  void broadcast(std::string* text, int root = 0) const;
  template <class T>
  void broadcast(std::vector<T>* values, int root = 0) const;
  template <class T>
  void broadcast(T* value, int root = 0) const;
  void broadcast(double* values, int64_t count, int root) const {
    broadcast_bytes(values, count * int64_t(sizeof(double)), root);
  }
  /// Every rank's text, by rank; on every rank.
  std::vector<std::string> gather(const std::string& text) const;
  /// Every rank's values one after the other, by rank; on every rank. Counts may differ.
  template <class T>
  std::vector<T> gather(const std::vector<T>& values) const;
  double sum(double value) const;
  int64_t sum(int64_t value) const;
  double max(double value) const;
  void sum(double* values, int64_t count) const;
  /// True on every rank if it was on any.
  bool any(bool value) const;
  void barrier() const;

  /// Runs `work` on this rank. If it threw on any rank, every rank throws the same CollectiveError, whose
  /// text gives each distinct message once with the ranks that had it. `work` must not communicate past a
  /// point where it can throw on some ranks only.
  void collectively(const std::function<void()>& work);

  /// Prints the message with rank and host and ends every rank with this code. Not collective.
  [[noreturn]] void abort(const std::string& message, int code = 1) const;

 private:
  bool any(bool value, const std::string& what) const;
  void meet(const std::string& what) const;
  [[noreturn]] void give_up(const std::string& what, double waited, const std::vector<int>& ranks) const;
  void broadcast_bytes(void* data, int64_t bytes, int root) const;
  std::vector<char> gather_bytes(const void* data, int64_t bytes) const;

  MPI_Comm comm_ = MPI_COMM_NULL, background_ = MPI_COMM_NULL;
  int rank_ = 0, world_size_ = 1, local_rank_ = 0, local_size_ = 1, threads_ = 1;
  std::vector<int> cores_;
  std::string host_, placement_;
  std::unique_ptr<RankBoard> board_;
  double collective_timeout_ = 3600;
  int exceptions_at_start_ = 0;
  bool failed_together_ = false;
};

/// The whole of an MPI program's main(): starts MPI, runs the job, returns its exit code. A CollectiveError
/// is printed once, by rank 0, and gives 1; any other exception is printed by the rank that had it and ends
/// every rank.
int run_session(int argc, char** argv, const std::function<int(Session&)>& job);

/// While it lives, SIGTERM and SIGUSR1 do not end the process but raise a flag that the job reads once per
/// step: session.any(stop.requested()) stops every rank at the same step. A second signal, a second or more
/// after the first, ends the process at once (exit code 128 + signal). Afterwards SIGUSR1 is ignored, so that
/// one that comes when the work is done changes nothing. One at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  bool requested() const;
  /// From then on requested() is true as after a signal.
  void stop_at(std::chrono::steady_clock::time_point time) { deadline_ = time; }
  /// What stopped the run, as this rank sees it: "by a signal" or "before the job's time ends".
  std::string reason() const;

 private:
  bool signalled() const;

  std::optional<std::chrono::steady_clock::time_point> deadline_;
  std::jthread taker_;
  struct sigaction old_term_, old_usr1_;
  sigset_t old_mask_;
};

/// Before Slurm ends the job, by `margin` minutes, the flag of `stop` on rank 0 goes up. Says on rank 0
/// when that is, or that it is not known; outside of Slurm, or with a margin of 0, nothing happens.
/// Collective; CollectiveError where less time than the margin is left.
void stop_before_the_end(Session& session, double margin, StopSignals* stop);

/// A signal on any rank stops all of them: tells the others on the board, and whether this rank or another
/// was told to stop. Not collective; may be asked between steps and parts of them (RankBoard::stop_raised).
bool stop_everywhere(const Session& session, const StopSignals& stop);

template <class T>
void Session::broadcast(T* value, int root) const {
  static_assert(std::is_trivially_copyable_v<T>);
  broadcast_bytes(value, sizeof(T), root);
}

template <class T>
void Session::broadcast(std::vector<T>* values, int root) const {
  static_assert(std::is_trivially_copyable_v<T>);
  int64_t count = static_cast<int64_t>(values->size());
  broadcast_bytes(&count, sizeof(count), root);
  values->resize(static_cast<size_t>(count));
  broadcast_bytes(values->data(), count * static_cast<int64_t>(sizeof(T)), root);
}

template <class T>
std::vector<T> Session::gather(const std::vector<T>& values) const {
  static_assert(std::is_trivially_copyable_v<T>);
  const std::vector<char> bytes =
      gather_bytes(values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
  std::vector<T> all(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(all.data(), bytes.data(), bytes.size());
  return all;
}

}  // namespace wandistill
