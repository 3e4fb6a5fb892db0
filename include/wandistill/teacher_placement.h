// Where the teacher's experts are while trajectories are computed, and the memory that takes.
#pragma once

#include <cstdint>
#include <string>

#include "wandistill/dtype.h"
#include "wandistill/options.h"
#include "wandistill/wan_config.h"

namespace wandistill {

enum class TeacherPlacement {
  kAuto,      // the first of the next three whose memory fits, else the last
  kResident,  // both experts on the GPU
  kExpert,    // one at a time on the GPU, the other in the host's memory
  kStream,    // one at a time, block by block from pinned host memory, double-buffered
  kHost       // computed on the CPU, in float32
};

/// "auto", "resident", "expert", "stream" or "host"; anything else is an error naming these.
TeacherPlacement parse_teacher_placement(const std::string& name);
const char* teacher_placement_name(TeacherPlacement placement);
/// What the options say together; an error if they contradict each other. --teacher_on_cpu and
/// --teacher_device_strategy cpu: host; gpu0: resident; balanced: expert.
TeacherPlacement teacher_placement_of(const PlacementOptions& options);

/// The experts' weights, as each rank computes with them.
struct TeacherSizes {
  const WanConfig& config;
  int64_t experts;
  Dtype dtype;  // on a GPU

  /// Bytes on the GPU: of both experts; of one; of its embedders and head, and two blocks; none.
  int64_t gpu_bytes(TeacherPlacement placement) const;
  /// Bytes in the host's memory, once for all ranks of a node: none; all experts in `dtype`; all in float32.
  int64_t host_bytes(TeacherPlacement placement) const;
  /// Bytes that one forward pass of a batch brings to the GPU: the blocks, where they are streamed.
  int64_t streamed_bytes(TeacherPlacement placement) const;

  /// What kAuto means on a GPU where `room` bytes are free for the experts. With one expert, resident and
  /// expert are the same.
  TeacherPlacement choose(int64_t room) const;
};

}  // namespace wandistill
