// How steps and rounds of pictures would scale to 1024 ranks: from times measured here on one rank, from data
// sheets for GPUs, and from a model of the links between ranks (bench/scale_formulas.h), which is held
// against what two ranks take here. Nothing beyond two ranks is measured; every assumption is printed.
//
// "worker" is one start under mpirun.
#include <algorithm>
#include <iostream>
#include <map>

#include "bench/ranks.h"
#include "bench/scale_formulas.h"
#include "src/cli/option_set.h"
#include "src/cli/usage_error.h"
#include "src/comm/bucket_plan.h"
#include "wandistill/device_gradient_buckets.h"
#include "wandistill/flops.h"
#include "wandistill/gradient_buckets.h"
#include "wandistill/machine.h"
#include "wandistill/student_config.h"

namespace wandistill::bench {
namespace {

constexpr int64_t kRounds = 3, kMostRanks = 1024;
constexpr int64_t kScale = 8;                               // pixels to a latent, of Wan's VAE
constexpr double kSeconds = 1.5;                            // of one start's steps
constexpr int64_t kSmallest = 1 << 14, kLargest = 1 << 26;  // bytes of measured all-reduces

struct Options {
  std::string results, card = "h100", student_config = "data/student_1024.json", algorithm = "ring";
  int64_t batch = 4, prompts = 10, sample_steps = 10, ranks_per_node = 8, cpu_ranks_per_node = 16;
  double achieved = kAchieved, hidden = 1, cpu_hidden = 0;
  double intra_latency = 3, intra_bandwidth = 360, inter_latency = 8, inter_bandwidth = 45;
  double node_bandwidth = 12.5;
};

cli::OptionSet declare(Options& o) {
  cli::OptionSet set(
      "scale_model [options]",
      "Predicts times of steps and of rounds of pictures on 1 to 1024 ranks; measures one and two here.");
  set.group("What is known");
  set.add("results", &o.results, "FILE",
          "rows measured before: what this program printed (default: measured now, two to three minutes)")
      ->unset_means("measured now");
  set.add("card", &o.card, "NAME", "GPU, as plan --card has it");
  set.add("achieved", &o.achieved, "F", "part of the card's best bfloat16 rate")
      ->limits(cli::between(0.001, 1));
  set.add("student_config", &o.student_config, "FILE", "the GPUs' student");
  set.add("batch", &o.batch, "N", "the GPUs' samples per rank and step")->limits(cli::at_least(1));
  set.add("prompts", &o.prompts, "N", "pictures of a round")->limits(cli::at_least(1));
  set.add("sample_steps", &o.sample_steps, "N", "forward passes of a picture")->limits(cli::at_least(1));
  set.group("Links");
  set.add("algorithm", &o.algorithm, "", "of the all-reduce")->choices({"ring", "tree"});
  set.add("ranks_per_node", &o.ranks_per_node, "N", "GPUs of a node")->limits(cli::at_least(1));
  set.add("intra_latency", &o.intra_latency, "US", "of a message between GPUs of a node")
      ->limits(cli::at_least(0));
  set.add("intra_bandwidth", &o.intra_bandwidth, "GB/s", "of a GPU within its node")
      ->limits(cli::at_least(1e-3));
  set.add("inter_latency", &o.inter_latency, "US", "of a message between nodes")->limits(cli::at_least(0));
  set.add("inter_bandwidth", &o.inter_bandwidth, "GB/s", "of a GPU to other nodes")
      ->limits(cli::at_least(1e-3));
  set.add("hidden", &o.hidden, "F", "part of an all-reduce that does not disturb a GPU's backward pass")
      ->limits(cli::between(0, 1));
  set.add("cpu_ranks_per_node", &o.cpu_ranks_per_node, "N", "ranks of a node without GPUs")
      ->limits(cli::at_least(1));
  set.add("node_bandwidth", &o.node_bandwidth, "GB/s", "of such a node, shared by its ranks")
      ->limits(cli::at_least(1e-3));
  set.add("cpu_hidden", &o.cpu_hidden, "F", "the same part where the cores send and add")
      ->limits(cli::between(0, 1));
  return set;
}

/// A rank's step in parts, one core, as training makes it.
Json time_steps(Session& session, const Size& size, bool overlap) {
  Student student(size.config, gaussian(ParameterLayout(size.config).total(), 3, 0.02f),
                  StudentBatch::random(size.config, size.batch, size.side, size.side, kPromptTokens), true,
                  {1});
  GradientBuckets buckets(session, student.gradients().data(), student.layout().gradient_order(),
                          kBucketBytes);
  std::vector<double> forward, backward, optimizer, step;
  double spent = 0;
  for (int64_t i = -2; spent < kSeconds; ++i) {
    session.barrier();
    const double start = MPI_Wtime();
    student.forward();
    const double forwarded = MPI_Wtime();
    student.backward(overlap ? GradientsReady([&](size_t group) { buckets.ready(int64_t(group)); })
                             : GradientsReady());
    const double done = MPI_Wtime();
    buckets.wait();
    const double summed = MPI_Wtime();
    student.update();
    const double end = MPI_Wtime(), all = session.max(end - start);
    if (i < 0) continue;
    forward.push_back(forwarded - start);
    backward.push_back(done - forwarded);
    optimizer.push_back(end - summed);
    step.push_back(all);
    spent += all;
  }
  const auto least = [](std::vector<double>& times) { return *std::ranges::min_element(times); };
  return {{"forward", least(forward)},
          {"backward", least(backward)},
          {"optimizer", least(optimizer)},
          {"seconds", least(step)}};
}

/// All-reduces as training makes them, of one bucket each.
Json time_sums(Session& session) {
  Json all = Json::array();
  for (int64_t bytes = kSmallest; bytes <= kLargest; bytes *= 4) {
    const int64_t count = bytes / int64_t(sizeof(float));
    Buffer<float> values = Buffer<float>::zeros(count);
    GradientBuckets bucket(session, values.data(), {{0, count}}, bytes);
    std::vector<double> times;
    for (int64_t i = -2; i < std::clamp<int64_t>((int64_t{256} << 20) / bytes, 5, 50); ++i) {
      session.barrier();
      const double start = MPI_Wtime();
      bucket.wait();
      const double seconds = session.max(MPI_Wtime() - start);
      if (i >= 0) times.push_back(seconds);
    }
    all.push_back({bytes, *std::ranges::min_element(times)});
  }
  return all;
}

int worker(Session& session, const std::string& what, const std::string& mode) {
  const Json found = what == "sums" ? Json{{"sums", time_sums(session)}}
                                    : time_steps(session, size_of(what), mode == "overlap");
  if (session.is_root()) std::printf("%s\n", found.dump().c_str());
  return 0;
}

double least_of(const std::vector<Json>& starts, const char* key) {
  std::vector<double> values;
  for (const Json& start : starts) values.push_back(start[key]);
  return *std::ranges::min_element(values);
}

Json row(const std::string& name, const Json& more) {
  Json line{{"bench", "scale_model"}, {"name", name}, {"cpu", cpu_name()}};
  line.update(more);
  return line;
}

/// Rows "parts" and "step" of each size and "all-reduce"; starts alternate. The fastest of all counts: what
/// else runs on the machine only ever adds.
std::vector<Json> measure_here(const std::string& self) {
  std::vector<Json> rows;
  std::map<int64_t, std::vector<double>> sums;
  for (int64_t round = 0; round < kRounds; ++round) {
    const Json found = start_ranks(self, 2, "sums -");
    for (const Json& sum : found["sums"]) sums[sum[0]].push_back(sum[1]);
  }
  for (auto& [bytes, seconds] : sums)
    rows.push_back(row("all-reduce", {{"bytes", bytes}, {"seconds", *std::ranges::min_element(seconds)}}));
  for (const Size& size : kSizes) {
    std::vector<Json> one, overlap, after;
    for (int64_t round = 0; round < kRounds; ++round) {
      one.push_back(start_ranks(self, 1, cat(size.name, " after")));
      overlap.push_back(start_ranks(self, 2, cat(size.name, " overlap")));
      after.push_back(start_ranks(self, 2, cat(size.name, " after")));
    }
    rows.push_back(row("parts", {{"size", size.name},
                                 {"forward", least_of(one, "forward")},
                                 {"backward", least_of(one, "backward")},
                                 {"optimizer", least_of(one, "optimizer")}}));
    rows.push_back(
        row("step", {{"size", size.name}, {"overlap", true}, {"seconds", least_of(overlap, "seconds")}}));
    rows.push_back(
        row("step", {{"size", size.name}, {"overlap", false}, {"seconds", least_of(after, "seconds")}}));
  }
  return rows;
}

std::vector<Json> read_rows(const std::string& file) {
  std::vector<Json> rows;
  std::ifstream lines(file);
  if (!lines) fail("cannot open ", file);
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (!line.starts_with('{')) continue;
    Json json = Json::parse(line, nullptr, false);
    if (json.is_discarded()) fail(file, ": line ", number, " is not JSON");
    const std::string name = json.value("name", "");
    if (json.value("bench", "") == "scale_model" &&
        (name == "all-reduce" || name == "parts" || name == "step"))
      rows.push_back(std::move(json));
  }
  if (rows.empty()) fail(file, " has no rows measured by scale_model; run it without --results");
  return rows;
}

/// The buckets as training makes them, each ready with the last of its groups of gradients; the groups take
/// the backward pass as many equal parts.
std::vector<Bucket> buckets_of(const WanConfig& config, int64_t bucket_bytes) {
  const ParameterLayout layout(config);
  const std::vector<Range>& order = layout.gradient_order();
  BucketPlan plan(order, bucket_bytes);
  std::vector<Bucket> buckets;
  for (size_t group = 0; group < order.size(); ++group) {
    plan.ready(int64_t(group));
    for (int64_t next; (next = plan.next()) >= 0;)
      buckets.push_back(
          {double(plan.bucket(next).size()) * sizeof(float), double(group + 1) / double(order.size())});
  }
  return buckets;
}

class Model {
 public:
  Model(const Options& options, std::vector<Json> rows)
      : o_(options),
        algorithm_(o_.algorithm == "ring" ? Algorithm::kRing : Algorithm::kTree),
        rows_(std::move(rows)) {
    std::vector<Measured> sums;
    for (const Json& sum : named("all-reduce")) sums.push_back({sum["bytes"], sum["seconds"]});
    if (sums.size() < 2)
      fail("two sizes of all-reduces are needed for the link between ranks, ", sums.size(), " known");
    here_ = fit_link(sums);
  }

