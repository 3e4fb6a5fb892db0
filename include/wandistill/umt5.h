// The text encoder of a Wan teacher: UMT5 (Chung et al. 2023, https://arxiv.org/abs/2304.09151).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "wandistill/buffer.h"
#include "wandistill/queue.h"
#include "wandistill/safetensors.h"

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

/// T5's bucket of a key `distance` places after the query (before: negative), in both directions: half of the
/// buckets for each sign, of these half exact, half logarithmic up to max_distance.
int64_t relative_position_bucket(int64_t distance, int64_t buckets, int64_t max_distance);

/// The encoder with its weights in float32. The embedding table stays in the file's mapping; rows are
/// converted when a token needs them. Safe to use from several threads.
class Umt5Encoder {
 public:
  /// folder as Umt5Config::load takes it. Errors name missing, unknown and wrongly shaped tensors; the
  /// decoder half of a whole UMT5 is allowed and not read.
  explicit Umt5Encoder(const std::filesystem::path& folder);

  /// out [n, d_model] = the final hidden states of the n >= 1 token ids, unpadded (padding that is masked out
  /// would change nothing). Error for an id outside the vocabulary.
  void encode(std::span<const int32_t> ids, float* out, const Queue& queue) const;

  int64_t width() const { return config_.d_model; }
  const Umt5Config& config() const { return config_; }

 private:
  struct Layer {
    Buffer<float> attention_norm;  // [d_model]
    Buffer<float> q, k, v;         // [H * d_kv, d_model]
    Buffer<float> o;               // [d_model, H * d_kv]
    Buffer<float> relative_bias;   // [buckets, H]
    Buffer<float> ffn_norm;        // [d_model]
    Buffer<float> gate, value;     // [d_ff, d_model]
    Buffer<float> down;            // [d_model, d_ff]
  };

  void embed(std::span<const int32_t> ids, float* out) const;

  Umt5Config config_;
  std::unique_ptr<const SafetensorsFolder> files_;
  std::string table_name_;  // the tensor [vocab_size, d_model]
  std::vector<Layer> layers_;
  Buffer<float> final_norm_;  // [d_model]
};

}  // namespace wandistill
