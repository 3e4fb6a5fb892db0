#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <string>

#include "tests/simt/mutant.h"

int main(int argc, char** argv) {
  if (argc > 1 && argv[1] == std::string("mutant")) return wandistill::simt_test::run_mutant(argc, argv);
  return doctest::Context(argc, argv).run();
}
