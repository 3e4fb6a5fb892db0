#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "wandistill/error.h"
#include "wandistill/json.h"
#include "wandistill/umt5.h"

namespace wandistill {

Umt5Config Umt5Config::load(const std::filesystem::path& folder) {
  const JsonObject json = JsonObject::load(folder / "config.json");
  Umt5Config c{};
  const auto positive = [&](const char* key, int64_t value) {
    if (value <= 0) json.refuse(key, cat("is ", value, "; expected at least 1"));
    return value;
  };
  c.d_model = positive("d_model", json.get_int("d_model"));
  c.d_kv = positive("d_kv", json.get_int("d_kv"));
  c.d_ff = positive("d_ff", json.get_int("d_ff"));
  c.heads = positive("num_heads", json.get_int("num_heads"));
  c.layers = positive("num_layers", json.get_int("num_layers"));
  c.vocab_size = positive("vocab_size", json.get_int("vocab_size"));
  c.buckets = json.get_int_or("relative_attention_num_buckets", 32);
  c.max_distance = json.get_int_or("relative_attention_max_distance", 128);
  c.eps = static_cast<float>(json.get_double_or("layer_norm_epsilon", 1e-6));
  if (c.buckets < 4 || c.buckets % 2 != 0)
    json.refuse("relative_attention_num_buckets",
                cat("is ", c.buckets, "; expected an even number from 4 on"));
  if (c.max_distance <= c.buckets / 4)
    json.refuse("relative_attention_max_distance",
                cat("is ", c.max_distance, "; expected more than a quarter of the ", c.buckets, " buckets"));
  const std::string ffn = json.get_string("feed_forward_proj");
  if (ffn != "gated-gelu")
    json.refuse("feed_forward_proj", "is \"" + ffn + "\"; only \"gated-gelu\", which UMT5 has, is supported");
  const std::string gelu = json.get_string_or("dense_act_fn", "gelu_new");
  if (gelu != "gelu_new")
    json.refuse("dense_act_fn", "is \"" + gelu + "\"; only \"gelu_new\" (the tanh form) is supported");
  return c;
}

int64_t relative_position_bucket(int64_t distance, int64_t buckets, int64_t max_distance) {
  const int64_t half = buckets / 2, exact = half / 2;
  const int64_t side = distance > 0 ? half : 0, size = std::abs(distance);
  if (size < exact) return side + size;
  // In float32, as the reference: a rounding here would move a distance to another bucket.
  const float span =
      static_cast<float>(std::log(static_cast<double>(max_distance) / static_cast<double>(exact)));
  const float ratio = std::log(static_cast<float>(size) / static_cast<float>(exact)) / span;
  const int64_t coarse = exact + static_cast<int64_t>(ratio * static_cast<float>(half - exact));
  return side + std::min(coarse, half - 1);
}

}  // namespace wandistill
