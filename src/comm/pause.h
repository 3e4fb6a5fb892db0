// What a rank does between two looks at whether the others have come.
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace wandistill {

/// How long a wait has lasted. Time in which the process was stopped (a suspended job) does not count.
class WaitClock {
 public:
  double seconds() const { return seconds_; }

  /// Returns at once in the first 100 us, for ranks that come together. Then it gives the core to whoever
  /// wants it. After 10 ms it sleeps: for 1 % of the time waited so far, at most 1 ms, so that what needs
  /// several looks to go on (the steps of an all-reduce) is not held up by more than that at each. Rejected:
  /// sleeping from 2 ms on, 2 % (waits of 6 ms become 0.15 ms longer).
  void pause() {
    if (seconds_ > 1e-2) {
      std::this_thread::sleep_for(std::chrono::duration<double>(std::min(0.01 * seconds_, 1e-3)));
    } else if (seconds_ > 1e-4) {
      sched_yield();
    }
    const auto now = Clock::now();
    seconds_ += std::min(1.0, std::chrono::duration<double>(now - last_).count());
    last_ = now;
  }

 private:
  using Clock = std::chrono::steady_clock;
  double seconds_ = 0;
  Clock::time_point last_ = Clock::now();
};

}  // namespace wandistill
