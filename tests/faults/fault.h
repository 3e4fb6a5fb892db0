// Faults for tests: what can be asked for, by the environment or by a test itself.
#pragma once

#include <string>

namespace wandistill::testing {

/// The environment variable WANDISTILL_FAULT has a list of faults, separated by commas. Each is
///   ACTION:POINT[:KEY=VALUE]...
/// with the actions
///   fail   what stands at the point fails
///   delay  the rank sleeps there for seconds=S
///   slow   it sleeps there factor=F - 1 times as long as the denoising step took
///   kill   it is killed (SIGKILL)
///   log    nothing goes wrong: a line "POINT ID" is added to the file $WANDISTILL_FAULT_LOG.RANK
/// and, to say at which visits (without: at all of them):
///   rank=R  on this rank
///   n=N     at its N-th visit of the point that fits the other keys, counted from 1
///   id=I    where the point has this id
///   over=I  where it has a larger one
/// Points and their ids: read and write (of a file; "No space left on device"), rename (of a finished file),
/// allocation (bytes), collective, start (of a round of pictures), prompt (its index), batch (prompts drawn
/// at once), latents (prompt; they become NaN), denoising (after each step: its microseconds), decode (before
/// each part of one), step (before one of training: its number), checkpoint (before one is written: its
/// step), log (a line of metrics or events), sample (before one is read: its number in the cache), noise
/// (before a re-noised sample is: the key of its noise), sum (bytes; the rank gets a wrong sum in a check of
/// the all-reduce), clock (the rank's is 10 seconds fast).
class Faults {
 public:
  /// In this process, in place of what was asked for before, until the destructor.
  explicit Faults(const std::string& list);
  ~Faults();
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;

  /// How often the faults struck so far.
  int64_t struck() const;
};

}  // namespace wandistill::testing
