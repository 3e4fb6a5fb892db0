// cp.async under the SIMT layer: the destination holds NaN from the issue on and gets its bytes when the
// thread waits, which is the latest that hardware may be (or at once, SimtOptions::early_copies: the
// earliest).
#pragma once

#include "kernels/simt/block.h"

namespace wandistill::simt {
namespace engine {

void issue_copy(void* to, const void* from, bool valid, const Where& where);
void commit_copies();
/// Copies of all groups land but of the `pending` last committed.
void land_copies(int pending);

}  // namespace engine

/// 16 bytes from global to shared memory, both 16-byte aligned; zeros if not valid.
inline void cp_async16(void* to, const void* from, bool valid,
                       engine::Where where = engine::Where::current()) {
  engine::issue_copy(to, from, valid, where);
}
inline void cp_async_commit() {
  engine::commit_copies();
}
template <int kPending>
void cp_async_wait() {
  engine::land_copies(kPending);
}

}  // namespace wandistill::simt
