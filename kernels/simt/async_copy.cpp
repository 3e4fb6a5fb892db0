#include "kernels/simt/async_copy.h"

#include <cstring>

#include "kernels/simt/sanitizers.h"

namespace wandistill::simt::engine {
namespace {

// Copied as this, not by memcpy, which the race checker would see a second time.
struct [[gnu::may_alias]] Sixteen {
  uint64_t low, high;
};

void write(void* to, const Sixteen& value) {
  note_write16(to);
  *static_cast<Sixteen*>(to) = value;
}

void land(const AsyncCopy& copy) {
  if (!copy.valid) return write(copy.to, {0, 0});
  note_read16(copy.from);
  write(copy.to, *static_cast<const Sixteen*>(copy.from));
}

}  // namespace

void issue_copy(void* to, const void* from, bool valid, const Where& where) {
  Thread& me = *current;
  if (reinterpret_cast<uintptr_t>(to) % 16 || (valid && reinterpret_cast<uintptr_t>(from) % 16))
    me.block->fail("cp.async: an address that is no multiple of 16 bytes, at", where);
  write(to, {~uint64_t{0}, ~uint64_t{0}});
  const AsyncCopy copy{to, from, valid, me.copy_group};
  if (me.block->options->early_copies) land(copy);
  IgnoreAccesses ignore(me.ignore_depth);
  me.copies.push_back(copy);
}

// Not in the header: the race checker, for which a thread of the next block is another one, would see it.
void commit_copies() {
  ++current->copy_group;
}

void land_copies(int pending) {
  Thread& me = *current;
  size_t kept = 0;
  for (const AsyncCopy& copy : me.copies) {
    if (copy.group >= me.copy_group - pending)
      me.copies[kept++] = copy;
    else if (!me.block->options->early_copies)
      land(copy);
  }
  me.copies.resize(kept);
}

}  // namespace wandistill::simt::engine
