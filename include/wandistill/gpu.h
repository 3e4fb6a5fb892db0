// The thin GPU layer: a device, its memory, streams and events. Two implementations: CUDA, and SIMT, which
// runs the same kernels' source on the CPU and looks for mistakes (kernels/README.md).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace wandistill {

/// A point in a stream's work.
class Event {
 public:
  virtual ~Event() = default;
  /// Returns when the work in front of the last record() is done; at once if there was none.
  virtual void synchronize() = 0;
  /// True if that work is done. A SIMT device, where nothing goes on by itself, does it then.
  virtual bool reached() = 0;
};

class Stream;

/// A piece of a stream's work that is enqueued as one (Stream::begin_capture). Lives no longer than the
/// stream; the destructor may wait.
class Graph {
 public:
  virtual ~Graph() = default;
  /// Enqueues the work. Error if it is another stream than the one that it was captured from, whose scratch
  /// memory it uses.
  virtual void launch(Stream& stream) = 0;
};

/// Work that the device does in order. Nothing is ordered between streams but by events, and the host may
/// touch what a stream reads or writes only before it is enqueued and after a synchronize(). Errors of
/// kernels are thrown (as Error) by synchronize(). The destructor waits. For one thread at a time: on CUDA
/// the one that made the device.
class Stream {
 public:
  virtual ~Stream() = default;
  /// Copies `bytes` bytes within device memory, or between it and pinned host memory.
  virtual void copy(void* to, const void* from, int64_t bytes) = 0;
  /// Enqueues a copy of host memory, which may be changed or freed at once. Waits while too much of what was
  /// uploaded before has not got there yet: on CUDA 8 MiB, or what reserve_uploads() asked for.
  virtual void upload(void* to, const void* from_host, int64_t bytes) = 0;
  /// From now on so many bytes of uploads may be on their way. Takes as much pinned memory, until the stream
  /// goes.
  virtual void reserve_uploads(int64_t bytes) = 0;
  /// Copies to host memory: there when it returns.
  virtual void download(void* to_host, const void* from, int64_t bytes) = 0;
  virtual void fill(void* to, uint8_t byte, int64_t bytes) = 0;
  virtual void record(Event& event) = 0;
  /// What is enqueued from now on starts after the work in front of the event's last record().
  virtual void wait(Event& event) = 0;
  virtual void synchronize() = 0;
  /// Device memory, 256-byte aligned, uninitialised, from the stream's next operation on and until its
  /// release(); other streams need an event behind the first and in front of the second.
  virtual void* allocate(int64_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;

  /// What is enqueued until end_capture() is not done but becomes a graph, whose launches do it with the same
  /// addresses and with what lies there then. It should have run once before: what is made at first use
  /// (products' plans, loaded kernels) cannot be made in all cases while capturing. Kernels, products, copies
  /// and fills may be captured, and buffers that are allocated and released within: their memory is the
  /// graph's. Error for all that involves the host or other streams (upload, download, record, wait,
  /// synchronize, collectives), which leaves the capture as it was.
  virtual void begin_capture() = 0;
  /// Error, without a graph, if there was no begin_capture(), or if a buffer was not allocated and released
  /// within.
  virtual std::unique_ptr<Graph> end_capture() = 0;
};

/// Streams, events and buffers live no longer than their device.
class Device {
 public:
  virtual ~Device() = default;
  /// What the device calls itself, for the log.
  virtual std::string name() const = 0;
  /// That kernels may use: 80, or on Hopper 90.
  virtual int compute_capability() const = 0;
  /// Bytes that can be allocated; -1: the host's.
  virtual int64_t free_bytes() const = 0;
  virtual std::unique_ptr<Stream> make_stream() = 0;
  virtual std::unique_ptr<Event> make_event() = 0;
  /// Host memory that a stream's copy() can read and write.
  virtual void* allocate_pinned(int64_t bytes) = 0;
  virtual void release_pinned(void* memory) noexcept = 0;
  /// Makes memory of another owner, such as a window that processes share, readable for a stream's copy()
  /// until unpin(). Synchronise before that.
  virtual void pin(void* memory, int64_t bytes) = 0;
  virtual void unpin(void* memory) noexcept = 0;
  /// Waits for all streams.
  virtual void synchronize() = 0;
};

/// The order in which what is unordered happens on the SIMT device: the threads of a block, the blocks of a
/// grid, the work of streams. Forward: the first thread, and the stream that is waited for. Reverse: the last
/// of all. Random: seeded.
enum class SimtOrder { kForward, kReverse, kRandom };

struct SimtOptions {
  SimtOrder order = SimtOrder::kForward;
  uint64_t seed = 1;
  /// Asynchronous copies and products are done when they are issued; else as late as they may.
  bool early_copies = false;
  /// Of the GPU that it stands for: kernels for 80, or for Hopper, 90, too.
  int compute_capability = 80;
};

std::unique_ptr<Device> make_simt_device(const SimtOptions& options);

/// CUDA devices of this machine: none in a build without CUDA or where there is no driver.
int cuda_device_count();
/// What identifies each of them, whatever ordinal it has in this process.
std::vector<std::string> cuda_device_ids();
/// What else is known of them without using one.
struct CudaFacts {
  std::string runtime, driver;     // the CUDA version of each, "13.0"; empty: there is none
  std::string problem;             // why there are no devices
  std::vector<std::string> names;  // of every device, with its place on the bus
};
CudaFacts cuda_facts();
/// Error if there is no such device. Kernels for a newer compute capability than this one are not used.
std::unique_ptr<Device> make_cuda_device(int ordinal, int compute_capability = 90);

/// `count` elements of device memory in the order of `stream`, which must outlive it.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(Stream& stream, int64_t count)
      : stream_(&stream),
        data_(static_cast<T*>(stream.allocate(count * static_cast<int64_t>(sizeof(T))))),
        size_(count) {}
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(stream_, other.stream_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceBuffer() {
    if (data_) stream_->release(data_);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  Stream* stream_ = nullptr;
  T* data_ = nullptr;
  int64_t size_ = 0;
};

/// `count` elements of pinned host memory. Synchronise before it goes.
template <class T>
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(Device& device, int64_t count)
      : device_(&device),
        data_(static_cast<T*>(device.allocate_pinned(count * static_cast<int64_t>(sizeof(T))))),
        size_(count) {}
  PinnedBuffer(PinnedBuffer&& other) noexcept { *this = std::move(other); }
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~PinnedBuffer() {
    if (data_) device_->release_pinned(data_);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }

 private:
  Device* device_ = nullptr;
  T* data_ = nullptr;
  int64_t size_ = 0;
};

/// Enqueues a copy of `count` elements.
template <class T>
void copy(Stream& stream, T* to, const T* from, int64_t count) {
  stream.copy(to, from, count * static_cast<int64_t>(sizeof(T)));
}

}  // namespace wandistill
