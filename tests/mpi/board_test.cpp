#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <thread>

#include "mpi_test.h"

namespace wandistill {
namespace {

void sleep_ms(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

/// Computes, without MPI.
void busy(double seconds) {
  volatile double x = 0;
  for (const double end = MPI_Wtime() + seconds; MPI_Wtime() < end;) x = x + 1;
}

/// What rank r shows, once it is `expected`; after 5 seconds, whatever it shows.
std::string text_of(RankBoard& board, int rank, const std::string& expected) {
  std::string text;
  for (int tries = 0; tries < 500 && text != expected; ++tries) {
    if (tries > 0) sleep_ms(10);
    text = board.read().at(static_cast<size_t>(rank)).text;
  }
  return text;
}

TEST_CASE("rank board: every rank reads what the others post [any ranks]") {
  const Session& s = test_session();
  RankBoard& board = s.board();
  if (const char* osc = std::getenv("OMPI_MCA_osc"); osc != nullptr && std::strcmp(osc, "^sm") == 0) {
    CHECK(board.direct() == (s.world_size() == 1));  // else this run does not test what it is for
  }
  for (int round = 0; round < 3; ++round) {
    board.post(cat("prompt ", s.rank(), ", round ", round), true);
    for (int r = 0; r < s.world_size(); ++r) {
      const std::string expected = cat("prompt ", r, ", round ", round);
      CHECK(text_of(board, r, expected) == expected);
    }
    s.barrier();
  }
  const auto all = board.read();
  REQUIRE(static_cast<int>(all.size()) == s.world_size());
  for (int r = 0; r < s.world_size(); ++r) {
    CHECK(all[r].rank == r);
    CHECK(all[r].seconds >= 0);
    CHECK(all[r].seconds < 30);
  }
  sleep_ms(300);
  CHECK(board.read()[0].seconds >= 0.3);
  s.barrier();
}

TEST_CASE(
    "rank board: long texts are cut between characters; posts in quick succession are dropped [any ranks]") {
  const Session& s = test_session();
  RankBoard& board = s.board();
  const std::string x(118, 'x');
  board.post(x + "e and more", true);
  CHECK(text_of(board, s.rank(), x + "e") == x + "e");
  board.post(x + "\u00e9", true);  // two bytes, for one of which there is room
  CHECK(text_of(board, s.rank(), x) == x);
  board.post(std::string(117, 'x') + "\u00e9", true);
  CHECK(text_of(board, s.rank(), std::string(117, 'x') + "\u00e9").size() == 119);

  board.post("first", true);
  board.post("second");
  CHECK(text_of(board, s.rank(), "first") == "first");
  sleep_ms(60);
  board.post("third");
  CHECK(text_of(board, s.rank(), "third") == "third");
  s.barrier();
}

TEST_CASE("rank board: counters give each number once, round after round [any ranks]") {
  const Session& s = test_session();
  RankBoard& board = s.board();
  CHECK(board.slot_count() > s.world_size());
  const int64_t last = board.slot_count() - 1;
  for (int round = 0; round < 3; ++round) {
    board.reset_slots(s);
    CHECK(board.load(s.rank()) == 0);
    std::vector<int64_t> own;
    const int64_t total = 400;
    for (int64_t number; (number = board.fetch_add(last, 1)) < total;) own.push_back(number);
    CHECK(std::is_sorted(own.begin(), own.end()));
    auto all = s.gather(own);
    std::sort(all.begin(), all.end());
    std::vector<int64_t> expected(total);
    std::iota(expected.begin(), expected.end(), int64_t{0});
    CHECK(all == expected);
    s.barrier();
    CHECK(board.load(last) == total + s.world_size());
    // A ticket per rank.
    board.store(board.fetch_add(s.world_size(), 1), s.rank() + 1);
    s.barrier();
    std::vector<int64_t> ranks;
    for (int i = 0; i < s.world_size(); ++i) ranks.push_back(board.load(i));
    std::sort(ranks.begin(), ranks.end());
    for (int i = 0; i < s.world_size(); ++i) CHECK(ranks[i] == i + 1);
  }
  board.reset_slots(s);
  board.fetch_add(last, int64_t{1} << 40);
  s.barrier();
  CHECK(board.load(last) == (int64_t{1} << 40) * s.world_size());
  board.reset_slots(s);
  CHECK(board.load(last) == 0);
  CHECK_THROWS_AS(board.load(last + 1), Error);
  CHECK_THROWS_AS(board.store(-1, 1), Error);
}

TEST_CASE("rank board: nobody waits for a rank 0 that computes [any ranks]") {
  const Session& s = test_session();
  RankBoard& board = s.board();
  board.reset_slots(s);
  const double start = MPI_Wtime();
  if (s.is_root()) {
    busy(1);
  } else {
    for (int i = 0; i < 20; ++i) {
      board.post(cat("step ", i), true);
      board.fetch_add(0, 1);
    }
    CHECK(text_of(board, s.rank(), "step 19") == "step 19");
    CHECK(MPI_Wtime() - start < 0.8);
  }
  s.barrier();
  CHECK(board.load(0) == 20 * (s.world_size() - 1));
  s.barrier();
}

TEST_CASE("rank board: a stop that one rank raises is seen by all [any ranks]") {
  const Session& s = test_session();
  RankBoard board(s.comm(), 0);  // the session's own would stay raised
  CHECK(board.slot_count() == s.world_size());
  CHECK_FALSE(board.stop_raised());
  s.barrier();
  if (s.rank() == s.world_size() - 1) board.raise_stop();
  const double start = MPI_Wtime();
  while (!board.stop_raised() && MPI_Wtime() - start < 5) sleep_ms(1);
  CHECK(board.stop_raised());
  s.barrier();
}

TEST_CASE("rank board: one rank is the first to report [any ranks]") {
  const Session& s = test_session();
  RankBoard board(s.comm(), 0);
  CHECK(s.sum(int64_t{board.first_to_report() ? 1 : 0}) == 1);
  CHECK(s.sum(int64_t{board.first_to_report() ? 1 : 0}) == 0);
}

TEST_CASE("collective waits: the core is given away, and the board shows the wait and its end [any ranks]") {
  const Session& s = test_session();
  const auto cpu_seconds = [] {
    rusage use;
    getrusage(RUSAGE_THREAD, &use);
    return static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           1e-6 * static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
  };
  s.board().post("test", true);
  s.barrier();
  const int last = s.world_size() - 1;
  if (s.rank() == last) {
    const std::string expected = "waiting: a test";
    for (int r = 0; r < last; ++r) CHECK(text_of(s.board(), r, expected) == expected);
    sleep_ms(400);
  }
  MPI_Request request;
  WD_MPI(MPI_Ibarrier(s.comm(), &request));
  const double start = cpu_seconds();
  s.wait_until(
      [&request] {
        int done = 0;
        WD_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
        return done != 0;
      },
      "a test", {0.1, 30});
  CHECK(cpu_seconds() - start < 0.15);
  if (s.rank() != last) CHECK(text_of(s.board(), s.rank(), "past a test") == "past a test");
  s.barrier();
}

TEST_CASE("collectives: more bytes than small ones have [any ranks]") {
  const Session& s = test_session();
  std::vector<double> values(70001);
  std::iota(values.begin(), values.end(), 1.0);
  std::vector<double> expected = values;
  for (double& v : expected) v *= s.world_size();
  s.sum(values.data(), static_cast<int64_t>(values.size()));
  CHECK(values == expected);
  std::vector<double> sent = s.is_root() ? expected : std::vector<double>{};
  s.broadcast(&sent);
  CHECK(sent == expected);
  CHECK(s.gather(expected).size() == expected.size() * static_cast<size_t>(s.world_size()));
}

}  // namespace
}  // namespace wandistill
