// What AddressSanitizer and ThreadSanitizer must be told about fibers. Without them everything here is
// nothing.
//
// ThreadSanitizer as race checker: every CUDA thread is a TSan fiber, and fibers are switched without
// synchronisation, so that only the order that CUDA promises (barriers, events, launches) is known to it. The
// layer's own sources are compiled without instrumentation, with WD_TSAN defined; calls that TSan intercepts
// (malloc, free, memcpy) stand within IgnoreAccesses there.
#pragma once

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WD_TSAN
#include <sanitizer/tsan_interface.h>
extern "C" {
void __tsan_read2(void*);
void __tsan_read16(void*);
void __tsan_write16(void*);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace wandistill::simt::engine {

/// What was done before release(token) is ordered before what is done after acquire(token).
inline void release([[maybe_unused]] void* token) {
#ifdef WD_TSAN
  __tsan_release(token);
#endif
}
inline void acquire([[maybe_unused]] void* token) {
#ifdef WD_TSAN
  __tsan_acquire(token);
#endif
}

/// Accesses that the layer makes in the name of the current CUDA thread.
inline void note_read2([[maybe_unused]] const void* at) {
#ifdef WD_TSAN
  __tsan_read2(const_cast<void*>(at));
#endif
}
inline void note_read16([[maybe_unused]] const void* at) {
#ifdef WD_TSAN
  __tsan_read16(const_cast<void*>(at));
#endif
}
inline void note_write16([[maybe_unused]] void* at) {
#ifdef WD_TSAN
  __tsan_write16(at);
#endif
}

/// While it lives, the race checker looks away from the fiber that made it. `depth` counts them, so that a
/// fiber that is given up can be left in order.
class IgnoreAccesses {
 public:
  explicit IgnoreAccesses(int& depth) : depth_(depth) {
    ++depth_;
#ifdef WD_TSAN
    AnnotateIgnoreReadsBegin("", 0);
    AnnotateIgnoreWritesBegin("", 0);
#endif
  }
  IgnoreAccesses(const IgnoreAccesses&) = delete;
  IgnoreAccesses& operator=(const IgnoreAccesses&) = delete;
  ~IgnoreAccesses() {
    end_one(depth_);
  }

  static void end_all(int& depth) {
    while (depth > 0) end_one(depth);
  }

 private:
  static void end_one(int& depth) {
    --depth;
#ifdef WD_TSAN
    AnnotateIgnoreReadsEnd("", 0);
    AnnotateIgnoreWritesEnd("", 0);
#endif
  }
  int& depth_;
};

/// Until it goes, the host thread counts as `fiber` for the race checker: the identity of a stream.
class ActAs {
 public:
  explicit ActAs([[maybe_unused]] void* fiber) {
#ifdef WD_TSAN
    host_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber, __tsan_switch_to_fiber_no_sync);
#endif
  }
  ActAs(const ActAs&) = delete;
  ActAs& operator=(const ActAs&) = delete;
  ~ActAs() {
#ifdef WD_TSAN
    __tsan_switch_to_fiber(host_, __tsan_switch_to_fiber_no_sync);
#endif
  }

 private:
  [[maybe_unused]] void* host_ = nullptr;
};

inline void* make_identity() {
#ifdef WD_TSAN
  return __tsan_create_fiber(0);
#else
  return nullptr;
#endif
}
inline void destroy_identity([[maybe_unused]] void* fiber) {
#ifdef WD_TSAN
  if (fiber) __tsan_destroy_fiber(fiber);
#endif
}

}  // namespace wandistill::simt::engine
