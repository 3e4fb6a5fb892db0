#include <cerrno>

#include "wandistill/rank_board.h"
#include "wandistill/session.h"

namespace wandistill {
namespace {

// A signal handler can reach nothing but a global of this type.
volatile std::sig_atomic_t stop_flag = 0;

void raise_flag(int) {
  stop_flag = 1;
}

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGUSR1);
  return signals;
}

}  // namespace

// oneDNN's generated matrix products (2.6, the larger ones that read B untransposed) keep data below the
// stack pointer, where a signal handler's frame overwrites it: a signal in the middle of a product corrupts
// memory. So the compute threads block the signals. Threads that MPI started earlier may still run the
// handler; where there are none the signal stays pending, and requested() looks for it there.
StopSignals::StopSignals() {
  stop_flag = 0;
  struct sigaction action = {};
  action.sa_handler = raise_flag;
  action.sa_flags = SA_RESTART;  // the signal must not break file or network calls
  sigemptyset(&action.sa_mask);
  sigset_t signals = stop_signals();
  if (pthread_sigmask(SIG_BLOCK, &signals, &old_mask_) != 0 || sigaction(SIGTERM, &action, &old_term_) != 0 ||
      sigaction(SIGUSR1, &action, &old_usr1_) != 0) {
    fail("cannot install the signal handlers: ", std::strerror(errno));
  }
}

StopSignals::~StopSignals() {
  // What is pending counts as seen: it must not end the process when the old handlers are back.
  const sigset_t signals = stop_signals();
  const timespec at_once = {};
  while (sigtimedwait(&signals, nullptr, &at_once) > 0) {
  }
  sigaction(SIGTERM, &old_term_, nullptr);
  sigaction(SIGUSR1, &old_usr1_, nullptr);
  pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

bool StopSignals::requested() const {
  if (stop_flag) return true;
  sigset_t pending;
  return sigpending(&pending) == 0 &&
         (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGUSR1) == 1);
}

bool stop_everywhere(const Session& session, const StopSignals& stop) {
  if (stop.requested()) session.board().raise_stop();
  return session.board().stop_raised();
}

}  // namespace wandistill
