// The CUDA device, on the runtime API.
#include "src/gpu/cuda_device.h"

#include <algorithm>

#include "src/gpu/cuda_products.h"
#include "wandistill/error.h"

namespace wandistill {
namespace {

constexpr int64_t kStagingBytes = int64_t{8} << 20;  // of each piece

}  // namespace

void check_cuda(cudaError_t status, const char* call, const char* file, int line) {
  if (status != cudaSuccess)
    fail("CUDA: ", call, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ") at ", file, ":",
         line);
}

// ---- Events

CudaEvent::CudaEvent() {
  WD_CHECK_CUDA(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming));
}

CudaEvent::~CudaEvent() {
  cudaEventDestroy(event_);
}

void CudaEvent::synchronize() {
  WD_CHECK_CUDA(cudaEventSynchronize(event_));
}

bool CudaEvent::reached() {
  const cudaError_t status = cudaEventQuery(event_);
  if (status == cudaErrorNotReady) return false;
  WD_CHECK_CUDA(status);
  return true;
}

// ---- Streams

// Not ordered with the legacy default stream.
CudaStream::CudaStream(CudaDevice& device) : device_(device) {
  WD_CHECK_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

CudaStream::~CudaStream() {
  if (capture_) {
    cudaGraph_t unfinished = nullptr;
    cudaStreamEndCapture(stream_, &unfinished);
    if (unfinished) cudaGraphDestroy(unfinished);
  }
  cudaStreamSynchronize(stream_);
  cudaFree(workspace_);
  cudaStreamDestroy(stream_);
}

void CudaStream::copy(void* to, const void* from, int64_t bytes) {
  WD_CHECK_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_));
}

void CudaStream::upload(void* to, const void* from_host, int64_t bytes) {
  if (capture_) refuse_in_capture("an upload");
  ring().upload(*this, to, from_host, bytes);
}

void CudaStream::download(void* to_host, const void* from, int64_t bytes) {
  if (capture_) refuse_in_capture("a download");
  ring().download(*this, to_host, from, bytes);
}

void CudaStream::fill(void* to, uint8_t byte, int64_t bytes) {
  WD_CHECK_CUDA(cudaMemsetAsync(to, byte, static_cast<size_t>(bytes), stream_));
}

void CudaStream::record(Event& event) {
  if (capture_) refuse_in_capture("an event's record");
  WD_CHECK_CUDA(cudaEventRecord(dynamic_cast<CudaEvent&>(event).get(), stream_));
}

void CudaStream::wait(Event& event) {
  if (capture_) refuse_in_capture("a wait for an event");
  WD_CHECK_CUDA(cudaStreamWaitEvent(stream_, dynamic_cast<CudaEvent&>(event).get(), 0));
}

void CudaStream::synchronize() {
  if (capture_) refuse_in_capture("a synchronize");
  WD_CHECK_CUDA(cudaStreamSynchronize(stream_));
}

void* CudaStream::allocate(int64_t bytes) {
  void* memory = nullptr;
  if (bytes) WD_CHECK_CUDA(cudaMallocAsync(&memory, static_cast<size_t>(bytes), stream_));
  if (memory && capture_) capture_->allocated(memory);
  return memory;
}

void CudaStream::release(void* memory) noexcept {
  if (!capture_ || capture_->released(memory)) cudaFreeAsync(memory, stream_);
}

StagingRing& CudaStream::ring() {
  if (!ring_) ring_ = std::make_unique<StagingRing>(device_, kStagingBytes);
  return *ring_;
}

void* CudaStream::workspace() {
  if (!workspace_) WD_CHECK_CUDA(cudaMalloc(&workspace_, kWorkspaceBytes));
  return workspace_;
}

CudaStream& cuda_stream(const Queue& queue) {
  auto* stream = dynamic_cast<CudaStream*>(queue.stream);
  if (!stream) fail("CUDA: the queue has no stream of a CUDA device");
  return *stream;
}

// ---- Graphs

namespace {

class CudaGraph : public Graph {
 public:
  CudaGraph(const CudaStream& stream, cudaGraph_t graph) : stream_(stream) {
    WD_CHECK_CUDA(cudaGraphInstantiate(&work_, graph, 0));
  }
  ~CudaGraph() override {
    cudaStreamSynchronize(stream_.get());
    cudaGraphExecDestroy(work_);
  }
  void launch(Stream& stream) override {
    if (&stream != &stream_) refuse_other_stream();
    WD_CHECK_CUDA(cudaGraphLaunch(work_, stream_.get()));
  }

 private:
  const CudaStream& stream_;
  cudaGraphExec_t work_ = nullptr;
};

}  // namespace

// Relaxed: what a library makes at its first use, if only now, does not end the capture.
void CudaStream::begin_capture() {
  if (capture_) refuse_in_capture("a begin_capture");
  WD_CHECK_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed));
  capture_.emplace();
}

std::unique_ptr<Graph> CudaStream::end_capture() {
  if (!capture_) refuse_end_capture();
  const CaptureLedger ledger = *std::exchange(capture_, std::nullopt);
  cudaGraph_t captured = nullptr;
  WD_CHECK_CUDA(cudaStreamEndCapture(stream_, &captured));
  const std::unique_ptr<CUgraph_st, decltype(&cudaGraphDestroy)> graph(captured, cudaGraphDestroy);
  for (void* memory : ledger.older()) release(memory);
  ledger.check();
  return std::make_unique<CudaGraph>(*this, graph.get());
}

