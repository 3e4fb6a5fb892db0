// A RankBoard's window in shared memory.
#include <cstring>

#include "board_store.h"
#include "wandistill/session.h"

namespace wandistill {
namespace {

constexpr int kEntryWords = sizeof(BoardEntry) / sizeof(int64_t);
static_assert(sizeof(BoardEntry) % sizeof(int64_t) == 0);

/// The window: the entries by rank, then the slots; in words of 8 bytes. Written and read by accumulates, the
/// only one-sided calls that may meet at one place: a text is never read half-written.
struct WindowStore : BoardStore {
  WindowStore(MPI_Comm comm, MPI_Win window, int64_t* words, int64_t slots) : win(window) {
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    WD_MPI(MPI_Win_set_errhandler(win, MPI_ERRORS_RETURN));
    WD_MPI(MPI_Win_lock_all(MPI_MODE_NOCHECK, win));
    if (rank == 0) {
      std::memset(words, 0, static_cast<size_t>(word_count(size, slots)) * sizeof(int64_t));
      WD_MPI(MPI_Win_sync(win));
    }
    WD_MPI(MPI_Barrier(comm));
    if (rank != 0) WD_MPI(MPI_Win_sync(win));
  }
  ~WindowStore() override {
    WD_MPI(MPI_Win_unlock_all(win));
    WD_MPI(MPI_Win_free(&win));
  }

  static int64_t word_count(int ranks, int64_t slots) { return int64_t{ranks} * kEntryWords + slots; }
  MPI_Aint slot_at(int64_t slot) const { return static_cast<MPI_Aint>(word_count(size, slot)); }

  void post(const BoardEntry& entry) override {
    WD_MPI(MPI_Accumulate(&entry, kEntryWords, MPI_INT64_T, 0, MPI_Aint{rank} * kEntryWords, kEntryWords,
                          MPI_INT64_T, MPI_REPLACE, win));
    WD_MPI(MPI_Win_flush(0, win));
  }

  bool read(std::vector<BoardEntry>* entries) override {
    entries->resize(static_cast<size_t>(size));
    for (int r = 0; r < size; ++r) {
      WD_MPI(MPI_Get_accumulate(nullptr, 0, MPI_INT64_T, &(*entries)[static_cast<size_t>(r)], kEntryWords,
                                MPI_INT64_T, 0, MPI_Aint{r} * kEntryWords, kEntryWords, MPI_INT64_T,
                                MPI_NO_OP, win));
    }
    WD_MPI(MPI_Win_flush(0, win));
    return true;
  }

  int64_t fetch_add(int64_t slot, int64_t value) override {
    int64_t before = 0;
    WD_MPI(MPI_Fetch_and_op(&value, &before, MPI_INT64_T, 0, slot_at(slot), MPI_SUM, win));
    WD_MPI(MPI_Win_flush(0, win));
    return before;
  }

  void store(int64_t slot, int64_t value) override {
    WD_MPI(MPI_Accumulate(&value, 1, MPI_INT64_T, 0, slot_at(slot), 1, MPI_INT64_T, MPI_REPLACE, win));
    WD_MPI(MPI_Win_flush(0, win));
  }

  bool direct() const override { return true; }

  MPI_Win win;
  int rank = 0, size = 1;
};

}  // namespace

std::unique_ptr<BoardStore> window_store(MPI_Comm comm, int64_t slots) {
  int rank = 0, size = 1, local_size = 1;
  MPI_Comm local;
  WD_MPI(MPI_Comm_rank(comm, &rank));
  WD_MPI(MPI_Comm_size(comm, &size));
  WD_MPI(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &local));
  WD_MPI(MPI_Comm_size(local, &local_size));
  WD_MPI(MPI_Comm_free(&local));
  if (local_size < size) return nullptr;  // then on all ranks: no host has them all

  int64_t* words = nullptr;
  MPI_Win win;
  const auto bytes = static_cast<MPI_Aint>(
      rank == 0 ? WindowStore::word_count(size, slots) * static_cast<int64_t>(sizeof(int64_t)) : 0);
  int made =
      MPI_Win_allocate_shared(bytes, sizeof(int64_t), MPI_INFO_NULL, comm, &words, &win) == MPI_SUCCESS;
  WD_MPI(MPI_Allreduce(MPI_IN_PLACE, &made, 1, MPI_INT, MPI_MIN, comm));
  if (made == 0) return nullptr;  // a window that some ranks have is left: to free it takes all of them
  return std::make_unique<WindowStore>(comm, win, words, slots);
}

}  // namespace wandistill