  void run() {
    say_assumptions();
    check_sums();
    check_steps();
    for (const Json& found : named("parts")) predict_cpu(found);
    predict_gpu();
    for (const Json& line : rows_) std::printf("%s\n", line.dump().c_str());
  }

 private:
  std::vector<Json> named(const std::string& name) const {
    std::vector<Json> found;
    for (const Json& line : rows_)
      if (line["name"] == name) found.push_back(line);
    return found;
  }
  static StepParts parts_of(const Json& line) {
    return {line["forward"], line["backward"], line["optimizer"]};
  }

  void say_assumptions() const {
    std::printf(
        "scale_model: predicted from one and two ranks here; %s\n\n"
        "Assumed:\n"
        "- what is measured is the fastest of many: what else runs here only ever adds\n"
        "- a message of x bytes takes latency + x / bandwidth, whatever else is sent; an all-reduce by %s "
        "within nodes, then\n"
        "  of a node's share per rank between them; full nodes; no congestion, no late ranks, no noise of "
        "the system\n"
        "- weak scaling: each rank has the same batch whatever their number; reading of data and checkpoints "
        "are hidden\n"
        "- gradients are complete in equal parts of the backward pass; buckets of %lld (CPU) and %lld MiB "
        "(GPU), one after\n"
        "  the other; of an all-reduce %.0f %% (CPU) and %.0f %% (GPU) leave the backward pass undisturbed\n"
        "- CPU: ranks of one core as measured here, %lld to a node, that do not slow each other down by "
        "memory traffic or\n"
        "  clock; within a node the link measured here; between nodes %.3g us and %.3g GB/s of a node for "
        "all its ranks\n"
        "- GPU: %s at %.0f %% of its data sheet's bfloat16 rate for all of a step, optimizer included, not "
        "measured here;\n"
        "  %lld to a node, within it %.3g us and %.3g GB/s, to other nodes %.3g us and %.3g GB/s for each "
        "GPU\n"
        "- pictures: %lld forward passes each and nothing else (no decoder), one rank per picture, %lld a "
        "round\n\n",
        cpu_name().c_str(), o_.algorithm.c_str(), static_cast<long long>(kBucketBytes >> 20),
        static_cast<long long>(kDeviceBucketBytes >> 20), 100 * o_.cpu_hidden, 100 * o_.hidden,
        static_cast<long long>(o_.cpu_ranks_per_node), o_.inter_latency, o_.node_bandwidth, o_.card.c_str(),
        100 * o_.achieved, static_cast<long long>(o_.ranks_per_node), o_.intra_latency, o_.intra_bandwidth,
        o_.inter_latency, o_.inter_bandwidth, static_cast<long long>(o_.sample_steps),
        static_cast<long long>(o_.prompts));
  }

