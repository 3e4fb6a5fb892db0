// An expert whose blocks come to the GPU one after the other while it computes.
#pragma once

#include <array>
#include <memory>

#include "wandistill/compute.h"
#include "wandistill/wan_weights.h"

namespace wandistill {

class StreamedExpert;

/// The GPU's memory that all streamed experts of a teacher use in turns: embedders and head of one, and two
/// blocks; and the stream of the copies.
struct StreamMemory {
  StreamMemory(const ParameterLayout& layout, int64_t element_bytes, const Compute& compute);

  struct Slot {
    OpBuffer<char> block;
    std::unique_ptr<Event> landed, read;  // of its last copy; of the ops that used it last
    const StreamedExpert* expert = nullptr;
    int64_t index = -1;
  };
  OpBuffer<char> outside;
  const StreamedExpert* outside_of = nullptr;
  std::array<Slot, 2> slots;  // block i in slot i % 2
  std::unique_ptr<Stream> copies;
};

/// While a block computes, the next one is copied; behind the last ones the first of the next pass.
class StreamedExpert : public PlacedWeights {
 public:
  /// source: all parameters as the layout has them, in pinned memory. All outlive this.
  StreamedExpert(const ParameterLayout& layout, int64_t element_bytes, const char* source,
                 StreamMemory& memory);
  const void* at(const ParameterInfo& parameter) const override;
  void begin_pass(const Queue& queue) override;
  void begin_block(int64_t block, const Queue& queue) override;
  void end_block(int64_t block, const Queue& queue) override;
  bool streamed() const override { return true; }

 private:
  void fetch(int64_t block);

  const Range embedders_, head_;  // in elements
  const int64_t layers_, block_size_, element_bytes_;
  const char* const source_;
  StreamMemory& memory_;
};

}  // namespace wandistill
