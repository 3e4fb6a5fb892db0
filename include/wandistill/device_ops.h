// All ops of a device: our kernels, and a library's matrix products.
#pragma once

#include <string>

#include "wandistill/ops.h"

namespace wandistill {

/// T: float or bf16. Their queues need a stream of a SIMT device.
template <class T>
const OpsOf<T>& simt_ops();

/// Their queues need a stream of a CUDA device. Error in a build without CUDA.
template <class T>
const OpsOf<T>& cuda_ops();

/// The same with cuDNN's convolution in place of ours. Error in a build without cuDNN.
template <class T>
const OpsOf<T>& cudnn_ops();

/// Of the library; empty in a build without it.
std::string cudnn_version();

}  // namespace wandistill
