#include "kernels/simt/fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "kernels/simt/sanitizers.h"
#include "wandistill/error.h"

#ifndef WD_SIMT_UCONTEXT
// The callee-saved registers go onto the old stack and come from the new one. Floating-point modes stay as
// they are: kernels do not change them.
extern "C" void wandistill_switch_stack(void** save, void* load);
asm(R"(
.text
.globl wandistill_switch_stack
.type wandistill_switch_stack, @function
wandistill_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size wandistill_switch_stack, .-wandistill_switch_stack
)");
#endif

namespace wandistill::simt::engine {

void Fiber::adopt_thread() {
#ifdef __SANITIZE_ADDRESS__
  pthread_attr_t attributes;
  WD_REQUIRE(pthread_getattr_np(pthread_self(), &attributes) == 0);
  void* stack;
  pthread_attr_getstack(&attributes, &stack, &bytes_);
  pthread_attr_destroy(&attributes);
  stack_ = stack;
#endif
#ifdef WD_TSAN
  identity_ = __tsan_get_current_fiber();
#endif
}

void Fiber::prepare(char* stack, size_t bytes, unsigned colour, void (*entry)()) {
  stack_ = stack;
  bytes_ = bytes;
  fake_stack_ = nullptr;
#ifdef __SANITIZE_ADDRESS__
  // A fiber ends without returning: the red zones of its last frames, which are few, are still there.
  constexpr size_t kLastFrames = size_t{16} << 10;
  __asan_unpoison_memory_region(stack + bytes - kLastFrames, kLastFrames);
#endif
  const size_t usable = bytes - 64 - size_t{colour % 64} * 64;
#ifdef WD_SIMT_UCONTEXT
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack;
  context_.uc_stack.ss_size = usable;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
#else
  // As if entry had been called (from nowhere) and had been left by wandistill_switch_stack.
  void** top = reinterpret_cast<void**>(stack + usable);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  stack_pointer_ = top;
#endif
}

void Fiber::change(Fiber& from, Fiber& to, [[maybe_unused]] bool from_ends) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(from_ends ? nullptr : &from.fake_stack_, to.stack_, to.bytes_);
#endif
#ifdef WD_TSAN
  __tsan_switch_to_fiber(to.identity_, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef WD_SIMT_UCONTEXT
  swapcontext(&from.context_, &to.context_);
#else
  wandistill_switch_stack(&from.stack_pointer_, to.stack_pointer_);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::entered() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

Stacks::Stacks(int count) : total_(static_cast<size_t>(count) * (kBytes + kGuard)) {
  void* memory =
      mmap(nullptr, total_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    fail("SIMT: no address space for ", count, " stacks of ", kBytes, " bytes: ", std::strerror(errno));
  memory_ = static_cast<char*>(memory);
  for (int i = 0; i < count; ++i) mprotect((*this)[i] - kGuard, kGuard, PROT_NONE);
}

Stacks::~Stacks() {
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(memory_, total_);
#endif
  munmap(memory_, total_);
}

}  // namespace wandistill::simt::engine
