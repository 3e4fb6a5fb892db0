#include "wandistill/student_config.h"

#include <cmath>

#include "wandistill/error.h"
#include "wandistill/json.h"

namespace wandistill {
namespace {

/// Rotary embedding gives a head 2 * floor(D / 6) channels for the row and as many for the column: below 6
/// there are none and the student could not tell places apart.
constexpr int64_t kLeastHeadDim = 6;
/// Of any size; products of two stay far from overflow.
constexpr int64_t kMost = int64_t{1} << 24;

int64_t get_size(const JsonObject& json, const std::string& key) {
  const int64_t value = json.get_int(key);
  if (value < 1 || value > kMost)
    json.refuse(key, cat(value, " is out of range; it must be from 1 to ", kMost));
  return value;
}

void read_image_size(const JsonObject& json, StudentConfig* config) {
  const std::string key = "image_size";
  if (!json.has(key) || !json.json().at(key).is_array()) {
    config->image_height = config->image_width = get_size(json, key);
    return;
  }
  const std::vector<int64_t> size = json.get_ints(key);
  if (size.size() != 2)
    json.refuse(key, cat("has ", size.size(), " numbers; expected one, or [height, width]"));
  for (const int64_t side : size)
    if (side < 1 || side > kMost)
      json.refuse(key, cat(side, " is out of range; it must be from 1 to ", kMost));
  config->image_height = size[0];
  config->image_width = size[1];
}

void check_sizes(const JsonObject& json, const StudentConfig& c) {
  if (c.hidden_size % c.num_heads)
    json.refuse("num_heads", cat(c.num_heads, " heads do not divide hidden_size ", c.hidden_size));
  if (const int64_t head_dim = c.hidden_size / c.num_heads; head_dim % 2 || head_dim < kLeastHeadDim)
    json.refuse("num_heads", cat("hidden_size / num_heads is ", head_dim,
                                 "; rotary embedding needs an even number of at least ", kLeastHeadDim,
                                 " (128 as Wan has it, 64 and 32 work too)"));
  if (c.text_max_length != kTextPositions)
    json.refuse("text_max_length",
                cat(c.text_max_length, "; Wan pads every prompt to ", kTextPositions,
                    ", and programs that open the student do the same: it must be ", kTextPositions));
  if (!(c.projection_factor > 0) || !std::isfinite(c.projection_factor))
    json.refuse("projection_factor", cat(c.projection_factor, "; it must be positive (1: as projected)"));
  if (const double width = c.mlp_ratio * double(c.hidden_size); !(width >= 1 && width <= double(kMost)))
    json.refuse(
        "mlp_ratio",
        cat(c.mlp_ratio, "; mlp_ratio * hidden_size, the feed-forward width, must be from 1 to ", kMost));
  if (c.freq_dim % 2) json.refuse("freq_dim", cat(c.freq_dim, "; cosines and sines need an even number"));
}

}  // namespace

StudentConfig StudentConfig::load(const std::filesystem::path& file) {
  const JsonObject json = JsonObject::load(file);
  StudentConfig c;
  c.file = file;
  c.hidden_size = get_size(json, "hidden_size");
  c.depth = get_size(json, "depth");
  c.num_heads = get_size(json, "num_heads");
  c.num_channels = get_size(json, "num_channels");
  read_image_size(json, &c);
  c.patch_size = get_size(json, "patch_size");
  c.text_max_length = get_size(json, "text_max_length");
  c.text_encoder_output_dim = get_size(json, "text_encoder_output_dim");
  c.mlp_ratio = json.get_double("mlp_ratio");
  c.projection_factor = json.get_double_or("projection_factor", c.projection_factor);
  if (json.has("freq_dim")) c.freq_dim = get_size(json, "freq_dim");
  json.finish();
  check_sizes(json, c);
  return c;
}

WanConfig StudentConfig::to_wan_config() const {
  WanConfig wan;
  wan.heads = num_heads;
  wan.head_dim = hidden_size / num_heads;
  wan.layers = depth;
  wan.ffn_dim = std::llround(mlp_ratio * double(hidden_size));
  wan.in_channels = wan.out_channels = num_channels;
  wan.text_dim = text_encoder_output_dim;
  wan.freq_dim = freq_dim;
  wan.patch_height = wan.patch_width = patch_size;
  return wan;
}

void StudentConfig::check_against_teacher(int64_t text_dim, int64_t channels, int64_t vae_scale) const {
  const auto refuse = [&](const char* key, const auto&... what) {
    fail(file.string(), ": '", key, "': ", what...);
  };
  if (text_encoder_output_dim != text_dim)
    refuse("text_encoder_output_dim", text_encoder_output_dim, "; the teacher's text embeddings have ",
           text_dim, " numbers, so it must be ", text_dim);
  if (num_channels != channels)
    refuse("num_channels", num_channels, "; the teacher's VAE has latents of ", channels,
           " channels, so it must be ", channels);
  const int64_t unit = vae_scale * patch_size;
  const int64_t most = to_wan_config().rope_max_seq_len;
  for (const int64_t side : {image_height, image_width}) {
    if (side % unit)
      refuse("image_size", side, " pixels; a patch is ", patch_size, " latents of ", vae_scale,
             " pixels, so it must be a multiple of ", unit);
    if (side / unit > most)
      refuse("image_size", side, " pixels are ", side / unit, " patches; rotary embedding has places for ",
             most);
  }
}

}  // namespace wandistill
