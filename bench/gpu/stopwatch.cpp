#include "bench/gpu/stopwatch.h"

#include <chrono>

#ifdef WD_CUDA
#include "src/gpu/cuda_device.h"
#endif

namespace wandistill::bench {
namespace {

class HostStopwatch : public Stopwatch {
 public:
  explicit HostStopwatch(Stream& stream) : stream_(stream) {}
  void start() override {
    stream_.synchronize();
    start_ = Clock::now();
  }
  void stop() override {
    stream_.synchronize();
    stop_ = Clock::now();
  }
  double seconds() override { return std::chrono::duration<double>(stop_ - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Stream& stream_;
  Clock::time_point start_, stop_;
};

#ifdef WD_CUDA
class CudaStopwatch : public Stopwatch {
 public:
  explicit CudaStopwatch(CudaStream& stream) : stream_(stream) {
    for (cudaEvent_t* event : {&start_, &stop_}) WD_CHECK_CUDA(cudaEventCreate(event));
  }
  ~CudaStopwatch() override {
    for (cudaEvent_t event : {start_, stop_}) cudaEventDestroy(event);
  }
  void start() override { WD_CHECK_CUDA(cudaEventRecord(start_, stream_.get())); }
  void stop() override { WD_CHECK_CUDA(cudaEventRecord(stop_, stream_.get())); }
  double seconds() override {
    float milliseconds = 0;
    WD_CHECK_CUDA(cudaEventSynchronize(stop_));
    WD_CHECK_CUDA(cudaEventElapsedTime(&milliseconds, start_, stop_));
    return 1e-3 * static_cast<double>(milliseconds);
  }

 private:
  CudaStream& stream_;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
};
#endif

}  // namespace

std::unique_ptr<Stopwatch> make_stopwatch(const Compute& compute) {
#ifdef WD_CUDA
  if (auto* stream = dynamic_cast<CudaStream*>(compute.stream))
    return std::make_unique<CudaStopwatch>(*stream);
#endif
  return std::make_unique<HostStopwatch>(*compute.stream);
}

}  // namespace wandistill::bench
