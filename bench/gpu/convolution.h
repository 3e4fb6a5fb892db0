// A device's ops with cuDNN's convolution, where there are any.
#pragma once

#include <optional>

#include "wandistill/compute.h"

namespace wandistill::bench {

/// The same device and stream; empty where cuDNN is not built in or the device is no GPU.
std::optional<Compute> with_cudnn(const Compute& compute);

}  // namespace wandistill::bench
