#include "src/gpu/simt_device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "kernels/simt/launch.h"
#include "kernels/simt/sanitizers.h"
#include "wandistill/error.h"

namespace wandistill {

namespace engine = simt::engine;

namespace {

constexpr int64_t kStagingBytes = int64_t{64} << 10;  // of each piece: few, so that it goes round in tests

}  // namespace

// ---- Events and streams

void SimtEvent::synchronize() {
  std::shared_ptr<SimtMarker> marker;
  {
    const std::lock_guard lock(device_.mutex_);
    marker = last_record_;
  }
  if (marker) device_.run_until(*marker);
}

SimtStream::SimtStream(SimtDevice& device) : device_(device), identity_(engine::make_identity()) {
  const std::lock_guard lock(device_.mutex_);
  device_.streams_.push_back(this);
}

SimtStream::~SimtStream() {
  capture_.reset();
  try {
    synchronize();
  } catch (const Error&) {
    // Whoever waited for the work has heard of it.
  }
  const std::lock_guard lock(device_.mutex_);
  std::erase(device_.streams_, this);
  engine::destroy_identity(identity_);
}

void SimtStream::push(Operation operation) {
  const std::lock_guard lock(device_.mutex_);
  if (!device_.error_.empty()) {
    if (operation.reaches) operation.reaches->reached = true;
    return;
  }
  pending_.push_back(std::make_unique<Operation>(std::move(operation)));
  engine::release(pending_.back().get());  // what the host did before is seen by the operation
}

void SimtStream::enqueue(std::function<void()> operation) {
  if (capture_)
    capture_->work.push_back(std::move(operation));
  else
    push({std::move(operation), nullptr, nullptr});
}

void SimtStream::copy(void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  device_.require_known("copy to", to, bytes);
  device_.require_known("copy from", from, bytes);
  enqueue([=] { std::memcpy(to, from, static_cast<size_t>(bytes)); });
}

void SimtStream::upload(void* to, const void* from_host, int64_t bytes) {
  if (capture_) refuse_in_capture("an upload");
  ring().upload(*this, to, from_host, bytes);
}

StagingRing& SimtStream::ring() {
  if (!ring_) ring_ = std::make_unique<StagingRing>(device_, kStagingBytes);
  return *ring_;
}

void SimtStream::download(void* to_host, const void* from, int64_t bytes) {
  if (capture_) refuse_in_capture("a download");
  if (bytes == 0) return;
  device_.require_known("download from", from, bytes);
  enqueue([=] { std::memcpy(to_host, from, static_cast<size_t>(bytes)); });
  synchronize();
}

void SimtStream::fill(void* to, uint8_t byte, int64_t bytes) {
  if (bytes == 0) return;
  device_.require_known("fill", to, bytes);
  enqueue([=] { std::memset(to, byte, static_cast<size_t>(bytes)); });
}

std::shared_ptr<SimtMarker> SimtStream::mark() {
  auto marker = std::make_shared<SimtMarker>(SimtMarker{this});
  push({nullptr, marker, nullptr});
  return marker;
}

void SimtStream::record(Event& event) {
  if (capture_) refuse_in_capture("an event's record");
  auto marker = mark();
  const std::lock_guard lock(device_.mutex_);
  dynamic_cast<SimtEvent&>(event).last_record_ = std::move(marker);
}

void SimtStream::wait(Event& event) {
  if (capture_) refuse_in_capture("a wait for an event");
  const std::lock_guard lock(device_.mutex_);
  if (auto marker = dynamic_cast<SimtEvent&>(event).last_record_) push({nullptr, nullptr, std::move(marker)});
}

void SimtStream::synchronize() {
  if (capture_) refuse_in_capture("a synchronize");
  device_.run_until(*mark());
}

void* SimtStream::allocate(int64_t bytes) {
  void* memory = device_.allocate(bytes);
  // In the stream's order, so that who uses it without an event may find his data gone.
  if (memory) fill(memory, 0xFF, bytes);
  if (memory && capture_) capture_->ledger.allocated(memory);
  return memory;
}

void SimtStream::release(void* memory) noexcept {
  if (!capture_) return enqueue([this, memory] { device_.free_locked(memory); });
  if (!capture_->ledger.released(memory)) return;
  capture_->memory.push_back(memory);
  enqueue([this, memory] { device_.poison_locked(memory); });
}

void SimtStream::begin_capture() {
  if (capture_) refuse_in_capture("a begin_capture");
  capture_.emplace();
}

std::unique_ptr<Graph> SimtStream::end_capture() {
  if (!capture_) refuse_end_capture();
  Capture done = *std::exchange(capture_, std::nullopt);
  for (void* memory : done.ledger.older()) release(memory);
  auto graph = std::make_unique<SimtGraph>(*this, std::move(done.work), std::move(done.memory));
  done.ledger.check();
  return graph;
}

const SimtMarker* SimtStream::blocked_by() const {
  if (pending_.empty()) return nullptr;
  const SimtMarker* marker = pending_.front()->awaits.get();
  return marker && !marker->reached ? marker : nullptr;
}

std::string SimtStream::run_front() {
  std::string error;
  {
    const engine::ActAs as(identity_);
    try {
      run_operation();
    } catch (const Error& thrown) {
      error = thrown.what();
      engine::release(this);
    }
  }
  if (!error.empty()) engine::acquire(this);
  return error;
}

void SimtStream::run_operation() {
  const std::unique_ptr<Operation> operation = std::move(pending_.front());
  pending_.pop_front();
  engine::acquire(operation.get());
  if (operation->run) operation->run();
  if (operation->awaits) engine::acquire(operation->awaits.get());
  if (operation->reaches) {
    engine::release(operation->reaches.get());
    operation->reaches->reached = true;
  }
}

// ---- Graphs

SimtGraph::~SimtGraph() {
  for (void* memory : memory_) stream_.release(memory);
}

void SimtGraph::launch(Stream& stream) {
  if (&stream != &stream_) refuse_other_stream();
  for (const auto& operation : work_) stream_.enqueue(operation);
}

// ---- The device

SimtDevice::~SimtDevice() {
  for (char* memory : pinned_) memory_.erase(memory);
  while (!memory_.empty()) free_locked(memory_.begin()->first);
}

void SimtDevice::synchronize() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<SimtMarker>> markers;
  for (SimtStream* stream : streams_) markers.push_back(stream->mark());
  for (const auto& marker : markers) run_until(*marker);
}

