#pragma once

namespace wandistill::simt_test {

/// simt_tests mutant FAULT ORDER: runs the kernel that makes this mistake, on the SIMT device in this order
/// (forward, reverse, random). Exit code 0: the result is right, 1: it is wrong, 3: the layer refused the
/// kernel. Sanitizers end the program in their own ways.
int run_mutant(int argc, char** argv);

}  // namespace wandistill::simt_test
