// Recomputes what is in a file of reference numbers (tests/golden/make_golden.py describes its layout) and
// says how far off each quantity is. Exit code 0: all within bounds, 1: not, 2: wrong usage.
#include <algorithm>
#include <boost/program_options.hpp>
#include <cmath>
#include <iostream>
#include <vector>

#include "tests/golden/report.h"
#include "wandistill/error.h"
#include "wandistill/guided_sampler.h"
#include "wandistill/h5.h"
#include "wandistill/model_folder.h"
#include "wandistill/text_cleaning.h"
#include "wandistill/tokenizer.h"
#include "wandistill/umt5.h"
#include "wandistill/wan_vae.h"

namespace fs = std::filesystem;

namespace wandistill {
namespace {

/// Largest relative errors.
struct Bounds {
  double forward, gradient, sampling, update;
};
// Where the fast path rounds to bfloat16, its own rounding is what is measured: the update divides by it.
constexpr Bounds kFloat32Bounds{1e-4, 1e-3, 1e-3, 1e-2}, kBfloat16Bounds{2e-2, 5e-2, 5e-2, 2e-1};

using Tensor = std::pair<Shape, std::vector<float>>;

double error_of(const std::vector<float>& ours, const std::vector<float>& reference) {
  if (ours.size() != reference.size())
    fail("internal error: comparing ", ours.size(), " with ", reference.size());
  return relative_error(int64_t(ours.size()), ours.data(), reference.data());
}

/// Padded rows [512, Dt] without the zero rows behind the prompt's `tokens`.
TextEmbedding trim(const float* rows, int64_t tokens, int64_t width) {
  return {tokens, std::vector<float>(rows, rows + tokens * width)};
}

class GoldenCheck {
 public:
  GoldenCheck(const std::string& teacher, const std::string& golden, const Compute& compute, Dtype dtype)
      : bounds_(compute.element(dtype) == Dtype::kFloat32 ? kFloat32Bounds : kBfloat16Bounds),
        compute_(compute),
        dtype_(dtype),
        folder_(resolve_model_folder(teacher)),
        index_(ModelIndex::load(folder_)),
        file_(H5File::open_read(golden)),
        config_(WanConfig::load(folder_ / "transformer")),
        transformer_(compute.transformer(config_, dtype)),
        high_(load_wan_weights(folder_ / "transformer", transformer_.layout(), compute, dtype)),
        vae_(folder_ / "vae",
             compute.element(dtype) == Dtype::kFloat32 ? VaeDtype::kFloat32 : VaeDtype::kBfloat16, compute) {
    if (index_.has_transformer_2)
      low_ = load_wan_weights(folder_ / "transformer_2", transformer_.layout(), compute, dtype);
    const auto [shape, rows] = file_.read<float>("text/embeds");
    const auto mask = file_.read<int32_t>("text/mask").second;
    for (int64_t b = 0; b < shape[0]; ++b) {
      const int64_t tokens = std::count(mask.begin() + b * shape[1], mask.begin() + (b + 1) * shape[1], 1);
      reference_text_.push_back(trim(rows.data() + b * shape[1] * shape[2], tokens, shape[2]));
    }
  }

  int run() {
    text();
    velocities();
    decoding();
    sampling();
    student();
    return report_.finish();
  }

 private:
  void text() {
    const Tokenizer tokenizer(folder_ / "tokenizer");
    const Umt5Encoder encoder(folder_ / "text_encoder", compute_, dtype_);
    const std::vector<std::string> prompts = file_.read_strings("prompts");
    const auto [shape, ids] = file_.read<int32_t>("text/ids");
    std::vector<float> ours, reference;
    int64_t wrong_ids = 0;
    for (size_t b = 0; b < prompts.size(); ++b) {
      std::vector<int32_t> own = tokenizer.encode(clean_prompt(prompts[b]));
      std::vector<float> rows(own.size() * size_t(encoder.width()));
      encoder.encode(own, rows.data(), compute_);
      rows.resize(size_t(kTextPositions * encoder.width()), 0.0f);
      ours.insert(ours.end(), rows.begin(), rows.end());
      own.resize(size_t(kTextPositions), tokenizer.pad_id());
      for (int64_t i = 0; i < kTextPositions; ++i)
        wrong_ids += own[size_t(i)] != ids[b * size_t(shape[1]) + size_t(i)];
    }
    report_.judge("text/ids (tokens that differ)", double(wrong_ids), 0);
    report_.judge("text/embeds", error_of(ours, file_.read<float>("text/embeds").second), bounds_.forward);
  }

