// The CUDA device, on the runtime API alone.
#include <cuda_runtime.h>

#include "wandistill/error.h"
#include "wandistill/gpu.h"
#include "wandistill/queue.h"

namespace wandistill {
namespace {

void check(cudaError_t status, const char* call, const char* file, int line) {
  if (status != cudaSuccess)
    fail("CUDA: ", call, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ") at ", file, ":",
         line);
}
#define WD_CHECK_CUDA(call) check(call, #call, __FILE__, __LINE__)

class CudaEvent : public Event {
 public:
  CudaEvent() { WD_CHECK_CUDA(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)); }
  ~CudaEvent() override { cudaEventDestroy(event_); }
  void synchronize() override { WD_CHECK_CUDA(cudaEventSynchronize(event_)); }
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaStream : public Stream {
 public:
  // Not ordered with the legacy default stream.
  CudaStream() { WD_CHECK_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~CudaStream() override {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }
  void copy(void* to, const void* from, int64_t bytes) override {
    WD_CHECK_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_));
  }
  void upload(void* to, const void* from_host, int64_t bytes) override {
    WD_CHECK_CUDA(
        cudaMemcpyAsync(to, from_host, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream_));
    WD_CHECK_CUDA(cudaStreamSynchronize(stream_));
  }
  void download(void* to_host, const void* from, int64_t bytes) override {
    WD_CHECK_CUDA(
        cudaMemcpyAsync(to_host, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, stream_));
    WD_CHECK_CUDA(cudaStreamSynchronize(stream_));
  }
  void fill(void* to, uint8_t byte, int64_t bytes) override {
    WD_CHECK_CUDA(cudaMemsetAsync(to, byte, static_cast<size_t>(bytes), stream_));
  }
  void record(Event& event) override {
    WD_CHECK_CUDA(cudaEventRecord(dynamic_cast<CudaEvent&>(event).get(), stream_));
  }
  void wait(Event& event) override {
    WD_CHECK_CUDA(cudaStreamWaitEvent(stream_, dynamic_cast<CudaEvent&>(event).get(), 0));
  }
  void synchronize() override { WD_CHECK_CUDA(cudaStreamSynchronize(stream_)); }
  void* allocate(int64_t bytes) override {
    void* memory = nullptr;
    if (bytes) WD_CHECK_CUDA(cudaMallocAsync(&memory, static_cast<size_t>(bytes), stream_));
    return memory;
  }
  void release(void* memory) noexcept override { cudaFreeAsync(memory, stream_); }
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class CudaDevice : public Device {
 public:
  explicit CudaDevice(int ordinal) {
    WD_CHECK_CUDA(cudaSetDevice(ordinal));
    WD_CHECK_CUDA(cudaGetDeviceProperties(&properties_, ordinal));
    // What is released stays in the pool for the next allocation, also across synchronisations.
    cudaMemPool_t pool;
    WD_CHECK_CUDA(cudaDeviceGetDefaultMemPool(&pool, ordinal));
    uint64_t keep_all = UINT64_MAX;
    WD_CHECK_CUDA(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep_all));
  }
  std::string name() const override { return properties_.name; }
  int64_t free_bytes() const override {
    size_t free = 0, total = 0;
    WD_CHECK_CUDA(cudaMemGetInfo(&free, &total));
    return static_cast<int64_t>(free);
  }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<CudaStream>(); }
  std::unique_ptr<Event> make_event() override { return std::make_unique<CudaEvent>(); }
  void* allocate_pinned(int64_t bytes) override {
    void* memory = nullptr;
    if (bytes) WD_CHECK_CUDA(cudaMallocHost(&memory, static_cast<size_t>(bytes)));
    return memory;
  }
  void release_pinned(void* memory) noexcept override { cudaFreeHost(memory); }
  void synchronize() override { WD_CHECK_CUDA(cudaDeviceSynchronize()); }

 private:
  cudaDeviceProp properties_{};
};

}  // namespace

int cuda_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::unique_ptr<Device> make_cuda_device(int ordinal) {
  const int count = cuda_device_count();
  if (ordinal < 0 || ordinal >= count)
    fail("CUDA device ", ordinal, " was asked for; this machine has ", count);
  return std::make_unique<CudaDevice>(ordinal);
}

namespace cuda {

// Declared in kernels/simt/ptx.h.
void launch_kernel(const Queue& queue, dim3 grid, dim3 block, size_t dynamic_bytes, const void* kernel,
                   void** arguments) {
  auto* stream = dynamic_cast<CudaStream*>(queue.stream);
  if (!stream) fail("CUDA: the queue has no stream of a CUDA device");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  constexpr size_t kUnasked = size_t{48} << 10;  // bytes of shared memory that a kernel has without asking
  if (dynamic_bytes > kUnasked)
    WD_CHECK_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(dynamic_bytes)));
  WD_CHECK_CUDA(cudaLaunchKernel(kernel, grid, block, arguments, dynamic_bytes, stream->get()));
}

}  // namespace cuda
}  // namespace wandistill
