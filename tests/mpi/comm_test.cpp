#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include "mpi_test.h"
#include "wandistill/fence.h"
#include "wandistill/gradient_buckets.h"
#include "wandistill/philox.h"

namespace wandistill {
namespace {

TEST_CASE("session: ranks, hosts and threads [any ranks]") {
  const Session& s = test_session();
  CHECK(s.rank() < s.world_size());
  CHECK(s.local_rank() < s.local_size());
  CHECK(s.local_size() <= s.world_size());
  CHECK(s.threads() >= 1);
  CHECK(s.placement().find(s.host()) != std::string::npos);
  CHECK(s.gather(s.placement()) == std::vector<std::string>(s.world_size(), s.placement()));
  const auto ranks = s.gather(std::vector<int>{s.rank()});
  for (int i = 0; i < s.world_size(); ++i) CHECK(ranks[i] == i);
}

TEST_CASE("session: collectives of texts and vectors [any ranks]") {
  const Session& s = test_session();
  std::string text = s.is_root() ? std::string("a star\0b", 8) : "something longer than that";
  s.broadcast(&text);
  CHECK(text == std::string("a star\0b", 8));
  std::vector<double> values(s.is_root() ? 3 : 7, s.rank() + 0.5);
  s.broadcast(&values);
  CHECK(values == std::vector<double>(3, 0.5));
  int last = s.rank();
  s.broadcast(&last, s.world_size() - 1);
  CHECK(last == s.world_size() - 1);

  // Uneven: rank r gives r items.
  const auto all = s.gather(std::vector<int64_t>(s.rank(), s.rank()));
  std::vector<int64_t> expected;
  for (int r = 0; r < s.world_size(); ++r) expected.insert(expected.end(), r, r);
  CHECK(all == expected);
  const auto texts = s.gather(std::string(s.rank(), 'x'));
  REQUIRE(static_cast<int>(texts.size()) == s.world_size());
  for (int r = 0; r < s.world_size(); ++r) CHECK(texts[r] == std::string(r, 'x'));

  CHECK(s.sum(int64_t{1} << 40) == (int64_t{1} << 40) * s.world_size());
  CHECK(s.sum(0.25) == 0.25 * s.world_size());
  CHECK(s.max(static_cast<double>(s.rank())) == s.world_size() - 1);
  CHECK(s.any(s.rank() == s.world_size() - 1));
  CHECK_FALSE(s.any(false));
}

std::string collective_message(const std::function<void()>& work) {
  try {
    test_session().collectively(work);
  } catch (const CollectiveError& e) {
    return e.what();
  }
  return "";
}

TEST_CASE("collectively: work that succeeds [any ranks]") {
  int calls = 0;
  CHECK(collective_message([&] { ++calls; }) == "");
  CHECK(calls == 1);
}

TEST_CASE("collectively: an error of one rank is thrown on all, and the session lives on [any ranks]") {
  const Session& s = test_session();
  const int last = s.world_size() - 1;
  const std::string message = collective_message([&] {
    if (s.rank() == last) fail("prompts.txt: line 3: not UTF-8");
  });
  const std::string prefix = last == 0 ? "" : cat("rank ", last, ": ");
  CHECK(message == prefix + "prompts.txt: line 3: not UTF-8");
  CHECK(s.sum(int64_t{1}) == s.world_size());
}

TEST_CASE("collectively: an error of every rank is said once, without ranks [any ranks]") {
  CHECK(collective_message([] { fail("no teacher there"); }) == "no teacher there");
  // Within another: it is not gathered again.
  CHECK(collective_message([] { test_session().collectively([] { fail("inner"); }); }) == "inner");
}

TEST_CASE("collectively: distinct messages with their ranks [3 ranks]") {
  NEEDS_RANKS(3);
  const std::string message =
      collective_message([] { fail(test_session().rank() == 1 ? "no such file" : "disk full"); });
  CHECK(message == "ranks 0, 2: disk full\nrank 1: no such file");
}

TEST_CASE("collectively: neighbouring ranks are written as a range [4 ranks]") {
  NEEDS_RANKS(4);
  const std::string message = collective_message([] {
    if (test_session().rank() > 0) fail("late");
  });
  CHECK(message == "ranks 1-3: late");
}

/// Rank r's gradients: whole numbers, so that sums are exact in any order.
std::vector<float> whole_gradients(int rank, int step, int64_t n) {
  std::vector<float> g(n);
  for (int64_t i = 0; i < n; ++i) g[i] = static_cast<float>((i * 7 + step * 3) % 101 + rank * (i % 5));
  return g;
}

TEST_CASE("gradient buckets: the sum of all ranks, step after step [any ranks]") {
  const Session& s = test_session();
  const int64_t n = 10007;
  // As in a backward pass: from the end; then an order that is not the one in memory.
  const std::vector<std::vector<Range>> orders = {
      {{9000, 10007}, {8999, 9000}, {5000, 8999}, {4923, 5000}, {129, 4923}, {0, 129}},
      {{0, 129}, {5000, 9000}, {129, 5000}, {9000, 10007}},
  };
  for (const auto& order : orders) {
    for (const int64_t bytes : {int64_t{1}, int64_t{4096}, int64_t{1} << 30}) {
      std::vector<float> g(n);
      GradientBuckets buckets(s, g.data(), order, bytes);
      if (s.world_size() > 1 && bytes == 1)
        CHECK(buckets.bucket_count() == static_cast<int64_t>(order.size()));
      for (int step = 0; step < 4; ++step) {
        // Copied in place: the buckets hold g's address. Each range is written just before it is reported, as
        // a backward pass does; the last step is that of a rank that reports nothing before wait().
        const auto own = whole_gradients(s.rank(), step, n);
        std::fill(g.begin(), g.end(), -1e9f);
        for (size_t i = 0; i < order.size(); ++i) {
          const Range& range = order[i];
          std::copy(own.begin() + range.begin, own.begin() + range.end, g.begin() + range.begin);
          if (step < 3) buckets.ready(static_cast<int64_t>(i));
        }
        buckets.wait();
        std::vector<float> expected(n, 0.0f);
        for (int r = 0; r < s.world_size(); ++r) {
          const auto other = whole_gradients(r, step, n);
          for (int64_t i = 0; i < n; ++i) expected[i] += other[i];
        }
        CHECK(g == expected);
      }
    }
  }
}

TEST_CASE("gradient buckets: ranks may differ in what they report, and all get the same bits [any ranks]") {
  const Session& s = test_session();
  const int64_t n = 70001;
  std::vector<Range> order;
  for (int64_t end = n; end > 0; end -= 7001) order.push_back({std::max<int64_t>(end - 7001, 0), end});
  std::vector<float> g(n), first;
  GradientBuckets buckets(s, g.data(), order, 50000);
  for (int repeat = 0; repeat < 2; ++repeat) {
    fill_gaussian(4, static_cast<uint64_t>(s.rank()), 0, n, g.data());
    if (s.rank() % 2 == 0) {
      for (size_t i = 0; i < order.size(); ++i) buckets.ready(static_cast<int64_t>(i));
    }
    buckets.wait();
    std::vector<float> theirs = g;
    s.broadcast(&theirs);
    CHECK(std::memcmp(theirs.data(), g.data(), sizeof(float) * n) == 0);
    if (repeat > 0) CHECK(std::memcmp(first.data(), g.data(), sizeof(float) * n) == 0);
    first = g;
  }
  std::vector<double> expected(n, 0.0);
  std::vector<float> other(n);
  for (int r = 0; r < s.world_size(); ++r) {
    fill_gaussian(4, static_cast<uint64_t>(r), 0, n, other.data());
    for (int64_t i = 0; i < n; ++i) expected[i] += other[i];
  }
  double worst = 0;
  for (int64_t i = 0; i < n; ++i) worst = std::max(worst, std::abs(g[i] - expected[i]));
  CHECK(worst < 2e-6);
}

TEST_CASE("gradient buckets: the sums run while this thread makes no MPI call [2 ranks]") {
  NEEDS_RANKS(2);
  const Session& s = test_session();
  const int64_t n = int64_t{1} << 22;
  std::vector<float> g(n, 1.0f);
  GradientBuckets buckets(s, g.data(), {{0, n}}, 1);
  buckets.ready(0);
  const volatile float* last = &g[n - 1];  // written by the thread; a test may look
  for (int ms = 0; ms < 20000 && *last != 2.0f; ++ms)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(*last == 2.0f);
  buckets.wait();
  CHECK(g == std::vector<float>(n, 2.0f));
}

TEST_CASE("gradient buckets: large sums that start when they are waited for [any ranks]") {
  const Session& s = test_session();
  const int64_t n = int64_t{1} << 21, half = n / 2;
  std::vector<float> g(n);
  GradientBuckets buckets(s, g.data(), {{half, n}, {0, half}}, 1);
  const float ranks = static_cast<float>(s.world_size());
  for (int step = 0; step < 3; ++step) {
    for (int64_t i = 0; i < n; ++i) g[i] = static_cast<float>(i % 1000 + step + s.rank());
    buckets.wait();
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; ++i)
      wrong += g[i] != ranks * static_cast<float>(i % 1000 + step) + ranks * (ranks - 1) / 2;
    CHECK(wrong == 0);
    s.barrier();
  }
}

TEST_CASE("fence: waits for the last rank [any ranks]") {
  const Session& s = test_session();
  s.barrier();
  const bool late = s.rank() == s.world_size() - 1;
  if (late) std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const double seconds = fence(s, "a test");
  if (late) {
    CHECK(seconds < 30);
  } else {
    CHECK(seconds > 0.1);
  }
}

TEST_CASE(
    "stop signals: a flag on one rank reaches all; afterwards TERM acts as before, USR1 not at all [any "
    "ranks]") {
  const Session& s = test_session();
  struct sigaction usr1 = {}, term = {}, after = {};
  usr1.sa_handler = SIG_DFL;
  sigaction(SIGUSR1, &usr1, nullptr);
  sigaction(SIGTERM, nullptr, &term);
  for (const int signal : {SIGUSR1, SIGTERM}) {
    const StopSignals stop;
    CHECK_FALSE(s.any(stop.requested()));
    if (s.rank() == s.world_size() - 1) std::raise(signal);
    CHECK(stop.requested() == (s.rank() == s.world_size() - 1));
    CHECK(s.any(stop.requested()));
  }
  sigaction(SIGTERM, nullptr, &after);
  const bool term_acts_as_before = after.sa_handler == term.sa_handler;
  CHECK(term_acts_as_before);
  sigaction(SIGUSR1, nullptr, &after);
  const bool usr1_ignored =
      after.sa_handler == SIG_IGN;  // it asks to save what there is: too late, not a failure
  CHECK(usr1_ignored);
}

}  // namespace
}  // namespace wandistill
