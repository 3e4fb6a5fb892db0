#include "wandistill/sampler.h"

#include "wandistill/philox.h"
#include "wandistill/stage.h"

namespace wandistill {

void picture_noise(uint64_t seed, int64_t prompt_index, int64_t count, float* out) {
  fill_gaussian(seed, uint64_t(prompt_index), 0, count, out);
}

std::optional<Image> decode_picture(const WanVaeDecoder& vae, const float* latents, int64_t h, int64_t w,
                                    const Compute& compute, int64_t strip,
                                    const std::function<bool()>& stop) {
  const int64_t scale = vae.config().scale();
  auto rgb = decode_picture_rows(vae, latents, h, w, 0, h, compute, strip, stop);
  if (!rgb) return std::nullopt;
  return Image{.width = scale * w, .height = scale * h, .rgb = std::move(*rgb), .text = {}};
}

std::optional<std::vector<uint8_t>> decode_picture_rows(const WanVaeDecoder& vae, const float* latents,
                                                        int64_t h, int64_t w, int64_t begin, int64_t end,
                                                        const Compute& compute, int64_t strip,
                                                        const std::function<bool()>& stop) {
  const Stage stage("decode");
  const int64_t scale = vae.config().scale(), pixels = scale * (end - begin) * scale * w;
  Buffer<float> z(vae.config().z_dim * h * w);
  OpBuffer<float> picture(compute, 3 * pixels);
  denormalise_latents(vae.config(), h, w, latents, z.data());
  if (!vae.decode_rows(z.data(), h, w, begin, end, strip, picture.data(), compute, stop)) return std::nullopt;
  std::vector<uint8_t> rgb(size_t(3 * pixels));
  if (compute.on_host()) {
    compute.ops->rgb8(pixels, picture.data(), rgb.data(), compute);
  } else {
    OpBuffer<uint8_t> bytes(compute, 3 * pixels);
    compute.ops->rgb8(pixels, picture.data(), bytes.data(), compute);
    download(compute, rgb.data(), bytes.data(), bytes.size());
  }
  return rgb;
}

}  // namespace wandistill
