// What a stream must know while its work becomes a graph; the same rules on every device.
#pragma once

#include <set>
#include <utility>
#include <vector>

#include "wandistill/error.h"

namespace wandistill {

/// The buffers of a capture.
class CaptureLedger {
 public:
  void allocated(void* memory) { open_.insert(memory); }
  /// False if the buffer is older than the capture: then nothing is to be captured, and it must be released
  /// after the capture.
  bool released(void* memory) {
    if (open_.erase(memory)) return true;
    older_.push_back(memory);
    return false;
  }
  const std::vector<void*>& older() const { return older_; }
  /// Error if the buffers break the rules of Stream::begin_capture().
  void check() const {
    if (!older_.empty())
      fail("graph: ", older_.size(), " buffers were released within the capture but allocated before it");
    if (!open_.empty())
      fail("graph: ", open_.size(), " buffers were allocated within the capture but not released in it");
  }

 private:
  std::set<void*> open_;
  std::vector<void*> older_;
};

[[noreturn]] inline void refuse_in_capture(const char* what) {
  fail("graph: ", what, " within a capture: it would happen once, now, and not at every launch");
}
[[noreturn]] inline void refuse_end_capture() {
  fail("graph: end_capture() without a begin_capture()");
}
[[noreturn]] inline void refuse_other_stream() {
  fail("graph: launched on another stream than the one that it was captured from");
}

}  // namespace wandistill