  void compared(const std::string& what, double predicted, double measured, const Json& more) {
    std::printf("%-36s %12.3f %12.3f %+8.0f%%\n", what.c_str(), predicted * 1e3, measured * 1e3,
                100 * (predicted / measured - 1));
    Json line{{"predicted", predicted}, {"measured", measured}, {"error", predicted / measured - 1}};
    line.update(more);
    rows_.push_back(row("check", line));
  }

  void check_sums() {
    std::printf("Two ranks here: %.1f us of latency, %.2f GB/s, fitted to the all-reduces\n",
                here_.latency * 1e6, 1e-9 / here_.per_byte);
    std::printf("%-36s %12s %12s %9s\n", "", "predicted ms", "measured ms", "error");
    for (const Json& sum : named("all-reduce"))
      compared(cat("all-reduce of ", int64_t(sum["bytes"]) >> 10, " KiB"),
               all_reduce_seconds(algorithm_, 2, sum["bytes"], here_), sum["seconds"],
               {{"bytes", sum["bytes"]}});
  }

  void check_steps() {
    const Fabric pair{algorithm_, 2, here_, here_};
    for (const Json& found : named("parts"))
      for (const Json& step : named("step")) {
        if (step["size"] != found["size"]) continue;
        const bool overlap = step["overlap"];
        std::vector<Bucket> buckets = buckets_of(size_of(found["size"]).config, kBucketBytes);
        if (!overlap)
          for (Bucket& bucket : buckets) bucket.ready = 1;
        compared(cat("step of ", std::string(found["size"]),
                     overlap ? ", all-reduce beside backward" : ", all-reduce after"),
                 step_time(parts_of(found), buckets, pair, 2, overlap ? o_.cpu_hidden : 1).seconds,
                 step["seconds"], {{"size", found["size"]}, {"overlap", overlap}});
      }
    std::printf("\n");
  }

