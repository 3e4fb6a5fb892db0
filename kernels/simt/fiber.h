// Flows of control that share one OS thread: what a CUDA thread runs on under the SIMT layer.
#pragma once

#include <cstddef>
#include <cstdint>

// Own switch on x86-64 (eight instructions); elsewhere, or with WD_SIMT_UCONTEXT, the C library's ucontext,
// which is slower: it changes the signal mask by a system call.
#if !defined(__x86_64__) && !defined(WD_SIMT_UCONTEXT)
#define WD_SIMT_UCONTEXT
#endif
#ifdef WD_SIMT_UCONTEXT
#include <ucontext.h>
#endif

namespace wandistill::simt::engine {

class Fiber {
 public:
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Stands for the calling OS thread's own flow: what the others return to.
  void adopt_thread();
  /// To be started by the first switch to it: calls entry(), which must call entered() first and never
  /// return. `colour` shifts the start of the stack, lest the same frames of all fibers meet in one cache
  /// set.
  void prepare(char* stack, size_t bytes, unsigned colour, void (*entry)());
  /// Gives the fiber another identity for the race checker.
  void set_identity(void* identity) { identity_ = identity; }

  /// Leaves `from` (for ever, if from_ends) and goes on in `to`.
  static void change(Fiber& from, Fiber& to, bool from_ends = false);
  static void entered();

 private:
  void* stack_pointer_ = nullptr;
  const void* stack_ = nullptr;
  size_t bytes_ = 0;
  void* fake_stack_ = nullptr;  // AddressSanitizer's
  void* identity_ = nullptr;    // ThreadSanitizer's fiber
#ifdef WD_SIMT_UCONTEXT
  ucontext_t context_;
#endif
};

/// Stacks of equal size, each with a page in front that nobody may touch.
class Stacks {
 public:
  static constexpr size_t kBytes = size_t{256} << 10;

  explicit Stacks(int count);
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  ~Stacks();
  char* operator[](int i) { return memory_ + static_cast<size_t>(i) * (kBytes + kGuard) + kGuard; }

 private:
  static constexpr size_t kGuard = 4096;
  char* memory_;
  size_t total_;
};

}  // namespace wandistill::simt::engine
