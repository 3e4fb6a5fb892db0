#include "wandistill/device_ops.h"
#include "wandistill/error.h"

namespace wandistill {

template <class T>
const OpsOf<T>& cuda_ops() {
  fail("CUDA: the matrix products are not there yet");
}
template const OpsOf<float>& cuda_ops();
template const OpsOf<bf16>& cuda_ops();

}  // namespace wandistill
