// Copies of a few floats per token: the plain form is fast enough to be the CPU's as well.
#include "wandistill/ops/patchify.h"

#include <cmath>

namespace wandistill::ref {
namespace {

/// Calls visit(latent index, row index), the row in the order (c, p, q) or (p, q, c).
template <class Visit>
void for_each_element(const PatchShape& s, bool channel_first, Visit&& visit) {
  const int64_t across = s.width / s.patch_width;
  int64_t row_index = 0;
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t token = 0; token < s.tokens(); ++token)
      for (int64_t i = 0; i < s.row(); ++i, ++row_index) {
        const int64_t area = s.patch_height * s.patch_width;
        const int64_t c = channel_first ? i / area : i % s.channels;
        const int64_t pq = channel_first ? i % area : i / s.channels;
        const int64_t y = token / across * s.patch_height + pq / s.patch_width;
        const int64_t x = token % across * s.patch_width + pq % s.patch_width;
        visit(((b * s.channels + c) * s.height + y) * s.width + x, row_index);
      }
}

}  // namespace

void patchify(const PatchShape& s, const float* latents, float* rows, const Queue&) {
  for_each_element(s, true, [&](int64_t latent, int64_t row) { rows[row] = latents[latent]; });
}

void unpatchify(const PatchShape& s, const float* rows, float* latents, const Queue&) {
  for_each_element(s, false, [&](int64_t latent, int64_t row) { latents[latent] = rows[row]; });
}

void unpatchify_backward(const PatchShape& s, const float* dlatents, float* drows, const Queue&) {
  for_each_element(s, false, [&](int64_t latent, int64_t row) { drows[row] = dlatents[latent]; });
}

void timestep_embedding(int64_t batch, int64_t dim, const float* timesteps, float* out, const Queue&) {
  const int64_t half = dim / 2;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < half; ++i) {
      const float frequency = std::exp(float(-std::log(10000.0)) * float(i) / float(half));
      const float angle = timesteps[b] * frequency;
      out[b * dim + i] = std::cos(angle);
      out[b * dim + half + i] = std::sin(angle);
    }
}

}  // namespace wandistill::ref
