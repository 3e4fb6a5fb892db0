// cuDNN's convolution in a build without cuDNN.
#include "wandistill/device_ops.h"
#include "wandistill/error.h"

namespace wandistill {

template <class T>
const OpsOf<T>& cudnn_ops() {
  fail("this program was built without cuDNN, which --conv cudnn needs: 'make found' says how it is found");
}
template const OpsOf<float>& cudnn_ops();
template const OpsOf<bf16>& cudnn_ops();

std::string cudnn_version() {
  return "";
}

}  // namespace wandistill
