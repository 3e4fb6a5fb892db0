// The CUDA device in a build without CUDA.
#include "wandistill/device_ops.h"
#include "wandistill/error.h"
#include "wandistill/gpu.h"

namespace wandistill {
namespace {

[[noreturn]] void fail_without_cuda() {
  fail("this program was built without CUDA: 'make found' says whether nvcc and cuBLASLt are found");
}

}  // namespace

int cuda_device_count() {
  return 0;
}

std::vector<std::string> cuda_device_ids() {
  return {};
}

CudaFacts cuda_facts() {
  return {"", "", "this program was built without CUDA", {}};
}

std::unique_ptr<Device> make_cuda_device(int, int) {
  fail_without_cuda();
}

template <class T>
const OpsOf<T>& cuda_ops() {
  fail_without_cuda();
}
template const OpsOf<float>& cuda_ops();
template const OpsOf<bf16>& cuda_ops();

}  // namespace wandistill
