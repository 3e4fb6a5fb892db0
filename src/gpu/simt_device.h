// The SIMT device: streams are lists of closures that nobody runs before somebody waits, and then in an order
// that is legal but as unhelpful as can be, so that a missing event shows as a wrong result.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "kernels/simt/grid.h"
#include "kernels/simt/random.h"
#include "src/gpu/capture.h"
#include "src/gpu/staging_ring.h"
#include "wandistill/gpu.h"

namespace wandistill {

class SimtDevice;
class SimtStream;

/// A point in a stream that its work will reach.
struct SimtMarker {
  SimtStream* stream;
  bool reached = false;
};

class SimtEvent : public Event {
 public:
  explicit SimtEvent(SimtDevice& device) : device_(device) {}
  void synchronize() override;
  bool reached() override {
    synchronize();
    return true;
  }

 private:
  friend class SimtStream;
  SimtDevice& device_;
  std::shared_ptr<SimtMarker> last_record_;
};

class SimtStream : public Stream {
 public:
  explicit SimtStream(SimtDevice& device);
  ~SimtStream() override;
  void copy(void* to, const void* from, int64_t bytes) override;
  void upload(void* to, const void* from_host, int64_t bytes) override;
  void reserve_uploads(int64_t bytes) override { ring().reserve(bytes); }
  void download(void* to_host, const void* from, int64_t bytes) override;
  void fill(void* to, uint8_t byte, int64_t bytes) override;
  void record(Event& event) override;
  void wait(Event& event) override;
  void synchronize() override;
  void* allocate(int64_t bytes) override;
  void release(void* memory) noexcept override;
  void begin_capture() override;
  std::unique_ptr<Graph> end_capture() override;

  /// The operation runs when the stream gets there, or at every launch of the graph that it becomes part of.
  void enqueue(std::function<void()> operation);
  SimtDevice& device() { return device_; }
  simt::engine::BlockPool& blocks() { return blocks_; }

 private:
  friend class SimtDevice;
  /// One of the three: something to do, a marker to reach, a marker to wait for.
  struct Operation {
    std::function<void()> run;
    std::shared_ptr<SimtMarker> reaches;
    std::shared_ptr<SimtMarker> awaits;
  };

  StagingRing& ring();
  void push(Operation operation);
  std::shared_ptr<SimtMarker> mark();
  /// The marker that the front operation waits for, if it cannot go on.
  const SimtMarker* blocked_by() const;
  /// Returns the error of a kernel, if there was one.
  std::string run_front();
  void run_operation();

  SimtDevice& device_;
  std::deque<std::unique_ptr<Operation>> pending_;
  // Each stream has its own identities for the race checker, as what streams do is unordered but by events.
  void* identity_;
  simt::engine::BlockPool blocks_;
  std::unique_ptr<StagingRing> ring_;  // made at first use

  struct Capture {
    CaptureLedger ledger;
    std::vector<std::function<void()>> work;
    std::vector<void*> memory;  // of the buffers that were allocated and released within
  };
  std::optional<Capture> capture_;  // while capturing
};

class SimtGraph : public Graph {
 public:
  /// memory: becomes the graph's.
  SimtGraph(SimtStream& stream, std::vector<std::function<void()>> work, std::vector<void*> memory)
      : stream_(stream), work_(std::move(work)), memory_(std::move(memory)) {}
  ~SimtGraph() override;
  void launch(Stream& stream) override;

 private:
  SimtStream& stream_;
  const std::vector<std::function<void()>> work_;
  const std::vector<void*> memory_;
};

class SimtDevice : public Device {
 public:
  explicit SimtDevice(const SimtOptions& options) : options_(options), random_(options.seed) {}
  ~SimtDevice() override;
  std::string name() const override { return "SIMT layer on the CPU"; }
  int compute_capability() const override { return options_.compute_capability; }
  int64_t free_bytes() const override { return -1; }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<SimtStream>(*this); }
  std::unique_ptr<Event> make_event() override { return std::make_unique<SimtEvent>(*this); }
  void* allocate_pinned(int64_t bytes) override;
  void release_pinned(void* memory) noexcept override;
  void pin(void* memory, int64_t bytes) override;
  void unpin(void* memory) noexcept override;
  void synchronize() override;

  const SimtOptions& options() const { return options_; }
  /// How often the host waited for something that was not done yet.
  int64_t host_waits() const { return host_waits_; }

 private:
  friend class SimtStream;
  friend class SimtEvent;

  void run_until(const SimtMarker& marker);
  SimtStream& choose(const SimtMarker& marker);
  char* allocate(int64_t bytes);
  void free_locked(void* memory) noexcept;
  void poison_locked(void* memory) noexcept;
  /// Fails unless the range lies within one allocation.
  void require_known(const char* what, const void* begin, int64_t bytes);

  const SimtOptions options_;
  std::recursive_mutex mutex_;  // guards all that follows, and the streams' operations
  std::vector<SimtStream*> streams_;
  std::map<char*, int64_t> memory_;  // begin, bytes
  std::set<char*> pinned_;           // of these, what another owns
  simt::engine::Random random_;
  int64_t host_waits_ = 0;
  std::string error_;  // of a kernel; nothing runs after it, as on a GPU
};

}  // namespace wandistill
