// A board on rank 0 where every rank says what it is doing, and counters that all ranks share. No busy rank
// has to answer: a rank that computes for minutes is read, and does not hold up the others.
#pragma once

#include <mpi.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace wandistill {

class Session;
struct BoardStore;  // where it is kept

struct RankStatus {
  int rank;
  std::string text;
  double seconds;  // since it was posted
};

/// Session makes one for the job (session.board()). On one host it is a window in shared memory. Across
/// hosts, or where the MPI library makes no such window, a thread of rank 0 keeps it and answers messages:
/// one-sided calls across hosts wait until rank 0 enters MPI, and Open MPI 4 over TCP makes no window at all
/// for a program of several threads. Measured while rank 0 computes: 0.2 us per call in shared memory; 1.1 ms
/// through messages, but 1 us for post().
///
/// Only the main thread may use it. Unless said otherwise nothing is collective. Error if rank 0 does not
/// answer for a minute.
class RankBoard {
 public:
  /// What the text of a rank that waits for others starts with.
  static constexpr const char* kWaiting = "waiting: ";

  /// Collective over `comm`, which is duplicated. Every rank's text is "starting". The slots are 0: one per
  /// rank, and extra_slots.
  RankBoard(MPI_Comm comm, int64_t extra_slots);
  RankBoard(const RankBoard&) = delete;
  RankBoard& operator=(const RankBoard&) = delete;
  /// Collective.
  ~RankBoard();

  /// Says what this rank is doing, as in "prompt 5, denoising step 3 of 10"; cut to 119 bytes of UTF-8.
  /// Within 50 ms of the last post it does nothing, so a post per step costs nothing; `force` posts all the
  /// same. The others see it at once or within milliseconds.
  void post(const std::string& text, bool force = false);
  /// What every rank is doing, by rank. Nothing if rank 0 does not answer for 10 seconds.
  std::vector<RankStatus> read();

  int64_t slot_count() const { return slot_count_; }
  /// Adds to the slot; the value that was there before. Atomic.
  int64_t fetch_add(int64_t slot, int64_t value);
  void store(int64_t slot, int64_t value);
  int64_t load(int64_t slot) { return fetch_add(slot, 0); }
  /// Collective: when it returns, what ranks did with the slots before has been done and all slots are 0.
  void reset_slots(const Session& session);

  /// For all ranks, until the end of the job.
  void raise_stop();
  /// Looks at rank 0's flag at most every 100 ms where that takes a message; so it may be asked once per
  /// step.
  bool stop_raised();

  /// True for the first rank that asks, once in the life of the board: who prints what all ranks know.
  bool first_to_report();

  /// True if every rank reaches the board without messages.
  bool direct() const;

 private:
  using Clock = std::chrono::steady_clock;

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int64_t slot_count_ = 0;
  std::unique_ptr<BoardStore> store_;
  Clock::time_point posted_, stop_read_;
  bool stop_raised_ = false;
};

}  // namespace wandistill
