// Rounds of 1 to 8 pictures on 1, 2 and 4 ranks of one core each, dealt in all ways, with pictures split
// and not, and with one rank half as fast as the others. Rank counts beyond the cores of this machine are
// replayed on a simulated clock from the measured time of a picture.
//
// Without arguments this is the driver, which starts itself under mpirun; "worker" is one such start.
#include <unistd.h>

#include <cmath>
#include <map>
#include <thread>
#include <tuple>

#include "bench/measure.h"
#include "bench/replay.h"
#include "tests/faults/fault.h"
#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/picture_round.h"
#include "wandistill/sampler.h"

namespace wandistill::bench {
namespace {

constexpr int64_t kMostPrompts = 8, kSteps = 6, kLatentSide = 32, kRepeats = 3;
constexpr const char* kModes[] = {"strided", "block", "dynamic"};

struct Case {
  int ranks;
  int64_t prompts;
  std::string mode;
  bool split, slow_rank;
  auto key() const { return std::tuple(ranks, prompts, mode, split, slow_rank); }
};

std::vector<Case> cases(int ranks) {
  std::vector<Case> all;
  for (bool slow : {false, true})
    for (int64_t prompts = 1; prompts <= kMostPrompts; ++prompts)
      for (const char* mode : kModes)
        for (bool split : {false, true}) {
          if (ranks == 1 && (slow || split || mode != kModes[0])) continue;  // all alike
          if (slow && prompts % ranks) continue;  // what unequal ranks cost is seen without a remainder
          if (slow && split) continue;
          all.push_back({ranks, prompts, mode, split, slow});
        }
  return all;
}

/// Seconds of every case as JSON lines on rank 0.
int worker(Session& session) {
  const Queue queue{1};
  const WanConfig config{.heads = 4,
                         .head_dim = 64,
                         .layers = 4,
                         .ffn_dim = 1024,
                         .in_channels = 16,
                         .out_channels = 16,
                         .text_dim = 96,
                         .freq_dim = 256};
  const WanTransformer student(config);
  const Buffer<float> weights = gaussian(student.layout().total(), 1, 0.02f), words = gaussian(12 * 96, 2);
  const WanVaeDecoder vae("data/tiny-wan/vae");
  const StopSignals stop;
  const std::filesystem::path folder = "build/bench_pictures";
  session.collectively([&] { make_directories(folder); });

  PictureRound round;
  round.what = "bench";
  round.model = {.transformer = &student, .high_noise = weights.data()};
  round.sampling = {SamplerKind::kDdim, kSteps, {}};
  round.vae = &vae;
  round.h = round.w = kLatentSide;
  round.text = [&](int64_t) { return TextEmbedding{12, {words.begin(), words.end()}}; };
  round.noise = [&](int64_t prompt) {
    std::vector<float> x(size_t(16 * kLatentSide * kLatentSide), 0.0f);
    picture_noise(0, prompt, int64_t(x.size()), x.data());
    return x;
  };
  round.folder = folder;
  round.file_name = picture_file_name;
  for (const Case& c : cases(session.world_size())) {
    // The fault that the tests use: rank 1 sleeps as long as it worked after every step.
    const testing::Faults faults(c.slow_rank ? "slow:denoising:rank=1:factor=2" : "");
    round.prompts.assign(size_t(c.prompts), "a prompt");
    PictureOptions options;
    options.sample_distribution = c.mode;
    options.sample_batch = 1;
    options.sample_split = c.split ? "auto" : "off";
    double best = HUGE_VAL;
    for (int64_t repeat = 0; repeat < kRepeats; ++repeat) {
      session.barrier();
      const double start = MPI_Wtime();
      const RoundResult result = draw_pictures(session, round, options, stop, queue);
      best = std::min(best, session.max(MPI_Wtime() - start));
      if (result.missing() > 0) throw CollectiveError("pictures are missing");
    }
    if (session.is_root())
      std::printf("%s\n", Json{{"ranks", c.ranks},
                               {"prompts", c.prompts},
                               {"distribution", c.mode},
                               {"split", c.split},
                               {"slow_rank", c.slow_rank},
                               {"seconds", best}}
                              .dump()
                              .c_str());
  }
  session.collectively([&] {
    if (session.is_root()) std::filesystem::remove_all(folder);
  });
  return 0;
}

using Seconds = std::map<decltype(Case{}.key()), double>;

void measure_ranks(const std::string& self, int ranks, Seconds* seconds) {
  // Each rank has one core for all that it does, so that one rank is a fair measure for several.
  const std::string command =
      cat("taskset -c 0-", ranks - 1, " bash -c 'source scripts/mpi_env.sh; OMP_NUM_THREADS=1 run_ranks ",
          ranks, " ", self, " worker 2> build/sampling_scaling.log'");
  std::FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) fail("cannot start ", command);
  char line[1024];
  while (std::fgets(line, sizeof line, pipe)) {
    const Json json = Json::parse(line);
    const Case c{json["ranks"], json["prompts"], json["distribution"], json["split"], json["slow_rank"]};
    (*seconds)[c.key()] = json["seconds"];
  }
  if (pclose(pipe) != 0) fail("failed: ", command, "; build/sampling_scaling.log says why");
}

void drive(const std::string& self) {
  const int cores = int(std::thread::hardware_concurrency());
  std::printf("sampling_scaling: %s, %d cores; wandistill %s\n", cpu_name().c_str(), cores,
              WANDISTILL_VERSION);
  std::printf(
      "pictures of %ld tokens and %ld steps, best of %ld; bound: ranks that whole prompts can keep busy\n",
      long(kLatentSide * kLatentSide / 4), long(kSteps), long(kRepeats));
  Seconds seconds;
  for (int ranks : {1, 2, 4})
    if (ranks <= cores) measure_ranks(self, ranks, &seconds);
  const double alone = seconds.at(Case{1, 1, kModes[0], false, false}.key());
  const auto two = seconds.find(Case{2, 1, kModes[0], true, false}.key());
  const PictureCost cost{alone, two == seconds.end() ? 0 : alone / two->second - 1};
  std::printf("speed-up: over one rank with as many prompts\n");
  std::printf("one picture alone %.3f s; split over two ranks it takes %.2f of that\n", alone,
              1 / (1 + cost.split_efficiency));
  std::printf("%5s %7s %-8s %-5s %-9s %9s %9s %8s %6s %10s\n", "ranks", "prompts", "dealt", "split",
              "slow rank", "seconds", "replayed", "speed-up", "bound", "efficiency");
  std::vector<Json> lines;
  for (int ranks : {1, 2, 4})
    for (const Case& c : cases(ranks)) {
      std::vector<double> slowness(size_t(ranks), 1.0);
      if (c.slow_rank) slowness[1] = 2;
      const double replayed = replay(parse_distribution(c.mode), c.prompts, c.split, cost, slowness);
      const auto measured = seconds.find(c.key());
      const double s = measured == seconds.end() ? replayed : measured->second;
      const double one_rank = seconds.at(Case{1, c.prompts, kModes[0], false, false}.key());
      const double speed_up = (measured == seconds.end() ? alone * double(c.prompts) : one_rank) / s;
      const double bound = double(c.prompts) / double((c.prompts + ranks - 1) / ranks);
      char text[16] = "-";
      if (measured != seconds.end()) std::snprintf(text, sizeof text, "%.3f", s);
      std::printf("%5d %7ld %-8s %-5s %-9s %9s %9.3f %8.2f %6.2f %9.0f%%\n", ranks, long(c.prompts),
                  c.mode.c_str(), c.split ? "yes" : "no", c.slow_rank ? "yes" : "no", text, replayed,
                  speed_up, bound, 100 * speed_up / bound);
      lines.push_back({{"bench", "sampling_scaling"},
                       {"ranks", ranks},
                       {"prompts", c.prompts},
                       {"distribution", c.mode},
                       {"split", c.split},
                       {"slow_rank", c.slow_rank},
                       {"seconds", s},
                       {"simulated", measured == seconds.end()},
                       {"speed_up", speed_up},
                       {"bound", bound},
                       {"efficiency", speed_up / bound}});
    }
  if (cores < 4) std::printf("4 ranks: on a simulated clock, there are %d cores.\n", cores);
  for (const Json& line : lines) std::printf("%s\n", line.dump().c_str());
}

}  // namespace
}  // namespace wandistill::bench

int main(int argc, char** argv) {
  namespace bench = wandistill::bench;
  if (argc > 1)
    return wandistill::run_session(argc, argv,
                                   [](wandistill::Session& session) { return bench::worker(session); });
  try {
    bench::drive(argv[0]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sampling_scaling: %s\n", error.what());
    return 1;
  }
}
