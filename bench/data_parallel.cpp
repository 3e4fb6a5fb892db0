// A student's step on one rank of one core, and on two ranks of one core each with the gradients' all-reduce
// hidden behind the backward pass and not: time of a step, and how much of it is waiting for the all-reduce.
//
// Without arguments this is the driver, which starts itself under mpirun; "worker" is one such start. Starts
// alternate.
#include "bench/ceiling.h"
#include "bench/ranks.h"
#include "wandistill/error.h"
#include "wandistill/flops.h"
#include "wandistill/gradient_buckets.h"
#include "wandistill/session.h"

namespace wandistill::bench {
namespace {

constexpr int64_t kRounds = 5;
constexpr double kSeconds = 3;                      // of one start's steps
constexpr int64_t kBucketBytes = int64_t(4) << 20;  // as in training

/// Steps for kSeconds, after two unmeasured; a JSON line on rank 0: seconds of a step (median, of the slowest
/// rank), and the share of them in the all-reduce's wait.
int worker(Session& session, const Size& size, bool overlap) {
  const int64_t n = ParameterLayout(size.config).total();
  Student student(size.config, gaussian(n, 3, 0.02f),
                  StudentBatch::random(size.config, size.batch, size.side, size.side, kPromptTokens), true,
                  {1});
  GradientBuckets buckets(session, student.gradients().data(), student.layout().gradient_order(),
                          kBucketBytes);
  std::vector<double> times;
  double waited = 0, spent = 0;
  for (int64_t step = -2; spent < kSeconds; ++step) {
    session.barrier();
    const double start = MPI_Wtime(), waited_before = buckets.wait_seconds();
    student.forward();
    student.backward(overlap ? GradientsReady([&](size_t group) { buckets.ready(int64_t(group)); })
                             : GradientsReady());
    buckets.wait();
    student.update();
    const double seconds = session.max(MPI_Wtime() - start);
    if (step < 0) continue;
    times.push_back(seconds);
    spent += seconds;
    waited += buckets.wait_seconds() - waited_before;
  }
  const double share = session.max(waited) / spent;
  if (session.is_root())
    std::printf("%s\n",
                Json{{"seconds", summary(std::move(times)).median}, {"wait_share", share}}.dump().c_str());
  return 0;
}

struct Starts {
  std::vector<double> seconds, wait_shares;
  void add(const Json& json) {
    seconds.push_back(json["seconds"]);
    wait_shares.push_back(json["wait_share"]);
  }
};

void drive(const std::string& self) {
  Report report("data_parallel", 1);
  for (const Size& size : kSizes) {
    Starts one, two, plain;
    for (int64_t round = 0; round < kRounds; ++round) {
      one.add(start_ranks(self, 1, cat(size.name, " overlap")));
      two.add(start_ranks(self, 2, cat(size.name, " overlap")));
      plain.add(start_ranks(self, 2, cat(size.name, " after")));
    }
    const double flop =
        double(size.batch) * wan_training_flops(size.config, size.config.tokens(size.side, size.side),
                                                text_rows(kPromptTokens), false);
    const std::string shape =
        cat(size.config.hidden(), " x ", size.config.layers, ", B ", size.batch, " per rank");
    const auto row = [&](const std::string& name, const Starts& starts, int ranks) {
      std::vector<double> speedups;
      for (size_t i = 0; i < starts.seconds.size(); ++i)
        speedups.push_back(ranks * one.seconds[i] / starts.seconds[i]);
      report.add({.name = cat(size.name, " ", name),
                  .shape = shape,
                  .time = summary(starts.seconds),
                  .work = ranks * flop * 1e-9,
                  .details = {{"ranks", ranks},
                              {"speedup", summary(speedups).median},
                              {"speedup_spread", summary(speedups).spread},
                              {"wait_share", summary(starts.wait_shares).median},
                              {"size", size.name},
                              {"all_reduce", name}}});
    };
    row("1 rank", one, 1);
    row("2 ranks, overlap", two, 2);
    row("2 ranks, after", plain, 2);
  }
}

}  // namespace
}  // namespace wandistill::bench

int main(int argc, char** argv) {
  namespace bench = wandistill::bench;
  if (argc == 4)
    return wandistill::run_session(argc, argv, [&](wandistill::Session& session) {
      return bench::worker(session, bench::size_of(argv[2]), std::string(argv[3]) == "overlap");
    });
  try {
    bench::drive(argv[0]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "data_parallel: %s\n", error.what());
    return 1;
  }
}
