// The sizes of a Wan transformer and the names, shapes and places of its parameters.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "wandistill/half.h"
#include "wandistill/range.h"

namespace wandistill {

/// Text rows are padded to this many positions, in teacher and student (Wan's `max_sequence_length`).
inline constexpr int64_t kTextPositions = 512;

/// What transformer/config.json says. Letters: C = hidden() = H * D, F = ffn_dim.
struct WanConfig {
  int64_t heads = 0, head_dim = 0, layers = 0, ffn_dim = 0;
  int64_t in_channels = 0, out_channels = 0, text_dim = 0, freq_dim = 0;
  int64_t patch_height = 2, patch_width = 2;
  int64_t rope_max_seq_len = 1024;
  float eps = 1e-6f;

  int64_t hidden() const { return heads * head_dim; }
  /// Tokens of a picture with latents [h, w]; an error if the patches do not cover it exactly.
  int64_t tokens(int64_t h, int64_t w) const;

  /// Reads `folder`/config.json (a WanTransformer3DModel); values that are not supported are errors naming
  /// the key.
  static WanConfig load(const std::filesystem::path& folder);
  static WanConfig parse(const std::string& json_text, const std::string& where);
  /// The config.json that diffusers reads.
  std::string to_json() const;
  /// Throws Error naming the first size that does not fit, with `where` in front.
  void validate(const std::string& where) const;
};

/// One tensor in a flat parameter buffer.
struct ParameterInfo {
  std::string name;  // as in diffusers' state dict
  std::vector<int64_t> shape;
  int64_t offset, size;
};

/// All parameters of a transformer in one flat buffer: embedders first, then block by block, then the output
/// head, so that each of these groups is contiguous.
class ParameterLayout {
 public:
  explicit ParameterLayout(const WanConfig& config);

  const std::vector<ParameterInfo>& parameters() const { return parameters_; }
  int64_t total() const { return total_; }
  /// Throws if there is none of that name.
  const ParameterInfo& at(const std::string& name) const;
  /// Groups in the order in which the backward pass completes them: head, last block ... first block,
  /// embedders.
  const std::vector<Range>& gradient_order() const { return gradient_order_; }

 private:
  void add(const std::string& name, std::vector<int64_t> shape);
  void add_linear(const std::string& name, int64_t out, int64_t in);

  std::vector<ParameterInfo> parameters_;
  int64_t total_ = 0;
  std::vector<Range> gradient_order_;
};

/// Pointers to one linear layer: weight [out, in], bias [out].
template <class T>
struct LinearTensors {
  T* weight;
  T* bias;
};
template <class T>
struct AttentionTensors {
  LinearTensors<T> q, k, v, out;
  T *norm_q, *norm_k;  // [C]
};
template <class T>
struct BlockTensors {
  T* scale_shift_table;  // [6, C]: shift, scale, gate of self-attention, then of the feed-forward
  AttentionTensors<T> self, cross;
  T *norm2_weight, *norm2_bias;  // [C]
  LinearTensors<T> ffn_in, ffn_out;
};
/// Pointers to weights (T = const float, const bf16) or gradients (T = float): into a flat buffer, or to
/// where at(parameter) says.
template <class T>
struct WanTensors {
  LinearTensors<T> patch_embedding, time_in, time_out, time_proj, text_in, text_out, proj_out;
  T* scale_shift_table;  // [2, C]
  std::vector<BlockTensors<T>> blocks;

  WanTensors(const WanConfig& config, const ParameterLayout& layout, T* base);
  WanTensors(const WanConfig& config, const ParameterLayout& layout,
             const std::function<T*(const ParameterInfo&)>& at);
};

extern template struct WanTensors<const float>;
extern template struct WanTensors<float>;
extern template struct WanTensors<const bf16>;

}  // namespace wandistill
