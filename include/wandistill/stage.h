// The stages of a run, for profilers.
#pragma once

namespace wandistill {

/// From its beginning to its end a range of this name in the calling thread, which a profiler shows (NVTX:
/// `nsys profile -t nvtx,cuda mpirun ...`). What a stage has asked a device for may be done later. Stages are
/// nested: the last to begin ends first. Nothing in a build without CUDA's NVTX. name: a literal.
class Stage {
 public:
  explicit Stage(const char* name);
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
};

}  // namespace wandistill