// ---- The device

CudaDevice::CudaDevice(int ordinal, int compute_capability) : most_capability_(compute_capability) {
  WD_CHECK_CUDA(cudaSetDevice(ordinal));
  WD_CHECK_CUDA(cudaGetDeviceProperties(&properties_, ordinal));
  WD_CHECK_CUDA(cudaDeviceGetDefaultMemPool(&pool_, ordinal));
  // What is released stays in the pool for the next allocation, also across synchronisations; but for the
  // last sixteenth of the memory, as NCCL, cuDNN and the kernels' code do not allocate from the pool.
  uint64_t most_kept = properties_.totalGlobalMem / 16 * 15;
  WD_CHECK_CUDA(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &most_kept));
  products_ = std::make_unique<CudaProducts>();
}

CudaDevice::~CudaDevice() = default;

int CudaDevice::compute_capability() const {
  const int own = 10 * properties_.major + properties_.minor;
  // Hopper's code is not in every build, and runs on no later GPU.
  return own < 90 || (WD_HOPPER && own <= most_capability_) ? std::min(own, most_capability_) : 80;
}

std::unique_ptr<Stream> CudaDevice::make_stream() {
  return std::make_unique<CudaStream>(*this);
}

std::unique_ptr<Event> CudaDevice::make_event() {
  return std::make_unique<CudaEvent>();
}

void* CudaDevice::allocate_pinned(int64_t bytes) {
  void* memory = nullptr;
  if (bytes) WD_CHECK_CUDA(cudaMallocHost(&memory, static_cast<size_t>(bytes)));
  return memory;
}

void CudaDevice::release_pinned(void* memory) noexcept {
  cudaFreeHost(memory);
}

void CudaDevice::pin(void* memory, int64_t bytes) {
  WD_CHECK_CUDA(cudaHostRegister(memory, static_cast<size_t>(bytes), cudaHostRegisterPortable));
}

void CudaDevice::unpin(void* memory) noexcept {
  cudaHostUnregister(memory);
}

int64_t CudaDevice::free_bytes() const {
  size_t free = 0, total = 0;
  WD_CHECK_CUDA(cudaMemGetInfo(&free, &total));
  // What the pool holds and nobody uses is taken for the driver only.
  uint64_t reserved = 0, used = 0;
  WD_CHECK_CUDA(cudaMemPoolGetAttribute(pool_, cudaMemPoolAttrReservedMemCurrent, &reserved));
  WD_CHECK_CUDA(cudaMemPoolGetAttribute(pool_, cudaMemPoolAttrUsedMemCurrent, &used));
  return static_cast<int64_t>(free + (reserved - used));
}

void CudaDevice::synchronize() {
  WD_CHECK_CUDA(cudaDeviceSynchronize());
}

int cuda_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::vector<std::string> cuda_device_ids() {
  std::vector<std::string> ids;
  for (int ordinal = 0; ordinal < cuda_device_count(); ++ordinal) {
    cudaDeviceProp properties;
    WD_CHECK_CUDA(cudaGetDeviceProperties(&properties, ordinal));
    constexpr char kDigits[] = "0123456789abcdef";
    std::string id;
    for (const char byte : properties.uuid.bytes)
      for (const int shift : {4, 0}) id += kDigits[byte >> shift & 15];
    ids.push_back(id);
  }
  return ids;
}

CudaFacts cuda_facts() {
  const auto text = [](int version) {  // 1000 * major + 10 * minor; 0: none
    return version == 0 ? std::string() : cat(version / 1000, ".", version % 1000 / 10);
  };
  int runtime = 0, driver = 0, count = 0;
  WD_CHECK_CUDA(cudaRuntimeGetVersion(&runtime));
  WD_CHECK_CUDA(cudaDriverGetVersion(&driver));
  CudaFacts facts{text(runtime), text(driver), "", {}};
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess)
    facts.problem = driver == 0 ? "there is no driver" : cudaGetErrorString(status);
  for (int ordinal = 0; ordinal < cuda_device_count(); ++ordinal) {
    cudaDeviceProp properties;
    char bus[32];
    WD_CHECK_CUDA(cudaGetDeviceProperties(&properties, ordinal));
    WD_CHECK_CUDA(cudaDeviceGetPCIBusId(bus, sizeof bus, ordinal));
    facts.names.push_back(cat(properties.name, " at ", bus));
  }
  return facts;
}

std::unique_ptr<Device> make_cuda_device(int ordinal, int compute_capability) {
  const int count = cuda_device_count();
  if (ordinal < 0 || ordinal >= count)
    fail("CUDA device ", ordinal, " was asked for; this machine has ", count);
  return std::make_unique<CudaDevice>(ordinal, compute_capability);
}

// Declared in kernels/simt/ptx.h.
namespace cuda {

int compute_capability(const Queue& queue) {
  return cuda_stream(queue).device().compute_capability();
}

void launch_kernel(const Queue& queue, dim3 grid, dim3 block, size_t dynamic_bytes, const void* kernel,
                   void** arguments) {
  const CudaStream& stream = cuda_stream(queue);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  constexpr size_t kUnasked = size_t{48} << 10;  // bytes of shared memory that a kernel has without asking
  if (dynamic_bytes > kUnasked)
    WD_CHECK_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(dynamic_bytes)));
  WD_CHECK_CUDA(cudaLaunchKernel(kernel, grid, block, arguments, dynamic_bytes, stream.get()));
}

}  // namespace cuda
}  // namespace wandistill
