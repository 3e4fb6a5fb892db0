#include "wandistill/job_time.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>

#include "wandistill/error.h"
#include "wandistill/launcher.h"
#include "wandistill/session.h"

namespace wandistill {
namespace {

/// Sets variables of the environment, and puts back what was there.
class Environment {
 public:
  Environment(std::initializer_list<std::pair<const char*, const char*>> variables) {
    for (const auto& [name, value] : variables) {
      const char* before = std::getenv(name);
      before_.emplace_back(name, before ? std::optional<std::string>(before) : std::nullopt);
      set(name, value);
    }
  }
  ~Environment() {
    for (const auto& [name, value] : before_) set(name, value ? value->c_str() : nullptr);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  static void set(const char* name, const char* value) { value ? setenv(name, value, 1) : unsetenv(name); }
  std::vector<std::pair<const char*, std::optional<std::string>>> before_;
};

TEST_CASE("job time: as Slurm prints it") {
  CHECK(parse_slurm_time("7").value() == 7);
  CHECK(parse_slurm_time("3:05").value() == 185);
  CHECK(parse_slurm_time("1:00:00").value() == 3600);
  CHECK(parse_slurm_time("2-03:04:05").value() == 2 * 86400 + 3 * 3600 + 4 * 60 + 5);
  for (const char* none :
       {"UNLIMITED", "INVALID", "NOT_SET", "", ":", "1:", "-1:00", "1-", "1:2:3:4", "1 2"}) {
    CAPTURE(none);
    CHECK_FALSE(parse_slurm_time(none).has_value());
  }
}

TEST_CASE("job time: from the environment") {
  SUBCASE("outside of Slurm") {
    const Environment none{{"SLURM_JOB_ID", nullptr}, {"SLURM_JOB_END_TIME", "1"}};
    CHECK_FALSE(slurm_seconds_left().has_value());
  }
  SUBCASE("the end in seconds since 1970") {
    const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
    const Environment job{{"SLURM_JOB_ID", "7"},
                          {"SLURM_JOB_END_TIME", std::to_string(int64_t(now.count()) + 1000).c_str()}};
    CHECK(slurm_seconds_left().value() == doctest::Approx(1000).epsilon(0.1));
  }
  SUBCASE("no number") {
    const Environment job{{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_END_TIME", "soon"}};
    CHECK_THROWS_WITH_AS(slurm_seconds_left(), doctest::Contains("'soon'"), Error);
  }
  SUBCASE("squeue fails") {
    const Environment job{{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_END_TIME", nullptr}, {"PATH", "/nowhere"}};
    CHECK_THROWS_WITH_AS(slurm_seconds_left(), doctest::Contains("squeue"), Error);
  }
}

TEST_CASE("stop signals: the end of the job's time") {
  StopSignals stop;
  stop.stop_at(std::chrono::steady_clock::now() + std::chrono::hours(1));
  CHECK_FALSE(stop.requested());
  stop.stop_at(std::chrono::steady_clock::now());
  CHECK(stop.requested());
  CHECK(stop.reason() == "before the job's time ends");
  raise(SIGUSR1);
  CHECK(stop.reason() == "by a signal");
}

TEST_CASE("launcher: processes that MPI does not connect are refused") {
  const Environment bare{{"OMPI_COMM_WORLD_SIZE", nullptr},
                         {"OMPI_COMM_WORLD_RANK", nullptr},
                         {"PMIX_RANK", nullptr},
                         {"PMI_SIZE", nullptr},
                         {"PMI_RANK", nullptr},
                         {"SLURM_STEP_NUM_TASKS", nullptr},
                         {"SLURM_PROCID", nullptr}};
  CHECK(launched_rank() == -1);
  check_launcher();
  check_launcher(1);
  SUBCASE("srun without PMIx: known at once") {
    const Environment step{{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PROCID", "2"}};
    CHECK(launched_rank() == 2);
    CHECK_THROWS_WITH_AS(check_launcher(), doctest::Contains("4 processes were started"), Error);
  }
  SUBCASE("srun of one task") {
    const Environment step{{"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_PROCID", "0"}};
    check_launcher();
    check_launcher(1);
  }
  SUBCASE("srun with a PMI: the world's size decides") {
    const Environment step{{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PROCID", "2"}, {"PMIX_RANK", "2"}};
    check_launcher();
    check_launcher(4);
    CHECK_THROWS_WITH_AS(check_launcher(1), doctest::Contains("srun --mpi=pmix"), Error);
  }
  SUBCASE("mpirun, itself started by srun on every node") {
    const Environment step{
        {"SLURM_STEP_NUM_TASKS", "2"}, {"OMPI_COMM_WORLD_SIZE", "1"}, {"OMPI_COMM_WORLD_RANK", "0"}};
    check_launcher();
    check_launcher(1);
  }
  SUBCASE("the mpiexec of another library") {
    const Environment step{{"PMI_SIZE", "3"}, {"PMI_RANK", "1"}};
    check_launcher();
    CHECK_THROWS_WITH_AS(check_launcher(1), doctest::Contains("3 processes were started"), Error);
  }
}

}  // namespace
}  // namespace wandistill
