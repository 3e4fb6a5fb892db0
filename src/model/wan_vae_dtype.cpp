#include "src/model/wan_vae_dtype.h"

#include "wandistill/error.h"
#include "wandistill/ops/round16.h"

namespace wandistill {

const char* dtype_name(VaeDtype dtype) {
  switch (dtype) {
    case VaeDtype::kBfloat16:
      return "bfloat16";
    case VaeDtype::kFloat16:
      return "float16";
    default:
      return "float32";
  }
}

VaeDtype parse_vae_dtype(const std::string& name) {
  for (const VaeDtype dtype : {VaeDtype::kFloat32, VaeDtype::kBfloat16, VaeDtype::kFloat16}) {
    if (name == dtype_name(dtype)) return dtype;
  }
  fail("the VAE's dtype '", name, "' is not known; expected float32, bfloat16 or float16");
}

void round_to(VaeDtype dtype, int64_t n, float* x, const Queue& queue) {
  if (dtype == VaeDtype::kBfloat16) cpu::round_bfloat16(n, x, queue);
  if (dtype == VaeDtype::kFloat16) cpu::round_float16(n, x, queue);
}

}  // namespace wandistill
