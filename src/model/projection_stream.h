// A transformer run stage by stage over a whole calibration set, so that its activations can be read between stages
// and its weights changed before the next.
#pragma once

#include <Eigen/Core>

#include "wandistill/wan_transformer.h"

namespace wandistill {

/// Activations, one row per token, picture or text row.
using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// What an attention layer computes before its output projection.
struct Attended {
  Rows q, k, v;  // raw projections: q [N, C]; k, v [N, C] or, in cross-attention, [T, C]
  Rows out;      // heads' outputs, [N, C]
};

/// B pictures on their way through the blocks. Holds N = B * L rows of C channels and, within a call, a few more.
class Stream {
 public:
  /// weights, input and what they point to must outlive the stream; weights may change between calls.
  Stream(const WanTransformer& model, const float* weights, const WanInput& input, const Queue& queue);

  /// Computes temb, time_proj, context and the first x from the embedders' weights.
  void embed();

  const WanConfig& config() const { return config_; }
  int64_t batch() const { return B_; }
  int64_t tokens() const { return L_; }
  const BlockTensors<const float>& block(int64_t layer) const { return w_.blocks[size_t(layer)]; }

  Rows x;          // [N, C]
  Rows temb;       // [B, C]
  Rows time_proj;  // [B, 6 C]
  Rows context;    // [T, C]

  /// Table + time projection: row `which` (0 to 5) of the modulation, [B, C].
  Rows modulation(int64_t layer, int64_t which) const;
  /// (x - mean) / std, [N, C].
  Rows normalised() const;

  Rows norm1(int64_t layer) const { return modulated(layer, 0); }
  Rows norm2(int64_t layer) const;
  Rows norm3(int64_t layer) const { return modulated(layer, 3); }
  Attended self_attention(int64_t layer, const Rows& norm) const;
  Attended cross_attention(int64_t layer, const Rows& norm) const;
  Rows ffn_raw(int64_t layer, const Rows& norm) const;
  Rows ffn_act(const Rows& raw) const;
  void add_self(int64_t layer, const Rows& attended);
  void add_cross(int64_t layer, const Rows& attended);
  void add_ffn(int64_t layer, const Rows& act);
  /// All stages of a block.
  void run(int64_t layer);
  /// Input of the last projection, [N, C].
  Rows head_norm() const;
  /// The linear layer's output for these rows.
  Rows linear(const Rows& rows, const LinearTensors<const float>& layer, int64_t outputs) const;

 private:
  Rows modulated(int64_t layer, int64_t first) const;
  Rows norm_rope(const Rows& rows, const float* weight, bool rotate) const;
  void add(const Rows& rows, const LinearTensors<const float>& layer, const Rows* gate);

  const WanConfig& config_;
  WanInput input_;
  Queue queue_;
  WanTensors<const float> w_;
  int64_t B_, L_, N_, T_, C_;
  RotaryTable rope_;
  std::vector<int64_t> self_offsets_;
};

}  // namespace wandistill
