// A RankBoard in rank 0's memory, kept by a thread that answers messages.
#include <csignal>
#include <mutex>
#include <thread>

#include "board_store.h"
#include "pause.h"
#include "wandistill/session.h"

namespace wandistill {
namespace {

// Rejected: no pause (takes a core from the compute). A message waits half of it, on average.
constexpr std::chrono::milliseconds kPollInterval{1};
constexpr double kAnswerSeconds = 60, kReadSeconds = 10;
constexpr int kRequestTag = 0, kAnswerTags = 30000;  // MPI promises tags up to 32767

enum class Request : int64_t { kPost, kRead, kFetchAdd, kStore, kEnd };

struct Message {
  Request request;
  int64_t slot, value;
  int64_t answer_tag;
  BoardEntry entry;
};

/// A thread that takes no signals: their handlers are for the main thread.
template <class Work>
std::thread quiet_thread(Work work) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  std::thread thread(work);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

struct MessageStore : BoardStore {
  MessageStore(MPI_Comm c, int64_t slot_count) : comm(c) {
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    if (rank != 0) return;
    entries.resize(static_cast<size_t>(size));
    slots.assign(static_cast<size_t>(slot_count), 0);
    if (size > 1) thread = quiet_thread([this] { keep(); });
  }

  ~MessageStore() override {
    if (rank != 0) {
      // An own buffer for each, in order: the thread ends when it has every rank's last message.
      if (posting != MPI_REQUEST_NULL) WD_MPI(MPI_Wait(&posting, MPI_STATUS_IGNORE));
      Message message = {Request::kEnd, 0, 0, 0, {}};
      WD_MPI(MPI_Send(&message, sizeof(message), MPI_BYTE, 0, kRequestTag, comm));
    } else if (thread.joinable()) {
      thread.join();
    }
  }

  void post(const BoardEntry& entry) override {
    if (rank == 0) {
      const std::lock_guard<std::mutex> lock(mutex);
      entries[0] = entry;
      return;
    }
    int sent = 1;  // the last one, hence its buffer is free
    WD_MPI(MPI_Test(&posting, &sent, MPI_STATUS_IGNORE));
    if (!sent) return;  // rank 0 takes no messages at present: rather lose a text than wait
    post_message = {Request::kPost, 0, 0, 0, entry};
    WD_MPI(MPI_Isend(&post_message, sizeof(Message), MPI_BYTE, 0, kRequestTag, comm, &posting));
  }

  bool read(std::vector<BoardEntry>* all) override {
    all->resize(static_cast<size_t>(size));
    if (rank != 0) {
      return ask({Request::kRead, 0, 0, 0, {}}, all->data(), all->size() * sizeof(BoardEntry), kReadSeconds);
    }
    const std::lock_guard<std::mutex> lock(mutex);
    *all = entries;
    return true;
  }

  int64_t fetch_add(int64_t slot, int64_t value) override {
    return change({Request::kFetchAdd, slot, value, 0, {}});
  }
  void store(int64_t slot, int64_t value) override { change({Request::kStore, slot, value, 0, {}}); }
  bool direct() const override { return size == 1; }

  /// Does it to the slot; the value before.
  int64_t change(const Message& m) {
    int64_t before = 0;
    if (rank != 0) {
      if (!ask(m, &before, sizeof(before), kAnswerSeconds)) {
        fail("rank 0 has not answered for ", kAnswerSeconds, " s: its host is stopped or overloaded");
      }
      return before;
    }
    const std::lock_guard<std::mutex> lock(mutex);
    int64_t& value = slots[static_cast<size_t>(m.slot)];
    before = value;
    value = m.request == Request::kFetchAdd ? value + m.value : m.value;
    return before;
  }

  /// Every question has a tag of its own, so that an answer which comes too late is nobody's.
  bool ask(Message message, void* answer, size_t bytes, double limit_seconds) {
    last_tag = last_tag % kAnswerTags + 1;
    message.answer_tag = last_tag;
    MPI_Request request;
    WD_MPI(MPI_Irecv(answer, static_cast<int>(bytes), MPI_BYTE, 0, last_tag, comm, &request));
    WD_MPI(MPI_Send(&message, sizeof(message), MPI_BYTE, 0, kRequestTag, comm));
    int answered = 0;
    for (WaitClock clock; clock.seconds() < limit_seconds; clock.pause()) {
      WD_MPI(MPI_Test(&request, &answered, MPI_STATUS_IGNORE));
      if (answered) return true;
    }
    WD_MPI(MPI_Cancel(&request));
    WD_MPI(MPI_Wait(&request, MPI_STATUS_IGNORE));
    return false;
  }

  /// The thread of rank 0.
  void keep() {
    int left = size - 1;
    while (left > 0) {
      Message m;
      MPI_Request request;
      MPI_Status status;
      WD_MPI(MPI_Irecv(&m, sizeof(m), MPI_BYTE, MPI_ANY_SOURCE, kRequestTag, comm, &request));
      int came = 0;
      while (true) {
        WD_MPI(MPI_Test(&request, &came, &status));
        if (came) break;
        std::this_thread::sleep_for(kPollInterval);
      }
      switch (m.request) {
        case Request::kPost: {
          const std::lock_guard<std::mutex> lock(mutex);
          entries[static_cast<size_t>(status.MPI_SOURCE)] = m.entry;
          break;
        }
        case Request::kRead: {
          std::vector<BoardEntry> all;
          read(&all);
          answer(status, m, all.data(), all.size() * sizeof(BoardEntry));
          break;
        }
        case Request::kFetchAdd:
        case Request::kStore: {
          const int64_t before = change(m);
          answer(status, m, &before, sizeof(before));
          break;
        }
        case Request::kEnd:
          --left;
      }
    }
  }

  void answer(const MPI_Status& from, const Message& m, const void* data, size_t bytes) {
    WD_MPI(MPI_Send(data, static_cast<int>(bytes), MPI_BYTE, from.MPI_SOURCE, static_cast<int>(m.answer_tag),
                    comm));
  }

  MPI_Comm comm;
  int rank = 0, size = 1;
  // Rank 0's:
  std::mutex mutex;  // guards entries and slots
  std::vector<BoardEntry> entries;
  std::vector<int64_t> slots;
  std::thread thread;
  // The other ranks':
  int last_tag = 0;
  Message post_message = {};
  MPI_Request posting = MPI_REQUEST_NULL;
};

}  // namespace

std::unique_ptr<BoardStore> message_store(MPI_Comm comm, int64_t slots) {
  return std::make_unique<MessageStore>(comm, slots);
}

}  // namespace wandistill
