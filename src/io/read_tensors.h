// Tensors read by several threads, converted on the way.
#pragma once

#include <cstdint>
#include <vector>

#include "wandistill/safetensors.h"

namespace wandistill {

/// Elements [first, first + count) of a tensor, and where they come; null: they are read alone, so that the
/// system's cache has them.
struct TensorPiece {
  const TensorInfo* tensor;
  int64_t first, count;
  void* to;
};

/// Cuts into pieces of at most this many elements, which are read and converted at once.
inline constexpr int64_t kPieceElements = int64_t{1} << 20;

/// Reads the pieces (of kPieceElements at most each) in their order, `threads` at a time, and writes them as
/// T (float or bf16). Every byte is read once, past the mapping; beside the result each thread holds one
/// piece as it stands in the file. Returns the bytes that were read. Error naming the file and the system's
/// reason.
template <class T>
int64_t read_tensors(const std::vector<TensorPiece>& pieces, int threads);

}  // namespace wandistill
