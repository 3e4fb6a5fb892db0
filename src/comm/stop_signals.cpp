#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <ctime>
#include <mutex>

#include "wandistill/rank_board.h"
#include "wandistill/session.h"

namespace wandistill {
namespace {

// One request may come as several signals: schedulers signal the ranks, and the launcher, which passes it on.
constexpr int64_t kSameRequestMs = 1000;

int64_t now_ms() {
  timespec time = {};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t(time.tv_sec) * 1000 + time.tv_nsec / 1000000;
}

// When the first signal came; 0: none did. A signal handler can reach nothing but a global.
std::atomic<int64_t> first_signal_ms = 0;
static_assert(std::atomic<int64_t>::is_always_lock_free);

/// Raises the flag; a second request ends the process here, with what a shell calls "killed by the signal".
void on_signal(int signal) {
  const int64_t now = now_ms();
  int64_t first = 0;
  if (first_signal_ms.compare_exchange_strong(first, now) || now - first < kSameRequestMs) return;
  constexpr char kText[] = "wandistill: a second signal: ends at once; checkpoints that are there stay\n";
  if (write(STDERR_FILENO, kText, sizeof kText - 1) < 0) {
    // there is nobody to tell
  }
  _exit(128 + signal);
}

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGUSR1);
  return signals;
}

/// Waits with the signals unblocked: the thread that they interrupt.
void take_signals(const std::stop_token& end) {
  const sigset_t signals = stop_signals();
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait(lock, end, [] { return false; });
}

}  // namespace

// oneDNN's generated matrix products (2.6, the larger ones that read B untransposed) keep data below the
// stack pointer, where a signal handler's frame overwrites it: a signal in the middle of a product corrupts
// memory. So the compute threads block the signals, and a thread that computes nothing takes them. A signal
// that was sent to a compute thread itself stays pending, and requested() looks for it there.
StopSignals::StopSignals() {
  first_signal_ms = 0;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // the signal must not break file or network calls
  sigemptyset(&action.sa_mask);
  sigset_t signals = stop_signals();
  if (pthread_sigmask(SIG_BLOCK, &signals, &old_mask_) != 0 || sigaction(SIGTERM, &action, &old_term_) != 0 ||
      sigaction(SIGUSR1, &action, &old_usr1_) != 0) {
    fail("cannot install the signal handlers: ", std::strerror(errno));
  }
  taker_ = std::jthread(take_signals);
}

StopSignals::~StopSignals() {
  taker_.request_stop();
  taker_.join();
  // What is pending counts as seen: it must not end the process when the old handlers are back.
  const sigset_t signals = stop_signals();
  const timespec at_once = {};
  while (sigtimedwait(&signals, nullptr, &at_once) > 0) {
  }
  sigaction(SIGTERM, &old_term_, nullptr);
  // USR1 asks to save what there is; that comes too late now, and must not make a failure of what is done.
  if (old_usr1_.sa_handler == SIG_DFL) old_usr1_.sa_handler = SIG_IGN;
  sigaction(SIGUSR1, &old_usr1_, nullptr);
  pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

bool StopSignals::signalled() const {
  if (first_signal_ms != 0) return true;
  sigset_t pending;
  return sigpending(&pending) == 0 &&
         (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGUSR1) == 1);
}

bool StopSignals::requested() const {
  return signalled() || (deadline_ && std::chrono::steady_clock::now() >= *deadline_);
}

std::string StopSignals::reason() const {
  return requested() && !signalled() ? "before the job's time ends" : "by a signal";
}

bool stop_everywhere(const Session& session, const StopSignals& stop) {
  if (stop.requested()) session.board().raise_stop();
  return session.board().stop_raised();
}

}  // namespace wandistill
