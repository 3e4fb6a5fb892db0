// The weights of one component of a teacher, read once per node.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "wandistill/component_tensors.h"
#include "wandistill/compute.h"
#include "wandistill/node_memory.h"
#include "wandistill/safetensors.h"

namespace wandistill {

/// What reading took: bytes of files, of all ranks together.
struct LoadFigures {
  int64_t bytes = 0;
  double seconds = 0;
};

class ComponentWeights {
 public:
  enum class Place {
    kOps,  // where the ops work. On the host: in the files' mapping, if they have float32, else as kNode
    kNode  // in memory of the node, in the element type of the device that they will go to
  };

  ComponentWeights() = default;
  /// Reads these tensors, of shapes and types that `files` has been asked for (SafetensorsFolder::expect).
  /// The ranks of a node share the reading and converting: beside the result 32 MB of the node's memory and a
  /// piece of 8 MB at most per thread. what: "the text encoder", in messages. Null session: of a program of
  /// one process. compute outlives this. Collective.
  ComponentWeights(Session* session, std::shared_ptr<const SafetensorsFolder> files,
                   const std::vector<TensorSpec>& tensors, const Compute& compute, Dtype dtype, Place place,
                   const std::string& what);

  /// The values of a tensor (an index into `tensors`), of the ops' element type.
  const void* at(size_t tensor) const;
  /// All of them one after the other; null where they are mapped.
  const char* flat() const { return placed_.data() ? placed_.data() : node_.data(); }
  char* flat() { return placed_.data() ? placed_.data() : node_.data(); }
  int64_t flat_bytes() const { return mapped_ ? 0 : offsets_.back(); }
  bool mapped() const { return mapped_ != nullptr; }
  const LoadFigures& figures() const { return figures_; }

 private:
  template <class T>
  void load(Session* session, const Compute& compute, Place place, const std::string& what);
  void warm(Session* session, int threads);

  std::vector<const TensorInfo*> tensors_;
  std::vector<int64_t> offsets_;  // in bytes; the last: of all
  std::shared_ptr<const SafetensorsFolder> files_, mapped_;
  NodeMemory node_;
  OpBuffer<char> placed_;
  LoadFigures figures_;
};

}  // namespace wandistill
