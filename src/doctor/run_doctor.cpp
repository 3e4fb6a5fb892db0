// `wandistill doctor`.
#include <iostream>

#include "src/doctor/clocks.h"
#include "src/doctor/fact_checks.h"
#include "src/doctor/quick_checks.h"
#include "src/doctor/sums.h"
#include "src/plan/file_checks.h"
#include "src/plan/run_writes.h"
#include "src/train/run_settings.h"
#include "wandistill/commands.h"
#include "wandistill/error.h"
#include "wandistill/job_time.h"
#include "wandistill/plan.h"
#include "wandistill/prompts.h"

namespace wandistill {
namespace {

constexpr const char* kMpiSums = "all-reduce, MPI";

class Doctor {
 public:
  Doctor(Session& session, const DoctorOptions& options) : session_(session), o_(options) {}

  int run() {
    session_.set_collective_timeout(o_.train.pictures.fence_timeout);
    facts_ = gather_facts(session_);
    const bool same_program = add_fact_checks(session_, facts_, o_.train.device, &checks_);
    show();
    if (same_program) {
      check_all_sums();
      check_folders();
    } else {
      for (const char* name : {kMpiSums, "folders", "clocks"})
        checks_.skip(name, "not checked: the ranks run different programs");
    }
    if (session_.is_root()) check_time();
    show();
    if (session_.is_root()) {
      if (o_.json)
        std::cout << json().dump(2, ' ', false, Json::error_handler_t::replace) << std::endl;
      else
        std::cout << checks_.summary() << std::endl;
    }
    return session_.any(!checks_.good()) ? 1 : 0;
  }

 private:
  /// The rows that are new: what comes next may end the job.
  void show() {
    if (session_.is_root() && !o_.json) std::cout << checks_.text(shown_) << std::flush;
    shown_ = checks_.size();
  }

  void add_sums(const std::string& name, const TimedSum& sum) {
    const SumsOutcome outcome = check_sums(session_, name, sum, {std::begin(kSumSizes), std::end(kSumSizes)});
    checks_.add(outcome.check);
    show();
    for (const SumRate& rate : outcome.rates)
      rates_.push_back({{"by", name},
                        {"bytes", rate.size.bytes},
                        {"seconds", rate.seconds},
                        {"algorithm_bytes_per_second", rate.algorithm()},
                        {"bus_bytes_per_second", rate.bus(session_.world_size())}});
  }

  void check_all_sums() {
    if (session_.world_size() == 1)
      return checks_.skip(kMpiSums, "not checked: one rank has no other to add up with");
    add_sums(kMpiSums, mpi_sum(session_));
    const std::string& device = o_.train.device;
    const bool gpus = session_.any(uses_gpus(facts_, device));
    if (!gpus && device != "simt") return;
    const std::string name = gpus ? "all-reduce, NCCL" : "all-reduce, SIMT";
    if (session_.any(gpus_check(facts_, device).result == CheckResult::kBad))
      return checks_.skip(name, "not checked: not every rank has a GPU of its own");
    try {
      const ComputeDevice ranks_device(session_, device, o_.train.pictures.conv);
      add_sums(name, device_sum(session_, ranks_device.compute()));
    } catch (const CollectiveError& error) {
      checks_.add({name, CheckResult::kBad, error.what(), "build with NCCL, or --device cpu"});
    }
  }

  void check_folders() {
    if (o_.train.output_dir.empty()) {
      for (const char* name : {"folders", "disk"})
        checks_.skip(name, "not checked: no --output_dir is given");
      return checks_.add(check_clocks(session_));
    }
    add_shared_checks(session_, run_folders(o_.train), &checks_);
    if (session_.is_root()) check_room();
  }

  void check_room() {
    std::vector<std::pair<std::filesystem::path, int64_t>> writes;
    try {
      PlanInput input = PlanInput::load(o_.train, 0);
      const std::vector<std::string> prompts = read_prompts(o_.train.data_path);
      input.prompts = count_prompts(input.folder, prompts, o_.train.teacher.negative_prompt);
      input.machine = Machine::of("cpu", session_.threads());
      input.placement = TeacherPlacement::kResident;
      const int64_t missing = input.trajectories() - cached_trajectories(input, prompts);
      writes = run_writes(o_.train, make_plan(input).files, missing);
    } catch (const std::exception& error) {
      return checks_.add(
          {"disk", CheckResult::kBad, error.what(),
           "correct the option or file that is named: how much the run will write is not known"});
    }
    checks_.run("disk", kDiskRemedy, [&] { return check_disk(writes); });
  }

  void check_time() {
    std::optional<double> left;
    try {
      left = slurm_seconds_left();
    } catch (const Error& error) {
      return checks_.add(
          {"job's time", CheckResult::kWarning, error.what(),
           "where squeue does not answer, runs do not know when to stop: --signal in the job"});
    }
    checks_.run("job's time", "", [&] {
      return left ? time_left_text(*left, o_.train.time_margin)
                  : "not in a Slurm job, or one without a limit";
    });
  }

  Json json() const {
    Json ranks = Json::array();
    for (const RankFacts& facts : facts_) ranks.push_back(to_json(facts));
    return {{"good", checks_.good()}, {"checks", checks_.json()}, {"all_reduce", rates_}, {"ranks", ranks}};
  }

  Session& session_;
  const DoctorOptions& o_;
  std::vector<RankFacts> facts_;
  Checks checks_;
  size_t shown_ = 0;
  Json rates_ = Json::array();
};

}  // namespace

int run_doctor(Session& session, const DoctorOptions& options) {
  return Doctor(session, options).run();
}

}  // namespace wandistill
