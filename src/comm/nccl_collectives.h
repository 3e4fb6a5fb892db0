// DeviceCollectives on GPUs.
#pragma once

#include <memory>
#include <string>

#include "wandistill/device_collectives.h"

namespace wandistill {

/// Collective; device: a CUDA device. CollectiveError in a build without NCCL.
std::unique_ptr<DeviceCollectives> make_nccl_collectives(Session& session, Device& device);

/// Of the library; empty in a build without it.
std::string nccl_version();

}  // namespace wandistill
