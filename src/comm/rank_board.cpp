#include "wandistill/rank_board.h"

#include <algorithm>
#include <cstring>

#include "board_store.h"
#include "wandistill/session.h"

namespace wandistill {
namespace {

constexpr std::chrono::milliseconds kPostInterval{50}, kStopInterval{100};

// Behind the slots that the user counts.
enum OwnSlot { kStopSlot, kReportSlot, kOwnSlots };

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// The longest beginning of at most `bytes` bytes that does not end within a character.
size_t utf8_prefix(const std::string& text, size_t bytes) {
  if (text.size() <= bytes) return text.size();
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return bytes;
}

}  // namespace

RankBoard::RankBoard(MPI_Comm comm, int64_t extra_slots) {
  int size = 1;
  WD_MPI(MPI_Comm_dup(comm, &comm_));
  WD_MPI(MPI_Comm_rank(comm_, &rank_));
  WD_MPI(MPI_Comm_size(comm_, &size));
  slot_count_ = size + extra_slots;
  if (size > 1) store_ = window_store(comm_, slot_count_ + kOwnSlots);
  if (!store_) store_ = message_store(comm_, slot_count_ + kOwnSlots);
  post("starting", true);
  WD_MPI(MPI_Barrier(comm_));
}

RankBoard::~RankBoard() {
  store_.reset();
  MPI_Comm_free(&comm_);
}

void RankBoard::post(const std::string& text, bool force) {
  const auto now = Clock::now();
  if (!force && now - posted_ < kPostInterval) return;
  posted_ = now;
  BoardEntry entry;
  entry.time = now_seconds();
  std::memcpy(entry.text, text.data(), utf8_prefix(text, sizeof(entry.text) - 1));
  store_->post(entry);
}

std::vector<RankStatus> RankBoard::read() {
  std::vector<BoardEntry> entries;
  std::vector<RankStatus> all;
  if (!store_->read(&entries)) return all;
  const double now = now_seconds();
  for (const BoardEntry& entry : entries) {
    // The clocks of two hosts may differ a little.
    all.push_back({static_cast<int>(all.size()), entry.text, std::max(0.0, now - entry.time)});
  }
  return all;
}

int64_t RankBoard::fetch_add(int64_t slot, int64_t value) {
  WD_REQUIRE(slot >= 0 && slot < slot_count_);
  return store_->fetch_add(slot, value);
}

void RankBoard::store(int64_t slot, int64_t value) {
  WD_REQUIRE(slot >= 0 && slot < slot_count_);
  store_->store(slot, value);
}

void RankBoard::reset_slots(const Session& session) {
  session.barrier();
  if (rank_ == 0) {
    for (int64_t slot = 0; slot < slot_count_; ++slot) store_->store(slot, 0);
  }
  session.barrier();
}

void RankBoard::raise_stop() {
  stop_raised_ = true;
  store_->store(slot_count_ + kStopSlot, 1);
}

bool RankBoard::stop_raised() {
  if (stop_raised_) return true;
  const auto now = Clock::now();
  if (!store_->direct() && now - stop_read_ < kStopInterval) return false;
  stop_read_ = now;
  stop_raised_ = store_->fetch_add(slot_count_ + kStopSlot, 0) != 0;
  return stop_raised_;
}

bool RankBoard::first_to_report() {
  return store_->fetch_add(slot_count_ + kReportSlot, 1) == 0;
}

bool RankBoard::direct() const {
  return store_->direct();
}

}  // namespace wandistill
