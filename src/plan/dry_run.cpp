#include "wandistill/dry_run.h"

#include <algorithm>
#include <iostream>
#include <optional>

#include "src/plan/checks.h"
#include "src/plan/file_checks.h"
#include "src/plan/run_writes.h"
#include "src/plan/this_machine.h"
#include "src/plan/units.h"
#include "src/train/run_settings.h"
#include "src/train/training_state.h"
#include "wandistill/error.h"
#include "wandistill/job_sizes.h"
#include "wandistill/memory.h"
#include "wandistill/prompts.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

const char* const kNoConfigs = "not checked: it needs the configs";

/// Collective: a rank per host goes on with the device's name, or every rank has the error.
void check_device(Checks& checks, Session& session, const std::string& name, const std::string& conv,
                  std::optional<ComputeDevice>& device) {
  checks.run("ranks", "", [&] { return session.placement(); });
  checks.run("devices", "start at most one rank per GPU, or --device cpu", [&] {
    device.emplace(session, name, conv);
    return device->device() ? cat("each rank has its own: ", device->name())
                            : cat("the CPU, ", session.threads(),
                                  session.threads() == 1 ? " thread" : " threads", " a rank");
  });
}

std::string describe_prompts(const PromptFacts& facts) {
  return cat(grouped(facts.count), facts.count == 1 ? " prompt, " : " prompts, ", facts.longest,
             " tokens at most", facts.longest == kTextPositions ? " (what is longer is cut)" : "");
}

void print_checks(const Checks& checks) {
  const int64_t bad = checks.count(CheckResult::kBad);
  std::cout << "Checks\n" << checks.text();
  if (bad == 0)
    std::cout << "Nothing is wrong; nothing was written.\n" << std::flush;
  else
    std::cout << bad << (bad == 1 ? " check" : " checks") << " failed; nothing was written.\n" << std::flush;
}

/// Of a training run; without an output folder, of its cache alone.
class RunChecks {
 public:
  /// image_size: 0: as the student config says.
  RunChecks(Session& session, const TrainOptions& options, int64_t image_size)
      : session_(session), o_(options), image_size_(image_size) {}

  int run() {
    std::optional<ComputeDevice> device;
    check_device(checks_, session_, o_.device, o_.pictures.conv, device);
    const bool makes = session_.local_rank() == 0;
    if (makes) check_host(device ? device->device() : nullptr);
    checks_.merge(session_, makes);
    const bool good = checks_.good();
    if (session_.is_root()) {
      if (plan_) std::cout << plan_text(*plan_) << "\n";
      print_checks(checks_);
    }
    return good ? 0 : 1;
  }

 private:
  bool cache_alone() const { return o_.output_dir.empty(); }

  void check_host(Device* device) {
    const std::string remedy = cat("correct --teacher_path, ", cache_alone() ? "--image_size, " : "",
                                   "--student_config or the file that is named");
    const bool configs = checks_.run("configs", remedy, [&] {
      if (cache_alone()) {
        input_ = PlanInput::load_cache(o_, image_size_);
        return cat("teacher ", input_.folder.string(), ", pictures of ", input_.height, " x ", input_.width,
                   " pixels");
      }
      input_ = PlanInput::load(o_, image_size_);
      return cat("teacher ", input_.folder.string(), " and student fit each other");
    });
    if (configs) check_components(checks_, input_.folder, input_.experts == 2);
    const bool prompts = check_prompts(configs);
    if (configs && prompts) {
      input_.machine = this_machine(session_, device);
      input_.placement = teacher_placement_of(o_.cache.placement);
      plan_ = make_plan(input_);
    }
    check_cache();
    check_folders();
    check_room();
  }

  void check_folders() {
    if (cache_alone()) {
      checks_.run("folders", "another --cache_dir", [&] { return check_writable(o_.cache.cache_dir); });
      return;
    }
    checks_.run("folders", "another --output_dir, --cache_dir or --sample_dir", [&] {
      std::string found = check_writable(o_.output_dir);
      for (const fs::path& folder : {run_cache_folder(o_), run_sample_folder(o_)}) check_writable(folder);
      const std::vector<fs::path> checkpoints = list_checkpoints(run_checkpoint_folder(o_));
      if (!checkpoints.empty() && o_.resume == "auto")
        found += cat("; the run goes on from ", checkpoints.front().filename().string());
      return found;
    });
  }

