#include <doctest/doctest.h>

#include "src/doctor/clocks.h"
#include "src/doctor/fact_checks.h"

namespace wandistill {
namespace {

/// Two ranks on each of two hosts of four cores, which see the host's two GPUs. Nothing is wrong.
std::vector<RankFacts> good_facts() {
  std::vector<RankFacts> all;
  for (int rank = 0; rank < 4; ++rank) {
    RankFacts f;
    const std::string host = rank < 2 ? "node1" : "node2";
    f.host = host;
    f.local_rank = rank % 2;
    f.threads = 2;
    f.cores = rank % 2 == 0 ? std::vector<int>{0, 1} : std::vector<int>{2, 3};
    f.host_cores = 4;
    f.launcher = "srun, PMIx";
    f.launched_size = 4;
    f.thread_level = "MPI_THREAD_MULTIPLE";
    f.versions = {{"wandistill", "1.0"}, {"MPI", "Open MPI v4.1.4"}, {"CUDA", "13.0"}, {"NCCL", ""}};
    f.gpus = {host + "-a", host + "-b"};
    f.gpu_names = {"GPU at 1", "GPU at 2"};
    f.driver = "13.0";
    f.shm_bytes = f.shm_free = int64_t{1} << 30;
    f.files = 4096;
    all.push_back(f);
  }
  return all;
}

void check_result(const Check& check, CheckResult result, const std::string& found) {
  CAPTURE(check.found);
  CHECK(check.result == result);
  CHECK(check.found.find(found) != std::string::npos);
  CHECK(check.remedy.empty() == (result == CheckResult::kGood));
}

TEST_CASE("doctor: good facts are good") {
  const std::vector<RankFacts> facts = good_facts();
  check_result(launcher_check(facts), CheckResult::kGood, "srun, PMIx, 4 ranks, Open MPI v4.1.4");
  check_result(versions_check(facts), CheckResult::kGood, "CUDA 13.0, MPI Open MPI v4.1.4, wandistill 1.0");
  check_result(cores_check(facts), CheckResult::kGood,
               "node2: ranks 2-3, 2 threads each, each on its own of cores 0-3 of 4");
  check_result(gpus_check(facts, "auto"), CheckResult::kGood,
               "node2: ranks 2-3, each sees 2: 2 has GPU at 1 (node2-a), 3 has GPU at 2 (node2-b)");
  check_result(shared_memory_check(facts, "auto"), CheckResult::kGood, "node1: 1.07 GB of 1.07 GB free");
  check_result(limits_check(facts), CheckResult::kGood, "locked memory unlimited, open files 4,096");
}

TEST_CASE("doctor: a launcher that started another number of processes, or not all of them") {
  std::vector<RankFacts> facts = good_facts();
  facts[0].launched_size = 8;
  check_result(launcher_check(facts), CheckResult::kBad,
               "the launcher started 8 processes, and MPI's world has 4");
  facts = good_facts();
  facts[2].launcher = "none";
  check_result(launcher_check(facts), CheckResult::kBad, "rank 2 (node2): none, the others: srun, PMIx");
}

TEST_CASE("doctor: the rank with another version is named, also where it is rank 0, or has none") {
  std::vector<RankFacts> facts = good_facts();
  facts[3].versions["wandistill"] = "1.1";
  check_result(versions_check(facts), CheckResult::kBad,
               "rank 3 (node2): wandistill 1.1, where ranks 0-2 have 1.0");
  facts = good_facts();
  facts[0].versions["CUDA"] = "12.9";
  check_result(versions_check(facts), CheckResult::kBad,
               "rank 0 (node1): CUDA 12.9, where ranks 1-3 have 13.0");
  facts = good_facts();
  facts[1].versions.erase("MPI");
  facts[2].versions.erase("MPI");
  check_result(versions_check(facts), CheckResult::kBad,
               "ranks 1-2 (node1, ...): MPI none, where ranks 0, 3 have Open MPI v4.1.4");
}

TEST_CASE("doctor: more threads than cores, and overlapping cores, are warnings") {
  std::vector<RankFacts> facts = good_facts();
  facts[2].threads = 3;
  check_result(cores_check(facts), CheckResult::kWarning,
               "node2: oversubscribed, 3 threads of rank 2 on 2 cores (0-1)");
  // Both on the same two cores: each alone would fit.
  facts = good_facts();
  facts[1].cores = {0, 1};
  check_result(cores_check(facts), CheckResult::kWarning,
               "node1: oversubscribed, 4 threads of ranks 0-1 on 2 cores (0-1)");
  // They share all four cores, and have four threads.
  facts = good_facts();
  facts[0].cores = facts[1].cores = {0, 1, 2, 3};
  check_result(cores_check(facts), CheckResult::kGood, "node1: ranks 0-1, 2 threads each, on cores 0-3 of 4");
  // Enough cores, but one in common.
  facts = good_facts();
  facts[0].cores = {0, 1, 2};
  check_result(cores_check(facts), CheckResult::kWarning,
               "node1: ranks 0-1 are bound to overlapping cores, with 2 in common");
}

TEST_CASE("doctor: GPUs, whole hosts' or one for each task, and none for two") {
  std::vector<RankFacts> facts = good_facts();
  for (int rank = 0; rank < 4; ++rank) {
    facts[size_t(rank)].gpus = {"gpu" + std::to_string(rank)};
    facts[size_t(rank)].gpu_names = {"GPU"};
  }
  check_result(gpus_check(facts, "cuda"), CheckResult::kGood,
               "node1: ranks 0-1, each sees 1: 0 has GPU (gpu0), 1");
  facts[3].gpus = {"gpu2"};  // by a scheduler that gave it to two
  check_result(gpus_check(facts, "cuda"), CheckResult::kBad,
               "node2: 2 ranks, and 1 GPU for them: local rank 1");
  check_result(gpus_check(facts, "cpu"), CheckResult::kGood, "none are used");
  facts[3].gpus.clear();
  facts[3].gpu_problem = "out of order";
  check_result(gpus_check(facts, "cuda"), CheckResult::kBad, "rank 3 (node2) sees no GPU: out of order");
  check_result(gpus_check(facts, "auto"), CheckResult::kWarning, "so that all ranks compute on the CPU");
  CHECK_FALSE(uses_gpus(facts, "auto"));
}

TEST_CASE("doctor: no GPUs at all are no problem for --device auto, unless a driver is there") {
  std::vector<RankFacts> facts = good_facts();
  for (RankFacts& f : facts) {
    f.gpus.clear();
    f.driver.clear();
    f.gpu_problem = "there is no driver";
  }
  check_result(gpus_check(facts, "auto"), CheckResult::kGood, "no rank sees one (there is no driver)");
  check_result(gpus_check(facts, "cuda"), CheckResult::kBad,
               "ranks 0-3 (node1) see no GPU: there is no driver");
  for (RankFacts& f : facts) f.driver = "12.2";
  check_result(gpus_check(facts, "auto"), CheckResult::kWarning, "compute on the CPU");
}

TEST_CASE("doctor: drivers that differ are a warning") {
  std::vector<RankFacts> facts = good_facts();
  facts[2].driver = facts[3].driver = "12.9";
  check_result(gpus_check(facts, "auto"), CheckResult::kWarning,
               "the hosts' drivers differ: for CUDA 12.9, 13.0");
}

TEST_CASE("doctor: little room in /dev/shm, and low limits, are warnings") {
  std::vector<RankFacts> facts = good_facts();
  facts[2].shm_free = facts[3].shm_free = int64_t{200} << 20;  // enough for one rank
  check_result(shared_memory_check(facts, "cpu"), CheckResult::kGood, "node2: 210 MB of 1.07 GB free");
  check_result(shared_memory_check(facts, "cuda"), CheckResult::kWarning,
               "node2: 210 MB of 1.07 GB free; its 2 ranks may want 268 MB");
  facts[1].files = 512;
  check_result(limits_check(facts), CheckResult::kWarning,
               "rank 1 (node1): fewer open files than a run may need");
  facts = good_facts();
  facts[3].locked_bytes = 8'388'608;
  check_result(limits_check(facts), CheckResult::kGood, "rank 3 (node2): locked memory 8.39 MB");
  facts[3].infiniband = true;
  check_result(limits_check(facts), CheckResult::kWarning, "rank 3 (node2): locked memory is limited");
}

TEST_CASE("doctor: a clock's offset comes from the shortest exchange") {
  // The other clock is 5 s ahead; the second answer was held up on its way back.
  const std::vector<Exchange> exchanges = {
      {100.0, 105.5, 101.0}, {200.0, 205.01, 203.0}, {300.0, 305.125, 300.25}, {400.0, 405.9, 401.0}};
  const ClockOffset offset = clock_offset(exchanges);
  CHECK(offset.seconds == 5.0);
  CHECK(offset.uncertainty == 0.125);
}

TEST_CASE("doctor: clocks more than a second from rank 0's are named") {
  const std::vector<std::string> hosts = {"node1", "node2", "node3"};
  check_result(clocks_check({{0, 0}, {0.25, 0.01}, {-0.5, 0.02}}, hosts), CheckResult::kGood,
               "at most 790 ms apart");
  const Check check = clocks_check({{0, 0}, {1.5, 0.01}, {-90, 0.02}}, hosts);
  check_result(check, CheckResult::kWarning,
               "the clock of rank 1 (node2) is 1.50 s ahead of rank 0's (node1)");
  check_result(check, CheckResult::kWarning, "the clock of rank 2 (node3) is 1.50 min behind rank 0's");
}

TEST_CASE("checks: results, summary, and the rows of one result") {
  Checks checks;
  checks.run("one", "no", [] { return "found"; });
  CHECK(checks.good());
  CHECK(checks.summary() == "1 check: nothing is wrong");
  checks.add({"two", CheckResult::kWarning, "hm", "look"});
  checks.skip("three", "not asked for");
  CHECK(checks.good());
  CHECK_FALSE(checks.run("four", "mend it", []() -> std::string { throw Error("broken"); }));
  CHECK_FALSE(checks.good());
  CHECK(checks.summary() == "3 checks: 1 warning, 1 FAILED");
  CHECK(checks.text(CheckResult::kBad) ==
        "  FAILED   four              broken\n"
        "                             What to do: mend it\n");
  CHECK(checks.text().find("  –        three             not asked for\n") != std::string::npos);
  CHECK(checks.text(3) == checks.text(CheckResult::kBad));
  CHECK(checks.json()[1] ==
        Json({{"check", "two"}, {"result", "warning"}, {"found", "hm"}, {"remedy", "look"}}));
}

}  // namespace
}  // namespace wandistill
