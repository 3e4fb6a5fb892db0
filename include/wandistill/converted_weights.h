// A model's weights as the CPU's products of bfloat16 read them, kept from product to product.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <utility>

#include "wandistill/buffer.h"
#include "wandistill/half.h"
#include "wandistill/queue.h"

namespace wandistill {

/// Per weight of a student in training: in both orders, and its average in the forward pass's.
constexpr int64_t kConvertedBytes = 3 * int64_t{sizeof(bf16)};

/// Belongs to weights in one place in memory, and to one thread of the host.
class ConvertedWeights {
 public:
  /// y = x W^T and dx = dy W read W [N, K] in two orders.
  enum class Use { kForward, kInputGradient };

  /// Weights beyond so many bytes are not kept.
  explicit ConvertedWeights(int64_t most_bytes = std::numeric_limits<int64_t>::max())
      : most_bytes_(most_bytes) {}

  /// The weight [N, K] packed (kernels/cpu/bf16_tiles.h), converted if it was not since changed(). Null: not
  /// kept.
  const bf16* find(const float* weight, int64_t n, int64_t k, Use use, const Queue& queue);
  /// The weights have other values now.
  void changed() { ++version_; }

 private:
  struct Packed {
    Buffer<bf16> values;
    int64_t version = -1;
  };

  int64_t most_bytes_, bytes_ = 0, version_ = 0;
  std::map<std::pair<const float*, Use>, Packed> packed_;
};

}  // namespace wandistill
