// mpirun -n N mpi_tests --ranks N       the tests for any number of ranks and those for N
// mpirun -n N mpi_tests --scenario NAME  a job that ends abnormally on purpose (tests/mpi/run.sh looks at
// how)
#define DOCTEST_CONFIG_IMPLEMENT
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "mpi_test.h"

namespace wandistill {
namespace {

constexpr unsigned kLimitSeconds = 120;  // a failed assertion on one rank can leave the others waiting

Session* the_session = nullptr;
unsigned tests_run = 0;

/// Counts the tests that ran: none at all must not look like success.
struct Counter : doctest::IReporter {
  explicit Counter(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& stats) override {
    tests_run = stats.numTestCasesPassingFilters;
  }
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("counter", 1, Counter);

int run_tests(Session& session, int expected, int argc, char** argv) {
  if (session.world_size() != expected) {
    throw CollectiveError(cat("--ranks ", expected, ", but the world has ", session.world_size(), " ranks"));
  }
  the_session = &session;
  doctest::Context context;
  context.setOption("minimal", true);
  context.setOption("no-intro", true);
  context.setOption("no-colors", true);
  context.addFilter("test-case", "*[any ranks]");
  context.addFilter("test-case", cat("*[", expected, " ranks]").c_str());
  context.applyCommandLine(argc, argv);
  const bool failed = session.any(context.run() != 0 || tests_run == 0);
  if (session.is_root()) {
    std::printf("mpi_tests on %d ranks: %u test cases %s\n", expected, tests_run,
                failed ? "FAILED" : "passed");
  }
  return failed ? 1 : 0;
}

}  // namespace

Session& test_session() {
  return *the_session;
}

}  // namespace wandistill

int main(int argc, char** argv) {
  alarm(wandistill::kLimitSeconds);
  const bool usable = argc >= 3;
  if (usable && std::strcmp(argv[1], "--scenario") == 0) return wandistill::run_scenario(argv[2], argc, argv);
  if (!usable || std::strcmp(argv[1], "--ranks") != 0) {
    std::fprintf(stderr, "usage: mpirun -n N %s --ranks N [doctest options] | --scenario NAME\n", argv[0]);
    return 2;
  }
  const int expected = std::atoi(argv[2]);
  return wandistill::run_session(argc, argv, [&](wandistill::Session& session) {
    return wandistill::run_tests(session, expected, argc - 2, argv + 2);
  });
}
