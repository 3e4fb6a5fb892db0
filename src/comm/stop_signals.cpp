#include <cerrno>

#include "wandistill/session.h"

namespace wandistill {
namespace {

// A signal handler can reach nothing but a global of this type.
volatile std::sig_atomic_t stop_flag = 0;

void raise_flag(int) {
  stop_flag = 1;
}

}  // namespace

StopSignals::StopSignals() {
  stop_flag = 0;
  struct sigaction action = {};
  action.sa_handler = raise_flag;
  action.sa_flags = SA_RESTART;  // the signal must not break file or network calls
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGTERM, &action, &old_term_) != 0 || sigaction(SIGUSR1, &action, &old_usr1_) != 0) {
    fail("cannot install the signal handlers: ", std::strerror(errno));
  }
}

StopSignals::~StopSignals() {
  sigaction(SIGTERM, &old_term_, nullptr);
  sigaction(SIGUSR1, &old_usr1_, nullptr);
}

bool StopSignals::requested() const {
  return stop_flag != 0;
}

}  // namespace wandistill
