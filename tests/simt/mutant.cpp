#include "tests/simt/mutant.h"

#include <cstdio>

#include "tests/simt/subjects.h"
#include "wandistill/error.h"

namespace wandistill::simt_test {
namespace {

/// Whether the kernels concerned give right results nonetheless.
bool right(DeviceSession& session, Fault fault) {
  const TestKernels& kernels = simt::kTestKernels;
  constexpr int kTokens = 200;  // four tiles of keys, the last one ragged
  const bool all = fault == Fault::kNone;
  const auto one_of = [&](Fault first, Fault last) { return all || (fault >= first && fault <= last); };
  bool good = true;
  if (one_of(Fault::kNoBarrierBeforeRefill, Fault::kSharedIndex))
    good &= attention_tiles_error(session, kernels, fault, kTokens) <= kTilesBound;
  if (one_of(Fault::kNoCopyWait, Fault::kSharedTooSmall))
    good &= attention_tensor_core_error(session, kernels, fault, kTokens) <= kTensorCoreBound;
  // Where rows are not aligned it is the access that is wrong, not the sum that nobody asked for.
  if (one_of(Fault::kNoAtomic, Fault::kMisaligned))
    good &= column_sums_error(session, kernels, fault, 131, 264) <= kSumsBound || fault == Fault::kMisaligned;
  if (one_of(Fault::kNoEvent, Fault::kEarlyHostWrite))
    good &= pipeline_error(session, fault) <= kPipelineBound;
  return good;
}

}  // namespace

int run_mutant(int argc, char** argv) {
  if (argc == 4)
    for (const NamedFault& f : kFaults)
      for (const SimtCase& c : kSimtCases) {
        if (argv[2] != std::string(f.name) || argv[3] != std::string(c.name)) continue;
        SimtOptions options = c.options;
        options.early_copies = false;
        try {
          DeviceSession session(make_simt_device(options), 2);
          const bool good = right(session, f.fault);
          std::puts(good ? "right" : "wrong");
          return good ? 0 : 1;
        } catch (const Error& error) {
          std::puts(error.what());
          return 3;
        }
      }
  std::fputs("usage: simt_tests mutant FAULT forward|reverse|random, with one of the faults\n", stderr);
  for (const NamedFault& f : kFaults) std::fprintf(stderr, "  %s\n", f.name);
  return 2;
}

}  // namespace wandistill::simt_test