void SimtDevice::run_until(const SimtMarker& marker) {
  const std::lock_guard lock(mutex_);
  host_waits_ += !marker.reached;
  while (error_.empty() && !marker.reached) {
    error_ = choose(marker).run_front();
    if (error_.empty()) continue;
    for (SimtStream* stream : streams_) stream->pending_.clear();
  }
  if (!error_.empty()) throw Error(error_);
  engine::acquire(const_cast<SimtMarker*>(&marker));
}

/// Forward: only what the marker needs. Reverse: the last stream that can go on. Random: any.
SimtStream& SimtDevice::choose(const SimtMarker& marker) {
  if (options_.order == SimtOrder::kForward) {
    SimtStream* stream = marker.stream;
    while (const SimtMarker* before = stream->blocked_by()) stream = before->stream;
    return *stream;
  }
  std::vector<SimtStream*> able;
  for (SimtStream* stream : streams_)
    if (!stream->pending_.empty() && !stream->blocked_by()) able.push_back(stream);
  WD_REQUIRE(!able.empty());
  return options_.order == SimtOrder::kReverse
             ? *able.back()
             : *able[static_cast<size_t>(random_.below(static_cast<int>(able.size())))];
}

void* SimtDevice::allocate_pinned(int64_t bytes) {
  char* memory = allocate(bytes);
  if (memory) std::memset(memory, 0xFF, static_cast<size_t>(bytes));
  return memory;
}

void SimtDevice::release_pinned(void* memory) noexcept {
  const std::lock_guard lock(mutex_);
  free_locked(memory);
}

void SimtDevice::pin(void* memory, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  memory_[static_cast<char*>(memory)] = bytes;
  pinned_.insert(static_cast<char*>(memory));
}

void SimtDevice::unpin(void* memory) noexcept {
  const std::lock_guard lock(mutex_);
  memory_.erase(static_cast<char*>(memory));
  pinned_.erase(static_cast<char*>(memory));
}

char* SimtDevice::allocate(int64_t bytes) {
  WD_REQUIRE(bytes >= 0);
  if (bytes == 0) return nullptr;
  void* memory = nullptr;  // of exactly this size, for AddressSanitizer
  if (posix_memalign(&memory, 256, static_cast<size_t>(bytes))) throw std::bad_alloc();
  const std::lock_guard lock(mutex_);
  memory_[static_cast<char*>(memory)] = bytes;
  return static_cast<char*>(memory);
}

// Without the lock, which the thread that runs the streams holds.
void SimtDevice::free_locked(void* memory) noexcept {
  memory_.erase(static_cast<char*>(memory));
  std::free(memory);
}

void SimtDevice::poison_locked(void* memory) noexcept {
  std::memset(memory, 0xFF, static_cast<size_t>(memory_.at(static_cast<char*>(memory))));
}

void SimtDevice::require_known(const char* what, const void* begin, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  auto* const at = static_cast<char*>(const_cast<void*>(begin));
  auto next = memory_.upper_bound(at);
  if (next == memory_.begin() || at + bytes > std::prev(next)->first + std::prev(next)->second)
    fail("SIMT: ", what, " ", begin, ", ", bytes, " bytes: not within one buffer of device or pinned memory");
}

std::unique_ptr<Device> make_simt_device(const SimtOptions& options) {
  return std::make_unique<SimtDevice>(options);
}

// ---- Launches

namespace {

SimtStream& simt_stream(const Queue& queue) {
  auto* stream = dynamic_cast<SimtStream*>(queue.stream);
  if (!stream) fail("SIMT: the queue has no stream of a SIMT device");
  return *stream;
}

}  // namespace

int simt::compute_capability(const Queue& queue) {
  return simt_stream(queue).device().compute_capability();
}

void simt::engine::enqueue(const Queue& queue, dim3 grid, dim3 block, size_t dynamic_bytes,
                           std::function<void()> kernel) {
  SimtStream* const stream = &simt_stream(queue);
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads < 1 || threads > 1024 || block.z > 64 || grid.x > 0x7FFFFFFF || grid.y > 65535 ||
      grid.z > 65535)
    fail("SIMT: no GPU launches a grid of (", grid.x, ",", grid.y, ",", grid.z, ") blocks of (", block.x, ",",
         block.y, ",", block.z, ") threads");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  stream->enqueue([stream, grid, block, dynamic_bytes, threads = queue.threads, kernel = std::move(kernel)] {
    Grid shared(grid, block, dynamic_bytes, stream->device().options(), kernel);
    run_grid(stream->blocks(), threads, shared);
  });
}

}  // namespace wandistill