  void predict(const std::string& what, const StepParts& parts, const std::vector<Bucket>& buckets,
               double batch, const Fabric& fabric, double hidden, double picture) {
    std::printf("%s\n%8s %12s %12s %11s %12s %12s %11s\n", what.c_str(), "ranks", "step ms", "exposed ms",
                "efficiency", "samples/s", "pictures s", "efficiency");
    const double alone = step_time(parts, buckets, fabric, 1, hidden).seconds;
    for (int64_t ranks = 1; ranks <= kMostRanks; ranks *= 2) {
      const StepTime step = step_time(parts, buckets, fabric, ranks, hidden);
      const RoundTime round = round_time(o_.prompts, ranks, picture, fabric.inter);
      std::printf("%8lld %12.3f %12.3f %10.1f%% %12.4g %12.3f %10.1f%%\n", static_cast<long long>(ranks),
                  step.seconds * 1e3, step.exposed * 1e3, 100 * alone / step.seconds,
                  double(ranks) * batch / step.seconds, round.seconds, 100 * round.efficiency);
      rows_.push_back(row("prediction", {{"of", what},
                                         {"ranks", ranks},
                                         {"step_seconds", step.seconds},
                                         {"exposed_seconds", step.exposed},
                                         {"step_efficiency", alone / step.seconds},
                                         {"round_seconds", round.seconds},
                                         {"round_efficiency", round.efficiency}}));
    }
    std::printf("\n");
  }

