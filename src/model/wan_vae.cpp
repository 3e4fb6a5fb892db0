// The decoder: its trunk once, then the up blocks strip by strip.
#include "wandistill/wan_vae.h"

#include <algorithm>

#include "src/model/wan_vae_dtype.h"
#include "src/model/wan_vae_pass.h"
#include "wandistill/error.h"

namespace wandistill {
namespace {

/// Latent rows that are worked on at a time.
int64_t strip_size(int64_t strip, int64_t rows) {
  return strip == 0 ? rows : std::min(strip, rows);
}

[[noreturn]] void refuse_picture(VaeDtype dtype) {
  fail("the decoded picture is not finite in ", dtype_name(dtype),
       dtype == VaeDtype::kFloat16
           ? ", whose largest number is 65504: decode in bfloat16 or float32 (--vae_dtype)"
           : ": the latents or the VAE's weights are not finite, or out of all proportion");
}

}  // namespace

WanVaeDecoder::WanVaeDecoder(const std::filesystem::path& folder, VaeDtype dtype, const Compute& compute)
    : config_(WanVaeConfig::load(folder)), dtype_(dtype) {
  if (!compute.on_host() && dtype == VaeDtype::kFloat16)
    fail("--vae_dtype float16 is the host's alone; a device decodes in float32 or bfloat16");
  narrow_ = !compute.on_host() && dtype == VaeDtype::kBfloat16;
  weights_ = std::make_unique<WanVaeWeights>(folder, config_, dtype, compute);
}
WanVaeDecoder::~WanVaeDecoder() = default;
WanVaeDecoder::WanVaeDecoder(WanVaeDecoder&&) noexcept = default;

void WanVaeDecoder::decode(const float* latents, int64_t h, int64_t w, float* image,
                           const Compute& compute) const {
  decode_rows(latents, h, w, 0, h, 0, image, compute);
}

bool WanVaeDecoder::decode_rows(const float* latents, int64_t h, int64_t w, int64_t begin, int64_t end,
                                int64_t strip, float* image, const Compute& compute,
                                const std::function<bool()>& stop) const {
  WD_REQUIRE(0 <= begin && begin <= end && end <= h && strip >= 0);
  if (begin == end) return true;
  const VaeBand band{latents, h, w, begin, end, strip_size(strip, end - begin)};
  return narrow_ ? decode_band<bf16>(band, image, compute, stop)
                 : decode_band<float>(band, image, compute, stop);
}

template <class T>
bool WanVaeDecoder::decode_band(const VaeBand& band, float* image, const Compute& compute,
                                const std::function<bool()>& stop) const {
  const auto& [latents, h, w, begin, end, step] = band;
  VaePass<T> trunk(trunk_memory(*weights_, h, w, compute.threads), dtype_, compute, stop);
  if (!trunk.run_trunk(*weights_, latents, h, w)) return false;
  for (const VaeStage& stage : trunk_stages(*weights_, h, {begin, end}))
    if (!trunk.run(stage, *weights_)) return false;
  trunk.keep_stream_only();

  const int64_t scale = config_.scale();
  const int64_t row_pixels = scale * w, plane = scale * (end - begin) * row_pixels;
  VaePass<T> pass(strip_memory(*weights_, h, w, step, compute.threads), dtype_, compute, stop);
  for (int64_t first = begin; first < end; first += step) {
    const VaeRows rows{first, std::min(first + step, end)};
    pass.start_from(trunk);
    for (const VaeStage& stage : strip_stages(*weights_, h, rows))
      if (!pass.run(stage, *weights_)) return false;
    const VaeRows pixels{scale * rows.begin, scale * rows.end};
    if (!pass.store(pixels, image + scale * (first - begin) * row_pixels, plane)) refuse_picture(dtype_);
  }
  return true;
}

int64_t WanVaeDecoder::decode_peak_bytes(int64_t h, int64_t w, int64_t rows, int64_t strip,
                                         int threads) const {
  return wandistill::decode_peak_bytes(*weights_, h, w, rows, strip, threads,
                                       narrow_ ? sizeof(bf16) : sizeof(float));
}

int64_t WanVaeDecoder::strip_rows(int64_t h, int64_t w, int64_t bytes, int threads) const {
  return wandistill::strip_rows(*weights_, h, w, bytes, threads, narrow_ ? sizeof(bf16) : sizeof(float));
}

}  // namespace wandistill
