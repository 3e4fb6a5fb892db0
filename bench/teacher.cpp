// A teacher of any size: how fast its experts are read, one forward pass where it computes, and on a GPU what
// it costs to stream them: teacher [TEACHER [PIXELS [DEVICE]]]. Without arguments the embedded one on the
// CPU.
#include "bench/ceiling.h"
#include "bench/measure.h"
#include "src/teacher/experts.h"
#include "wandistill/error.h"
#include "wandistill/flops.h"
#include "wandistill/model_folder.h"
#include "wandistill/pipeline.h"

namespace wandistill::bench {
namespace {

constexpr int64_t kTextTokens = 20;
constexpr double kSeconds = 2;

class TeacherBench {
 public:
  TeacherBench(const std::string& name, int64_t pixels, const std::string& device)
      : device_(device, bench_threads(), 0),
        dtype_(device_.device() ? Dtype::kBfloat16 : Dtype::kFloat32),
        pipeline_(name, device_.compute(), dtype_),
        report_("teacher", bench_threads()) {
    const auto [h, w] = pipeline_.latent_size(pixels, pixels);
    h_ = h;
    w_ = w;
    folders_.push_back(pipeline_.folder() / "transformer");
    if (pipeline_.two_experts()) folders_.push_back(pipeline_.folder() / "transformer_2");
  }

  void run() {
    const Compute host(Queue{bench_threads()});
    peak_ = device_.device() ? 0 : matmul_ceiling(report_, Queue(host));
    if (!device_.device()) {
      loading(host, TeacherPlacement::kHost);
      forward("forward", host, TeacherPlacement::kHost);
      return;
    }
    const Compute& compute = device_.compute();
    loading(compute, TeacherPlacement::kResident);
    loading(compute, TeacherPlacement::kExpert);
    const double resident = forward("forward, resident", compute, TeacherPlacement::kResident);
    const double streamed = forward("forward, streamed", compute, TeacherPlacement::kStream);
    std::printf("streamed / resident: %.3f\n", streamed / resident);
  }

 private:
  std::unique_ptr<Experts> load(const Compute& compute, TeacherPlacement placement) const {
    return load_experts(nullptr, folders_, pipeline_.transformer().layout(), compute, dtype_, placement);
  }

  void loading(const Compute& compute, TeacherPlacement placement) {
    double gigabytes = 0;
    const std::string where = load(compute, placement)->where;
    const Timing time =
        measure([&] { gigabytes = double(load(compute, placement)->figures.bytes) / 1e9; }, kSeconds);
    report_.add({.name = "read experts", .shape = where, .time = time, .work = gigabytes, .unit = "GB/s"});
  }

  /// The median.
  double forward(const std::string& name, const Compute& compute, TeacherPlacement placement) {
    const std::unique_ptr<Experts> experts = load(compute, placement);
    const WanTransformer transformer = compute.transformer(pipeline_.transformer().config(), dtype_);
    const WanConfig& config = transformer.config();
    const TextEmbedding prompt{kTextTokens, std::vector<float>(size_t(kTextTokens * config.text_dim), 0.1f)};
    const TextEmbedding* prompts[] = {&prompt};
    const int64_t n = config.in_channels * h_ * w_, tokens = config.tokens(h_, w_);
    const Buffer<float> noise = gaussian(n, 1);
    OpBuffer<float> latents(compute, n);
    upload(compute, latents.data(), noise.data(), n);
    GuidedVelocity velocity({.transformer = &transformer, .high_noise = experts->weights(0)});
    velocity.start(prompts, h_, w_, compute);
    const Timing time = measure(
        [&] {
          velocity(900, latents.data());
          if (compute.stream) compute.stream->synchronize();
        },
        kSeconds);
    report_.add({.name = name,
                 .shape = cat(tokens, " tokens"),
                 .time = time,
                 .work = wan_forward_flops(config, tokens, text_rows(kTextTokens)) * 1e-9,
                 .bytes = transformer.layout().total() * (dtype_ == Dtype::kBfloat16 ? 2 : 4),
                 .ceiling = peak_});
    return time.median;
  }

  ComputeDevice device_;
  Dtype dtype_;
  Pipeline pipeline_;
  Report report_;
  std::vector<std::filesystem::path> folders_;
  int64_t h_ = 0, w_ = 0;
  double peak_ = 0;
};

}  // namespace
}  // namespace wandistill::bench

int main(int argc, char** argv) {
  try {
    const std::string pixels = argc > 2 ? argv[2] : "256";
    wandistill::bench::TeacherBench(argc > 1 ? argv[1] : "data/tiny-wan", std::stoll(pixels),
                                    argc > 3 ? argv[3] : "cpu")
        .run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "teacher: %s\n", error.what());
    return 1;
  }
}