  /// Where the ops work.
  OpBuffer<float> upload_all(const std::vector<float>& values) const {
    OpBuffer<float> placed(compute_, int64_t(values.size()));
    upload(compute_, placed.data(), values.data(), placed.size());
    return placed;
  }
  std::vector<float> download_all(const OpBuffer<float>& values) const {
    std::vector<float> host(size_t(values.size()), 0.0f);
    download(compute_, host.data(), values.data(), values.size());
    return host;
  }

  std::vector<float> velocity(const ModelWeights& weights, const Tensor& latents,
                              const std::vector<float>& timesteps, const TextBatch& text) {
    WanActivations activations(Keep::kNothing);
    OpBuffer<float> out(compute_,
                        int64_t(latents.second.size()) / config_.in_channels * config_.out_channels);
    const OpBuffer<float> x = upload_all(latents.second), t = upload_all(timesteps);
    transformer_.forward(weights.data(), {latents.first[3], latents.first[4], x.data(), t.data(), &text},
                         activations, out.data(), compute_);
    return download_all(out);
  }

  void velocities() {
    const Tensor latents = file_.read<float>("dit/latents");
    const std::vector<float> timesteps = file_.read<float>("dit/timesteps").second;
    // The rows of dit/text are those of the first, second and last prompt.
    const std::vector<const TextEmbedding*> texts = {&reference_text_[0], &reference_text_[1],
                                                     &reference_text_.back()};
    const TextBatch text = TextBatch::pack(texts, config_.text_dim);
    report_.judge(
        "dit/velocity_high",
        error_of(velocity(high_, latents, timesteps, text), file_.read<float>("dit/velocity_high").second),
        bounds_.forward);
    if (!low_.empty())
      report_.judge(
          "dit/velocity_low",
          error_of(velocity(low_, latents, timesteps, text), file_.read<float>("dit/velocity_low").second),
          bounds_.forward);
  }

  void decoding() {
    const auto [shape, latents] = file_.read<float>("vae/latents");
    const auto reference = file_.read<float>("vae/image").second;
    OpBuffer<float> ours(compute_, int64_t(reference.size()));
    for (int64_t b = 0; b < shape[0]; ++b)
      vae_.decode(latents.data() + b * shape[1] * shape[3] * shape[4], shape[3], shape[4],
                  ours.data() + b * int64_t(reference.size()) / shape[0], compute_);
    report_.judge("vae/image", error_of(download_all(ours), reference), bounds_.forward);
    report_.skip("vae/encode_mean", "the job needs no encoder");
  }

  void sampling() {
    const SchedulerConfig scheduler = SchedulerConfig::load(folder_.string());
    GuidedModel model{.transformer = &transformer_,
                      .high_noise = high_.data(),
                      .low_noise = low_.empty() ? nullptr : low_.data(),
                      .boundary_ratio = index_.boundary_ratio.value_or(0),
                      .guidance = file_.read_scalar_double("sample/guidance"),
                      .guidance_2 = file_.read_scalar_double("sample/guidance_2"),
                      .negative = &reference_text_.back()};
    GuidedVelocity velocity(model);
    const auto [shape, noise] = file_.read<float>("sample/noise");
    const int64_t h = shape[2], w = shape[3];
    const TextEmbedding* text[] = {&reference_text_[0]};
    for (const std::string name : {"unipc", "ddim"}) {
      SamplingSettings settings{parse_sampler(name), file_.read_scalar_int64("sample/steps"), scheduler};
      report_.judge("sample/" + name + "_sigmas",
                    error_of(flow_sigmas(settings.steps, scheduler.flow_shift),
                             file_.read<float>("sample/" + name + "_sigmas").second),
                    1e-6);
      std::vector<float> x = noise;
      sample_latents(velocity, settings, text, h, w, x.data(), compute_);
      report_.judge("sample/" + name + "_latents",
                    error_of(x, file_.read<float>("sample/" + name + "_latents").second), bounds_.sampling);
      denormalise_latents(vae_.config(), h, w, x.data(), x.data());
      const auto reference = file_.read<float>("sample/" + name + "_image").second;
      OpBuffer<float> image(compute_, int64_t(reference.size()));
      vae_.decode(x.data(), h, w, image.data(), compute_);
      report_.judge("sample/" + name + "_image", error_of(download_all(image), reference), bounds_.sampling);
    }
  }

