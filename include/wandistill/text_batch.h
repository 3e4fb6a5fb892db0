// Text embeddings of a batch without their padding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace wandistill {

/// One prompt's embeddings as the encoder gives them: [n, Dt], n from 1 to kTextPositions, no padding.
struct TextEmbedding {
  int64_t tokens = 0;
  std::vector<float> rows;
};

/// A batch of embeddings, one after the other. Wan pads every prompt with zero rows to kTextPositions; those
/// rows are all alike, so one zero row with last_key_bias = log(their number) has the same effect in
/// cross-attention.
struct TextBatch {
  std::vector<float> rows;           // [offsets[B], Dt]
  std::vector<int64_t> offsets;      // [B + 1], in rows
  std::vector<float> last_key_bias;  // [B]; 0 where a prompt fills all positions and has no zero row

  /// text_dim = Dt. Throws if an embedding has no or too many rows.
  static TextBatch pack(std::span<const TextEmbedding* const> embeddings, int64_t text_dim);
  int64_t batch() const { return int64_t(last_key_bias.size()); }
  int64_t total() const { return offsets.back(); }
  /// Rows of the longest prompt.
  int64_t longest() const;
};

}  // namespace wandistill
