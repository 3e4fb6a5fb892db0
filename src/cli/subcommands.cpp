#include "src/cli/subcommands.h"

#include <iostream>

#include "src/cli/usage_error.h"
#include "wandistill/suggest.h"

namespace wandistill::cli {
namespace {

struct Subcommand {
  const char* name;
  const char* about;
  Prepared (*prepare)(const std::vector<std::string>&);
};

constexpr Subcommand kSubcommands[] = {
    {"train", "distil a teacher into a student", prepare_train},
    {"cache", "fill the cache of teacher trajectories; cache verify, cache merge, cache stats",
     prepare_cache},
    {"sample", "draw pictures with a teacher or a student", prepare_sample},
    {"decode", "turn latents into pictures", prepare_decode},
    {"plan", "say what a training will take: memory, work, files, time", prepare_plan},
    {"doctor", "check what a training would run on: ranks, GPUs, links, folders", prepare_doctor},
    {"inspect", "show what is in a model folder, a teacher cache or a checkpoint", prepare_inspect},
};

std::string overview() {
  std::string text =
      "Usage: wandistill SUBCOMMAND [options]\n\n"
      "Distils a Wan text-to-video teacher into a small text-to-image student.\n\n";
  for (const Subcommand& subcommand : kSubcommands) {
    std::string name = subcommand.name;
    name.resize(10, ' ');
    text += "  " + name + subcommand.about + "\n";
  }
  return text +
         "\nwandistill SUBCOMMAND --help lists the options; wandistill --version says which program this "
         "is.\n";
}

}  // namespace

Prepared prepare(const std::vector<std::string>& arguments) {
  const std::string first = arguments.empty() ? "--help" : arguments.front();
  if (first == "--help" || first == "-h" || first == "help") return {overview(), nullptr};
  if (first == "--version") return {"wandistill " WANDISTILL_VERSION "\n", nullptr};
  std::vector<std::string> names;
  for (const Subcommand& subcommand : kSubcommands) {
    if (first == subcommand.name) return subcommand.prepare({arguments.begin() + 1, arguments.end()});
    names.push_back(subcommand.name);
  }
  usage_error("unknown subcommand '", first, "'", did_you_mean(first, names),
              "; wandistill --help lists them");
}

void declare_device(OptionSet& set, std::string* device) {
  set.add("device", device, "",
          "cuda: a GPU per local rank; cpu; simt: the CUDA kernels run by the CPU, slowly, to check them; "
          "auto: GPUs where there are any")
      ->choices({"auto", "cpu", "cuda", "simt"});
}

void declare_compute_dtype(OptionSet& set, std::string* compute_dtype) {
  set.add("compute_dtype", compute_dtype, "",
          "of matrix products, for all transformers of the run: bf16 (or bfloat16) takes the CPU's "
          "instructions for it, with float32 sums, where it has them, and the GPU's (default: as the other "
          "dtypes say)")
      ->choices({"float32", "bf16", "bfloat16"})
      ->unset_means("as the other dtypes say");
}

void apply_compute_dtype(const std::string& compute_dtype,
                         const std::vector<std::pair<const char*, std::string*>>& options) {
  if (compute_dtype.empty()) return;
  const std::string dtype = compute_dtype == "float32" ? "float32" : "bfloat16";
  for (const auto& [name, value] : options) {
    if (*value != "float32" && *value != dtype)
      usage_error("--", name, " ", *value, " contradicts --compute_dtype ", compute_dtype,
                  "; one of them is enough");
    *value = dtype;
  }
}

void declare_time_margin(OptionSet& set, double* minutes) {
  set.add("time_margin", minutes, "MINUTES",
          "stop this long before Slurm ends the job, as after a signal, with exit code 85; 0: wait for a "
          "signal")
      ->limits(at_least(0));
}

void require_option(const std::string& name, const std::string& value) {
  if (value.empty()) usage_error("--", name, " is missing; wandistill SUBCOMMAND --help says what it takes");
}

void print_opening(const Session& session, const std::string& subcommand, const std::string& listing) {
  if (!session.is_root()) return;
  std::cout << "wandistill " WANDISTILL_VERSION " " << subcommand << ", options (* not the default):\n"
            << listing << std::endl;
}

}  // namespace wandistill::cli
