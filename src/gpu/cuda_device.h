// The CUDA device, for those who need CUDA's own stream.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <optional>

#include "src/gpu/capture.h"
#include "src/gpu/staging_ring.h"
#include "wandistill/gpu.h"
#include "wandistill/queue.h"

namespace wandistill {

/// A CUDA call must succeed: else Error with call and place.
#define WD_CHECK_CUDA(call) ::wandistill::check_cuda((call), #call, __FILE__, __LINE__)
void check_cuda(cudaError_t status, const char* call, const char* file, int line);

class CudaDevice;
class CudaProducts;
class CudnnConvolutions;

class CudaEvent : public Event {
 public:
  CudaEvent();
  ~CudaEvent() override;
  void synchronize() override;
  bool reached() override;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaStream : public Stream {
 public:
  explicit CudaStream(CudaDevice& device);
  ~CudaStream() override;
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

  cudaStream_t get() const { return stream_; }
  CudaDevice& device() { return device_; }
  /// Scratch memory for matrix products, kWorkspaceBytes of it.
  void* workspace();
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

 private:
  StagingRing& ring();

  CudaDevice& device_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<StagingRing> ring_;  // made at first use, as the workspace
  void* workspace_ = nullptr;
  std::optional<CaptureLedger> capture_;  // while capturing
};

/// The queue's stream; Error if it is not a CUDA device's.
CudaStream& cuda_stream(const Queue& queue);

class CudaDevice : public Device {
 public:
  CudaDevice(int ordinal, int compute_capability);
  ~CudaDevice() override;
  std::string name() const override { return properties_.name; }
  int compute_capability() const override;
  int64_t free_bytes() const override;
  std::unique_ptr<Stream> make_stream() override;
  std::unique_ptr<Event> make_event() override;
  void* allocate_pinned(int64_t bytes) override;
  void release_pinned(void* memory) noexcept override;
  void pin(void* memory, int64_t bytes) override;
  void unpin(void* memory) noexcept override;
  void synchronize() override;

  CudaProducts& products() { return *products_; }
  /// Made by those who need it: not every build has cuDNN.
  std::shared_ptr<CudnnConvolutions>& cudnn() { return cudnn_; }

 private:
  cudaDeviceProp properties_{};
  cudaMemPool_t pool_ = nullptr;
  const int most_capability_;
  std::unique_ptr<CudaProducts> products_;
  std::shared_ptr<CudnnConvolutions> cudnn_;
};

}  // namespace wandistill
