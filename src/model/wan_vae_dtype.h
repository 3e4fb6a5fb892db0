// The types that the VAE decoder's tensors may be kept in.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"
#include "wandistill/wan_vae.h"

namespace wandistill {

/// As parse_vae_dtype takes it.
const char* dtype_name(VaeDtype dtype);
/// x [n] becomes what a tensor of that type keeps of it.
void round_to(VaeDtype dtype, int64_t n, float* x, const Queue& queue);

}  // namespace wandistill
