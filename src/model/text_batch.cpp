#include "wandistill/text_batch.h"

#include <algorithm>
#include <cmath>

#include "wandistill/error.h"
#include "wandistill/wan_config.h"

namespace wandistill {

TextBatch TextBatch::pack(std::span<const TextEmbedding* const> embeddings, int64_t text_dim) {
  TextBatch batch;
  batch.offsets.push_back(0);
  for (const TextEmbedding* e : embeddings) {
    if (e->tokens < 1 || e->tokens > kTextPositions || int64_t(e->rows.size()) != e->tokens * text_dim)
      fail("a text embedding has ", e->tokens, " rows and ", e->rows.size(), " values; expected 1 to ",
           kTextPositions, " rows of ", text_dim);
    batch.rows.insert(batch.rows.end(), e->rows.begin(), e->rows.end());
    const int64_t padding = kTextPositions - e->tokens;
    if (padding > 0) batch.rows.insert(batch.rows.end(), size_t(text_dim), 0.0f);
    batch.offsets.push_back(batch.offsets.back() + e->tokens + (padding > 0));
    batch.last_key_bias.push_back(padding > 0 ? float(std::log(double(padding))) : 0.0f);
  }
  return batch;
}

int64_t TextBatch::longest() const {
  int64_t most = 0;
  for (size_t b = 1; b < offsets.size(); ++b) most = std::max(most, offsets[b] - offsets[b - 1]);
  return most;
}

}  // namespace wandistill
