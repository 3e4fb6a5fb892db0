// The sizes of a Wan teacher's text encoder.
#pragma once

#include <cstdint>
#include <filesystem>

namespace wandistill {

/// Sizes from the component's config.json.
struct Umt5Config {
  int64_t d_model, d_kv, d_ff;  // heads * d_kv may differ from d_model
  int64_t heads, layers, vocab_size;
  int64_t buckets, max_distance;  // of the relative positions
  float eps;

  /// folder: the component's, such as <teacher>/text_encoder. Error where the feed-forward layer is not a
  /// gated GELU.
  static Umt5Config load(const std::filesystem::path& folder);
};

}  // namespace wandistill
