// A signal in the middle of a matrix product must leave memory and results alone.
#include <doctest/doctest.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

#include "tests/unit/op_compare.h"
#include "wandistill/ops/matmul.h"
#include "wandistill/session.h"

namespace wandistill {
namespace {

TEST_CASE("stop signals: seen, and harmless to the products that they interrupt") {
  const int64_t m = 192, n = 128, k = 128;  // of the sizes that a plain signal handler breaks
  const auto a = op_test::normal(m * k, 1), b = op_test::normal(k * n, 2);
  std::vector<float> expected(size_t(m * n)), found(expected.size());
  cpu::matmul(MatmulShape::dense(m, n, k, false, false), a.data(), b.data(), expected.data(), Queue{1});

  const StopSignals stop;
  CHECK_FALSE(stop.requested());
  std::atomic<bool> done{false};
  std::atomic<int> sent{0};
  std::thread storm([&, self = pthread_self()] {
    while (!done) {
      pthread_kill(self, SIGUSR1);
      ++sent;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  });
  int wrong = 0;
  for (int i = 0; i < 3000 || sent < 100; ++i) {
    cpu::matmul(MatmulShape::dense(m, n, k, false, false), a.data(), b.data(), found.data(), Queue{1});
    wrong += found != expected;
  }
  done = true;
  storm.join();
  CHECK(wrong == 0);
  CHECK(stop.requested());
}

TEST_CASE("stop signals: USR1 after the work is done changes nothing") {
  { const StopSignals stop; }
  std::raise(SIGUSR1);
  std::signal(SIGUSR1, SIG_DFL);
}

}  // namespace
}  // namespace wandistill
