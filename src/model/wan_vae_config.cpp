#include "wandistill/error.h"
#include "wandistill/json.h"
#include "wandistill/wan_vae.h"

namespace wandistill {
namespace {

std::vector<float> per_channel(const JsonObject& json, const char* key, int64_t z_dim) {
  const std::vector<double> values = json.get_doubles(key);
  if (static_cast<int64_t>(values.size()) != z_dim)
    json.refuse(
        key, cat("has ", values.size(), " values; expected one for each of the ", z_dim, " latent channels"));
  return {values.begin(), values.end()};
}

void refuse_unsupported(const JsonObject& json) {
  if (json.get_bool_or("is_residual", false))
    json.refuse("is_residual",
                "is true (the Wan 2.2 5B VAE); only the VAE of Wan 2.1 and Wan 2.2 A14B is supported");
  if (!json.is_null("patch_size"))
    json.refuse("patch_size", "is set (the Wan 2.2 5B VAE); only null is supported");
  if (const int64_t channels = json.get_int_or("out_channels", 3); channels != 3)
    json.refuse("out_channels", cat("is ", channels, "; only 3 (RGB) is supported"));
  // These concern the encoder, other frames or training.
  for (const char* key : {"attn_scales", "clip_output", "dropout", "in_channels", "scale_factor_temporal",
                          "temperal_downsample"}) {
    json.ignore(key);
  }
}

}  // namespace

WanVaeConfig WanVaeConfig::load(const std::filesystem::path& folder) {
  const JsonObject json = JsonObject::load(folder / "config.json");
  refuse_unsupported(json);
  WanVaeConfig c{};
  const auto positive = [&](const char* key, int64_t value) {
    if (value <= 0) json.refuse(key, cat("is ", value, "; expected at least 1"));
    return value;
  };
  const int64_t base = positive("base_dim", json.get_int("base_dim"));
  c.base_dim = positive("decoder_base_dim", json.get_int_or("decoder_base_dim", base));
  c.num_res_blocks = positive("num_res_blocks", json.get_int("num_res_blocks"));
  c.z_dim = positive("z_dim", json.get_int("z_dim"));
  c.dim_mult = json.get_ints("dim_mult");
  if (c.dim_mult.empty() || c.dim_mult.size() > 8) json.refuse("dim_mult", "expected 1 to 8 levels");
  for (size_t i = 0; i < c.dim_mult.size(); ++i) {
    positive("dim_mult", c.dim_mult[i]);
    if (i > 0 && c.base_dim * c.dim_mult[i] % 2 != 0)
      json.refuse("dim_mult",
                  "base_dim times each but the first must be even: upsampling halves the channels");
  }
  c.latents_mean = per_channel(json, "latents_mean", c.z_dim);
  c.latents_std = per_channel(json, "latents_std", c.z_dim);
  for (const float deviation : c.latents_std) {
    if (!(deviation > 0))
      json.refuse("latents_std", cat("contains ", deviation, "; expected positive numbers"));
  }
  if (const int64_t scale = json.get_int_or("scale_factor_spatial", 8); scale != c.scale())
    json.refuse("scale_factor_spatial",
                cat("is ", scale, ", but the ", c.dim_mult.size(), " levels of dim_mult give ", c.scale()));
  json.finish();
  return c;
}

void normalise_latents(const WanVaeConfig& config, int64_t h, int64_t w, const float* latents, float* out) {
  for (int64_t z = 0; z < config.z_dim; ++z) {
    const float mean = config.latents_mean[z], deviation = config.latents_std[z];
    for (int64_t i = z * h * w; i < (z + 1) * h * w; ++i) out[i] = (latents[i] - mean) / deviation;
  }
}

void denormalise_latents(const WanVaeConfig& config, int64_t h, int64_t w, const float* latents, float* out) {
  for (int64_t z = 0; z < config.z_dim; ++z) {
    const float mean = config.latents_mean[z], deviation = config.latents_std[z];
    for (int64_t i = z * h * w; i < (z + 1) * h * w; ++i) out[i] = latents[i] * deviation + mean;
  }
}

}  // namespace wandistill