  void student() {
    const WanConfig config =
        WanConfig::parse(file_.read_string("student/config"), file_.path().string() + ":student/config");
    const WanTransformer student = compute_.transformer(config, dtype_);
    const ParameterLayout& layout = student.layout();
    const auto read_all = [&](const std::string& group) {
      Buffer<float> flat(layout.total());
      for (const ParameterInfo& p : layout.parameters())
        file_.read<float>("student/" + group + "/" + p.name, p.shape, flat.data() + p.offset);
      return flat;
    };
    const Buffer<float> init = read_all("init"), gradient = read_all("grad"), after = read_all("after");
    const Tensor x0 = file_.read<float>("student/x0");
    const std::vector<float> eps = file_.read<float>("student/eps").second;
    const std::vector<float> sigma = file_.read<float>("student/sigma").second;
    const std::vector<float> target = file_.read<float>("student/target").second;
    const int64_t B = x0.first[0], n = int64_t(x0.second.size()) / B;
    std::vector<float> xs(x0.second.size()), timesteps(size_t(B), 0.0f);
    std::vector<const TextEmbedding*> texts;
    for (int64_t b = 0; b < B; ++b) {
      const float s = sigma[size_t(b)];
      for (size_t i = size_t(b * n); i < size_t((b + 1) * n); ++i)
        xs[i] = (1 - s) * x0.second[i] + s * eps[i];
      timesteps[size_t(b)] = s * 1000;
      texts.push_back(&reference_text_[size_t(b) % reference_text_.size()]);
    }
    const TextBatch text = TextBatch::pack(texts, config.text_dim);
    const OpBuffer<float> latents = upload_all(xs), times = upload_all(timesteps), goal = upload_all(target),
                          sample_weight = upload_all(std::vector<float>(size_t(B), 1.0f / float(B * n)));
    const WanInput input{x0.first[3], x0.first[4], latents.data(), times.data(), &text};

    const int64_t total = layout.total();
    OpBuffer<float> weights(compute_, total), m(compute_, total), v(compute_, total), d(compute_, total);
    OpBuffer<bf16> rounded(compute_, student.dtype() == Dtype::kBfloat16 ? total : 0);
    upload(compute_, weights.data(), init.data(), total);
    fill_zero(compute_, m.data(), total);
    fill_zero(compute_, v.data(), total);
    if (!rounded.empty()) compute_.bf16_ops->narrow(total, weights.data(), rounded.data(), compute_);
    const std::vector<double> betas = file_.read<double>("student/betas").second;
    const AdamWStep step{.lr = float(file_.read_scalar_double("student/lr")),
                         .beta1 = float(betas[0]),
                         .beta2 = float(betas[1]),
                         .eps = float(file_.read_scalar_double("student/eps_adam")),
                         .weight_decay = float(file_.read_scalar_double("student/weight_decay")),
                         .clip = float(file_.read_scalar_double("student/clip")),
                         .ema_decay = 0};
    const UpdateState start;
    OpBuffer<UpdateState> state(compute_, 1);
    upload(compute_, state.data(), &start, 1);
    WanActivations activations(Keep::kAll);
    OpBuffer<float> velocity(compute_, B * n), dvelocity(compute_, B * n);
    OpBuffer<double> op_errors(compute_, B), squared_norm(compute_, 1);
    std::vector<float> losses;
    const void* own = rounded.empty() ? static_cast<const void*>(weights.data()) : rounded.data();
    for (int i = 0; i < 5; ++i) {
      student.forward(own, input, activations, velocity.data(), compute_);
      compute_.ops->weighted_mse(B, n, velocity.data(), goal.data(), sample_weight.data(), op_errors.data(),
                                 dvelocity.data(), compute_);
      std::vector<double> errors(size_t(B), 0.0);
      download(compute_, errors.data(), op_errors.data(), B);
      double loss = 0;
      for (double e : errors) loss += e / double(B * n);
      losses.push_back(float(loss));
      student.backward(own, input, activations, dvelocity.data(), d.data(), false, compute_);
      if (i == 0) gradients(layout, download_all(d), gradient);
      compute_.ops->squared_norm(total, d.data(), squared_norm.data(), compute_);
      compute_.ops->plan_update(step, squared_norm.data(), state.data(), compute_);
      if (rounded.empty())
        compute_.ops->adamw(step, state.data(), total, d.data(), weights.data(), m.data(), v.data(), nullptr,
                            nullptr, compute_);
      else
        compute_.bf16_ops->adamw(step, state.data(), total, d.data(), weights.data(), m.data(), v.data(),
                                 nullptr, rounded.data(), compute_);
    }
    report_.judge("student/loss (5 steps)", error_of(losses, file_.read<float>("student/loss").second),
                  bounds_.forward);
    updates(layout, init, download_all(weights), after);
  }