  bool check_prompts(bool configs) {
    if (!configs) {
      checks_.skip("prompts", kNoConfigs);
      return false;
    }
    return checks_.run("prompts", "correct --data_path, or download the tokenizer again", [&] {
      const std::vector<std::string> prompts = read_prompts(o_.data_path);
      Tokenizer(input_.folder / "tokenizer");
      input_.prompts = count_prompts(input_.folder, prompts, o_.teacher.negative_prompt);
      prompts_ = prompts;
      return describe_prompts(input_.prompts);
    });
  }

  void check_cache() {
    if (!plan_) return checks_.skip("cache", kNoConfigs);
    checks_.run("cache", "another --cache_dir, or remove what is named", [&] {
      const int64_t present = cached_trajectories(input_, prompts_);
      missing_ = input_.trajectories() - present;
      return cat(grouped(present), " of ", grouped(input_.trajectories()), " trajectories are there");
    });
  }

  /// Disk and memory.
  void check_room() {
    if (!plan_) {
      checks_.skip("disk", kNoConfigs);
      return checks_.skip("memory", kNoConfigs);
    }
    const char* const remedy_for_disk =
        cache_alone() ? "free some space, or another --cache_dir; fewer --repetitions" : kDiskRemedy;
    checks_.run("disk", remedy_for_disk, [&] { return check_disk(run_writes(o_, plan_->files, missing_)); });
    std::string remedy;
    for (const Misfit& misfit : plan_->misfits) remedy += (remedy.empty() ? "" : "; ") + misfit.remedy;
    checks_.run("memory", remedy, [&] {
      if (plan_->misfits.empty())
        return cat("every stage fits into ", bytes_text(input_.machine.host_bytes),
                   " that are free on the host", input_.machine.on_gpu() ? " and into the GPU" : "");
      std::string problem;
      for (const Misfit& m : plan_->misfits)
        problem += cat(problem.empty() ? "" : "\n", stage_name(m.stages.front()), ": ", m.where, ": ",
                       bytes_text(m.needed), " of ", bytes_text(m.available));
      throw Error(problem);
    });
  }

  Session& session_;
  const TrainOptions& o_;
  const int64_t image_size_;
  Checks checks_;
  PlanInput input_;
  std::vector<std::string> prompts_;
  std::optional<Plan> plan_;
  int64_t missing_ = 0;
};

}  // namespace

int dry_run_train(Session& session, const TrainOptions& options) {
  return RunChecks(session, options, 0).run();
}

int dry_run_cache(Session& session, const FillOptions& options) {
  TrainOptions run;
  run.teacher = options.teacher;
  run.cache = options.cache;
  run.student_config = options.student_config;
  run.data_path = options.data_path;
  run.device = options.device;
  run.seed = options.seed;
  return RunChecks(session, run, options.height).run();
}

int dry_run_sample(Session& session, const SampleOptions& o) {
  Checks checks;
  std::optional<ComputeDevice> device;
  check_device(checks, session, o.device, o.pictures.conv, device);
  const bool makes = session.local_rank() == 0;
  if (makes) {
    fs::path folder;
    int64_t pixels = 0;
    bool two_experts = false;
    const auto configs = [&] {
      const Compute compute = Queue{1};
      Pipeline model(o.model, compute);
      model.set_schedule(o.flow_shift, o.boundary_ratio);
      const auto [height, width] =
          model.index().image_size.value_or(std::pair(kDefaultImageSize, kDefaultImageSize));
      const int64_t rows = o.height ? o.height : height, columns = o.width ? o.width : width;
      model.latent_size(rows, columns);
      folder = model.folder();
      pixels = rows * columns;
      two_experts = model.two_experts();
      return cat(folder.string(), ", pictures of ", rows, " x ", columns, " pixels");
    };
    const bool good =
        checks.run("configs", "correct --model, --image_size or the file that is named", configs);
    if (!good) {
      checks.skip("prompts", kNoConfigs);
    } else {
      check_components(checks, folder, two_experts);
      PromptFacts facts;
      checks.run("prompts", "correct --prompt_file, or download the tokenizer again", [&] {
        Tokenizer(folder / "tokenizer");
        facts = count_prompts(folder, o.prompt_file.empty() ? o.prompts : read_prompts(o.prompt_file),
                              o.negative_prompt);
        return describe_prompts(facts);
      });
      checks.run("disk", "free some space, or another --out", [&] {
        return check_disk({{o.out, 3 * pixels * facts.count}});
      });
    }
    checks.run("folders", "another --out", [&] { return check_writable(o.out); });
  }
  checks.merge(session, makes);
  if (session.is_root()) print_checks(checks);
  return checks.good() ? 0 : 1;
}

}  // namespace wandistill
