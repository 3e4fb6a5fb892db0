// The text encoder of a Wan teacher: UMT5 (Chung et al. 2023, https://arxiv.org/abs/2304.09151).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "wandistill/component_weights.h"
#include "wandistill/compute.h"
#include "wandistill/safetensors.h"
#include "wandistill/umt5_config.h"

namespace wandistill {

/// T5's bucket of a key `distance` places after the query (before: negative), in both directions: half of the
/// buckets for each sign, of these half exact, half logarithmic up to max_distance.
int64_t relative_position_bucket(int64_t distance, int64_t buckets, int64_t max_distance);

struct Umt5Weights;

/// The encoder with its weights where it computes. The embedding table stays in the file's mapping; rows are
/// converted when a token needs them. On the host safe to use from several threads.
class Umt5Encoder {
 public:
  /// folder as Umt5Config::load takes it. Errors name missing, unknown and wrongly shaped tensors; the
  /// decoder half of a whole UMT5 is allowed and not read. compute is that of the encode() that follow. With
  /// a session collective, and read once per node (ComponentWeights).
  explicit Umt5Encoder(const std::filesystem::path& folder, const Compute& compute = Queue{},
                       Dtype dtype = Dtype::kFloat32, Session* session = nullptr);
  ~Umt5Encoder();
  Umt5Encoder(Umt5Encoder&&) noexcept;

  /// out [n, d_model], on the host, = the final hidden states of the n >= 1 token ids, unpadded (padding that
  /// is masked out would change nothing). Error for an id outside the vocabulary.
  void encode(std::span<const int32_t> ids, float* out, const Compute& compute) const;

  int64_t width() const { return config_.d_model; }
  const Umt5Config& config() const { return config_; }
  const LoadFigures& figures() const { return figures_; }

 private:
  void embed(std::span<const int32_t> ids, float* out) const;

  Umt5Config config_;
  std::shared_ptr<const SafetensorsFolder> files_;
  std::string table_name_;  // the tensor [vocab_size, d_model]
  std::unique_ptr<const Umt5Weights> weights_;
  LoadFigures figures_;
};

}  // namespace wandistill