  void gradients(const ParameterLayout& layout, const std::vector<float>& ours,
                 const Buffer<float>& reference) {
    double squared_norm = 0;
    ref::squared_norm(layout.total(), reference.data(), &squared_norm, compute_);
    const double floor = 1e-6 * std::sqrt(squared_norm);
    for (const ParameterInfo& p : layout.parameters())
      report_.judge("grad/" + p.name,
                    relative_error(p.size, ours.data() + p.offset, reference.data() + p.offset, floor),
                    bounds_.gradient);
  }

  /// The change over the AdamW steps, all parameters together; the worst tensors are listed, not judged.
  void updates(const ParameterLayout& layout, const Buffer<float>& init, const std::vector<float>& ours,
               const Buffer<float>& reference) {
    Buffer<float> a(layout.total()), b(layout.total());
    for (int64_t i = 0; i < layout.total(); ++i) {
      a[i] = ours[size_t(i)] - init[i];
      b[i] = reference[i] - init[i];
    }
    report_.judge("student/after - init (all parameters)", relative_error(layout.total(), a.data(), b.data()),
                  bounds_.update);
    std::vector<std::pair<double, std::string>> worst;
    for (const ParameterInfo& p : layout.parameters())
      worst.emplace_back(relative_error(p.size, a.data() + p.offset, b.data() + p.offset), p.name);
    std::sort(worst.rbegin(), worst.rend());
    for (size_t i = 0; i < std::min<size_t>(3, worst.size()); ++i)
      report_.note(cat("not judged: change of ", worst[i].second, " ", worst[i].first));
  }

  const Bounds bounds_;
  const Compute& compute_;
  const Dtype dtype_;
  fs::path folder_;
  ModelIndex index_;
  H5File file_;
  WanConfig config_;
  WanTransformer transformer_;
  ModelWeights high_, low_;
  WanVaeDecoder vae_;
  std::vector<TextEmbedding> reference_text_;
  Report report_;
};

int run(int argc, char** argv) {
  namespace po = boost::program_options;
  std::string teacher, golden, device, dtype, conv;
  int threads = 1, compute_capability = 80;
  po::options_description options("golden_check recomputes reference numbers of a teacher");
  options.add_options()("help", "this text")("teacher", po::value(&teacher)->required(),
                                             "teacher folder in the diffusers layout")(
      "golden", po::value(&golden)->required(), "HDF5 file that tests/golden/make_golden.py wrote for it")(
      "threads", po::value(&threads)->default_value(1), "threads")(
      "device", po::value(&device)->default_value("cpu"), "cpu, cuda or simt")(
      "conv", po::value(&conv)->default_value("own"), "the VAE's convolution: own, or on cuda cudnn")(
      "compute_capability", po::value(&compute_capability)->default_value(80),
      "the GPU that simt stands for: 80, or 90 with kernels for Hopper")(
      "dtype", po::value(&dtype)->default_value("float32"), "float32, or on a device bfloat16");
  po::variables_map values;
  try {
    po::store(po::parse_command_line(argc, argv, options), values);
    if (values.count("help")) {
      std::cout << options;
      return 0;
    }
    po::notify(values);
  } catch (const po::error& e) {
    std::cerr << "golden_check: " << e.what() << "\n" << options;
    return 2;
  }
  const ComputeDevice chosen(device, threads, 0, conv, compute_capability);
  return GoldenCheck(teacher, golden, chosen.compute(), parse_dtype(dtype)).run();
}

}  // namespace
}  // namespace wandistill

int main(int argc, char** argv) {
  try {
    return wandistill::run(argc, argv);
  } catch (const std::exception& e) {
    std::cerr << "golden_check: " << e.what() << "\n";
    return 1;
  }
}
