#include "wandistill/sampler.h"

#include <cmath>

#include "wandistill/error.h"
#include "wandistill/ops/rgb8.h"
#include "wandistill/philox.h"

namespace wandistill {

void picture_noise(uint64_t seed, int64_t prompt_index, int64_t count, float* out) {
  fill_gaussian(seed, uint64_t(prompt_index), 0, count, out);
}

PictureSampler::PictureSampler(GuidedVelocity& velocity, const SamplingSettings& settings,
                               const WanVaeDecoder& vae, int64_t h, int64_t w)
    : velocity_(velocity),
      settings_(settings),
      vae_(vae),
      channels_(velocity.model().transformer->config().out_channels),
      h_(h),
      w_(w) {}

void PictureSampler::denoise(const TextEmbedding& text, float* x, const Queue& queue) {
  const TextEmbedding* texts[] = {&text};
  sample_latents(velocity_, settings_, texts, h_, w_, x, queue);
  for (int64_t i = 0; i < latent_count(); ++i)
    if (!std::isfinite(x[i])) fail("the latents are not finite");
}

Image PictureSampler::decode(const float* x0, const Queue& queue) const {
  return decode_picture(vae_, x0, h_, w_, queue);
}

Image decode_picture(const WanVaeDecoder& vae, const float* latents, int64_t h, int64_t w,
                     const Queue& queue) {
  const int64_t height = h * vae.config().scale(), width = w * vae.config().scale();
  Buffer<float> z(vae.config().z_dim * h * w), picture(3 * height * width);
  denormalise_latents(vae.config(), h, w, latents, z.data());
  vae.decode(z.data(), h, w, picture.data(), queue);
  Image image{
      .width = width, .height = height, .rgb = std::vector<uint8_t>(size_t(3 * height * width)), .text = {}};
  ref::rgb8(height * width, picture.data(), image.rgb.data(), queue);
  return image;
}

}  // namespace wandistill
