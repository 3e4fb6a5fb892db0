// The teacher's blocks run stage by stage, so that the activations between stages can be measured.
#pragma once

#include <Eigen/Core>
#include <vector>

#include "wandistill/wan_transformer.h"

namespace wandistill {

/// Matrices as the ops keep them: activations with one row per token, picture or text row; weights [out, in].
using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// What an attention layer computes before its output projection.
struct Attended {
  Rows q,
      k;     // projected and RMS-normalised, without the norm's weight: q [N, C]; k [N, C] or, across, [T, C]
  Rows out;  // the heads' outputs, [N, C]
};

/// B pictures on their way through the blocks, N = B * L rows of C channels.
class TeacherStream {
 public:
  /// Embeds the input. Transformer, weights, input and what they point to must outlive the stream.
  TeacherStream(const WanTransformer& model, const WanWeights& weights, const WanInput& input,
                const Queue& queue);

  int64_t rows() const { return N_; }
  /// (x - mean) / std of the current stream, [N, C]: what every norm starts from.
  Rows normalised() const;
  /// The block's attention and feed-forward units, from the stream as it is now.
  Attended self_attention(int64_t layer) const;
  Attended cross_attention(int64_t layer) const;
  Rows ffn_units(int64_t layer) const;  // [N, F], after the activation
  /// One of the block's six modulations per picture, [B, C].
  Rows modulation(int64_t layer, int64_t which) const;
  /// Add a stage's result to the stream.
  void add_self(int64_t layer, const Attended& attended);
  void add_cross(int64_t layer, const Attended& attended);
  void add_ffn(int64_t layer, const Rows& units);

 private:
  Rows linear(const Rows& rows, const LinearTensors<const float>& layer, int64_t outputs) const;
  Rows norm(int64_t batch, int64_t stride, float offset, const float* scale, const float* shift) const;
  Rows modulated(int64_t layer, int64_t first) const;
  Attended attend(const AttentionTensors<const float>& w, const Rows& norm, const Rows& keys,
                  bool self) const;
  void add(const Rows& rows, const LinearTensors<const float>& layer, const Rows* gate);
  const BlockTensors<const float>& block(int64_t layer) const { return w_.blocks[size_t(layer)]; }

  const WanConfig& config_;
  const WanInput input_;
  const Queue queue_;
  const WanTensors<const float> w_;
  const int64_t B_, L_, N_, T_, C_;
  const RotaryTable rope_;
  std::vector<int64_t> self_offsets_;  // [B + 1]
  Rows x_, time_proj_, context_;       // [N, C], [B, 6 C], [T, C]
};

}  // namespace wandistill
