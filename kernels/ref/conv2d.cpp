#include "wandistill/ops/conv2d.h"

#include <vector>

#include "wandistill/ops/rms_norm_silu.h"

namespace wandistill::ref {

void conv2d_forward(const Conv2dShape& shape, const float* x, const float* gamma, const float* weight,
                    const float* bias, const float* residual, float* y, const Queue& queue) {
  std::vector<float> normed;
  if (gamma) {
    normed.resize(shape.height * shape.width * shape.c_in);
    rms_norm_silu_forward(shape.height * shape.width, shape.c_in, x, gamma, true, normed.data(), queue);
    x = normed.data();
  }
  const int64_t pad = shape.kernel / 2, out_h = shape.out_height(), out_w = shape.out_width();
  const int64_t zoom = shape.upsample ? 2 : 1;
  for (int64_t row = 0; row < out_h; ++row) {
    for (int64_t col = 0; col < out_w; ++col) {
      for (int64_t o = 0; o < shape.c_out; ++o) {
        double sum = bias[o];
        for (int64_t ky = 0; ky < shape.kernel; ++ky) {
          for (int64_t kx = 0; kx < shape.kernel; ++kx) {
            const int64_t in_row = row + ky - pad, in_col = col + kx - pad;
            if (in_row < 0 || in_row >= out_h || in_col < 0 || in_col >= out_w) continue;
            const float* pixel = x + ((in_row / zoom) * shape.width + in_col / zoom) * shape.c_in;
            const float* tap = weight + (ky * shape.kernel + kx) * shape.c_in * shape.c_out + o;
            for (int64_t c = 0; c < shape.c_in; ++c) sum += double{pixel[c]} * tap[c * shape.c_out];
          }
        }
        const int64_t at = (row * out_w + col) * shape.c_out + o;
        if (residual) sum += residual[at];
        y[at] = static_cast<float>(sum);
      }
    }
  }
}

}  // namespace wandistill::ref
