// Whole epochs of a training, started as users start it: steps on points of the cache, the all-reduce,
// validation, sample pictures by all ranks and a checkpoint; on one rank of one core, and on two. The figures
// are the job's own (metrics.jsonl, events.jsonl).
#include <cstdlib>
#include <map>

#include "bench/measure.h"
#include "bench/ranks.h"
#include "wandistill/error.h"
#include "wandistill/json.h"

namespace wandistill::bench {
namespace {

constexpr int64_t kEpochs = 8, kPrompts = 128, kBatch = 16;  // a batch over all ranks
const std::string kFolder = "build/bench_epochs";

std::vector<Json> lines_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::vector<Json> all;
  for (std::string line; std::getline(in, line);) all.push_back(Json::parse(line));
  return all;
}

/// A training of so many epochs. The first call fills the cache, in which the later ones find everything.
void train(int ranks, int64_t epochs) {
  std::filesystem::remove_all(kFolder + "/job");
  const std::string command =
      on_ranks(ranks, cat("bin/wandistill train --device cpu --teacher_path data/tiny-wan --teacher_steps 4 "
                          "--student_config ",
                          "data/student_tiny.json --data_path ", kFolder, "/prompts.txt --cache_dir ",
                          kFolder, "/cache --output_dir ", kFolder, "/job --batch_size ", kBatch,
                          " --num_epochs ", epochs, " --save_samples > ", kFolder, "/log 2>&1"));
  if (std::system(command.c_str()) != 0) fail(ranks, " ranks ended with an error; see ", kFolder, "/log");
}

void write_prompts() {
  std::filesystem::remove_all(kFolder);
  make_directories(kFolder);
  std::ifstream all("data/prompts_shapes.txt");
  std::ofstream some(kFolder + "/prompts.txt");
  std::string line;
  for (int64_t i = 0; i < kPrompts && std::getline(all, line); ++i) some << line << '\n';
}

/// Seconds of each epoch but the first, and of its parts; and how many samples it has.
struct Epochs {
  std::vector<double> whole;
  std::map<std::string, std::vector<double>> parts;
  int64_t samples = 0;
};

Epochs measured(int ranks) {
  train(ranks, kEpochs);
  Epochs found;
  std::vector<double> ends, checkpoints, pictures;
  for (const Json& event : lines_of(kFolder + "/job/events.jsonl"))
    if (event["event"] == "checkpoint" && event["file"].get<std::string>().find("step_") != std::string::npos)
      checkpoints.push_back(event["seconds"]);
  std::vector<Json> steps;
  for (const Json& line : lines_of(kFolder + "/job/metrics.jsonl")) {
    if (line.contains("gradient_norm")) steps.push_back(line["seconds"]);
    if (line.contains("validation_error")) ends.push_back(line["elapsed_seconds"]);
    if (line.contains("samples_of_epoch")) pictures.push_back(line["sampling_seconds"]);
  }
  if (std::ssize(ends) != kEpochs || std::ssize(checkpoints) != kEpochs || std::ssize(pictures) < kEpochs ||
      std::ssize(steps) % kEpochs != 0)
    fail(kFolder, "/job: ", ends.size(), " validations, ", checkpoints.size(), " checkpoints, ",
         pictures.size(), " rounds of pictures, ", steps.size(), " steps of ", kEpochs, " epochs");
  const size_t per_epoch = steps.size() / size_t(kEpochs);
  found.samples = int64_t(per_epoch) * kBatch;
  for (size_t epoch = 1; epoch < size_t(kEpochs); ++epoch) {
    found.whole.push_back(ends[epoch] - ends[epoch - 1]);
    std::map<std::string, double> seconds;
    for (size_t i = epoch * per_epoch; i < (epoch + 1) * per_epoch; ++i)
      for (const auto& [part, value] : steps[i].items()) seconds[part] += value.get<double>();
    for (const auto& [part, value] : seconds) found.parts[part].push_back(value);
    found.parts["checkpoint"].push_back(checkpoints[epoch]);
  }
  // Those after each epoch; the teacher's and the first student's come before.
  found.parts["pictures"].assign(pictures.end() - std::ssize(found.whole), pictures.end());
  return found;
}

void drive() {
  Report report("epochs", 1);
  write_prompts();
  train(1, 1);
  const Epochs one = measured(1), two = measured(2);
  for (const Epochs* epochs : {&one, &two}) {
    const int ranks = epochs == &one ? 1 : 2;
    const std::string who = cat(ranks, ranks == 1 ? " rank" : " ranks"),
                      shape = cat("128 x 4, ", epochs->samples, " samples, B ", kBatch);
    report.add({.name = cat("epoch, ", who),
                .shape = shape,
                .time = summary(epochs->whole),
                .work = double(epochs->samples),
                .unit = "1/s",
                .details = {{"ranks", ranks},
                            {"speedup", summary(one.whole).median / summary(epochs->whole).median}}});
    for (const auto& [part, seconds] : epochs->parts) {
      if (summary(seconds).median == 0) continue;  // one rank waits for nobody
      report.add(
          {.name = cat("- ", part), .shape = who, .time = summary(seconds), .details = {{"ranks", ranks}}});
    }
  }
  std::filesystem::remove_all(kFolder);
}

}  // namespace
}  // namespace wandistill::bench

int main() {
  try {
    wandistill::bench::drive();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "epochs: %s\n", error.what());
    return 1;
  }
}
