// For tests that run on several ranks. The name of a test case ends in "[any ranks]", or in "[N ranks]" if it
// needs exactly N; the latter starts with NEEDS_RANKS(N) and fails on any other number.
#pragma once

#include <doctest/doctest.h>

#include "wandistill/session.h"

namespace wandistill {

/// The session of the whole test program.
Session& test_session();

/// Runs one of the jobs that end abnormally on purpose (scenarios.cpp); the exit code.
int run_scenario(const std::string& name, int argc, char** argv);

#define NEEDS_RANKS(n) REQUIRE_MESSAGE(test_session().world_size() == (n), "this test needs " #n " ranks")

}  // namespace wandistill
