// Where a forward pass finds a model's weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "wandistill/queue.h"
#include "wandistill/wan_config.h"

namespace wandistill {

/// Weights that lie in several places, or are not all there all of the time. For one queue. A forward pass
/// calls these as it enqueues its ops.
class PlacedWeights {
 public:
  virtual ~PlacedWeights() = default;
  /// The parameter's values, of the ops' element type, where the ops work: always the same place, which
  /// parameters of different blocks may share.
  virtual const void* at(const ParameterInfo& parameter) const = 0;
  /// Before a pass, and before the launch of a graph of one: what no block brings is there.
  virtual void begin_pass(const Queue&) {}
  /// Around the ops of a block.
  virtual void begin_block(int64_t /*block*/, const Queue&) {}
  virtual void end_block(int64_t /*block*/, const Queue&) {}
  /// Blocks are brought while a pass runs, so that it cannot be a graph.
  virtual bool streamed() const { return false; }
};

/// One of both: a flat buffer as the layout says, of the ops' element type, where the ops work; or placed
/// weights. The memory is another's.
class WanWeights {
 public:
  WanWeights() = default;
  WanWeights(std::nullptr_t) {}                           // NOLINT: none
  WanWeights(const void* flat) : flat_(flat) {}           // NOLINT: a buffer is that
  WanWeights(PlacedWeights* placed) : placed_(placed) {}  // NOLINT
  /// converted: of this buffer on the host, for ops that read weights in bfloat16.
  WanWeights(const void* flat, ConvertedWeights* converted) : flat_(flat), converted_(converted) {}
  WanWeights(PlacedWeights* placed, ConvertedWeights* converted) : placed_(placed), converted_(converted) {}
  explicit operator bool() const { return flat_ || placed_; }

  /// T: the ops' element type.
  template <class T>
  const T* at(const ParameterInfo& parameter) const {
    return placed_ ? static_cast<const T*>(placed_->at(parameter))
                   : static_cast<const T*>(flat_) + parameter.offset;
  }
  /// Null: flat.
  PlacedWeights* placed() const { return placed_; }
  /// Null: not kept.
  ConvertedWeights* converted() const { return converted_; }
  /// Tells these weights from others.
  const void* identity() const { return placed_ ? static_cast<const void*>(placed_) : flat_; }

 private:
  const void* flat_ = nullptr;
  PlacedWeights* placed_ = nullptr;
  ConvertedWeights* converted_ = nullptr;
};

/// T: the ops' element type.
template <class T>
WanTensors<const T> tensors_of(const WanConfig& config, const ParameterLayout& layout,
                               const WanWeights& weights) {
  return {config, layout, [&](const ParameterInfo& p) { return weights.at<T>(p); }};
}

}  // namespace wandistill