  void predict_cpu(const Json& found) {
    const Size& size = size_of(found["size"]);
    const StepParts parts = parts_of(found);
    const Link inter{o_.inter_latency * 1e-6, double(o_.cpu_ranks_per_node) / (o_.node_bandwidth * 1e9)};
    predict(cat("CPU, one core a rank: ", size.name, ", batch ", size.batch, " per rank"), parts,
            buckets_of(size.config, kBucketBytes), double(size.batch),
            {algorithm_, o_.cpu_ranks_per_node, here_, inter}, o_.cpu_hidden,
            double(o_.sample_steps) * parts.forward / double(size.batch));
  }

  void predict_gpu() {
    const StudentConfig student = StudentConfig::load(o_.student_config);
    const WanConfig config = student.to_wan_config();
    const Machine machine = Machine::of(o_.card, 1);
    if (!machine.on_gpu()) return;
    const double rate = machine.bf16 / kAchieved * o_.achieved;
    const int64_t tokens = config.tokens(student.image_height / kScale, student.image_width / kScale);
    const int64_t rows = text_rows(kPromptTokens);
    const double forward = wan_forward_flops(config, tokens, rows) / rate;
    const double batch = double(o_.batch);
    const Link intra{o_.intra_latency * 1e-6, 1e-9 / o_.intra_bandwidth};
    const Link inter{o_.inter_latency * 1e-6, 1e-9 / o_.inter_bandwidth};
    predict(cat(o_.card, ": ", config.hidden(), " x ", config.layers, ", ", tokens, " tokens, batch ",
                o_.batch, " per GPU"),
            {batch * forward, batch * wan_backward_flops(config, tokens, rows) / rate, 0},
            buckets_of(config, kDeviceBucketBytes), batch, {algorithm_, o_.ranks_per_node, intra, inter},
            o_.hidden, double(o_.sample_steps) * forward);
  }

  const Options& o_;
  const Algorithm algorithm_;
  std::vector<Json> rows_;
  Link here_;
};

}  // namespace
}  // namespace wandistill::bench

int main(int argc, char** argv) {
  namespace bench = wandistill::bench;
  if (argc == 4 && std::string(argv[1]) == "worker")
    return wandistill::run_session(
        argc, argv, [&](wandistill::Session& session) { return bench::worker(session, argv[2], argv[3]); });
  try {
    bench::Options options;
    wandistill::cli::OptionSet set = bench::declare(options);
    if (!set.parse({argv + 1, argv + argc})) {
      std::cout << set.help();
      return 0;
    }
    // What is wrong with the options is found before anything is measured.
    wandistill::Machine::of(options.card, 1);
    wandistill::StudentConfig::load(options.student_config);
    bench::Model(options,
                 options.results.empty() ? bench::measure_here(argv[0]) : bench::read_rows(options.results))
        .run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "scale_model: %s\n", error.what());
    return 1;
  }
}
