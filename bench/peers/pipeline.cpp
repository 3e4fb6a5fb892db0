#include "wandistill/pipeline.h"

#include "bench/peers/subject.h"
#include "wandistill/flops.h"
#include "wandistill/sampler.h"

namespace wandistill::bench {
namespace {

/// Token ids as the tokenizer gives them.
class TextEncoder : public Subject {
 public:
  TextEncoder(const std::filesystem::path& model, const Inputs& inputs, const Queue& queue)
      : compute_(queue), encoder_(model, compute_) {
    for (const float id : inputs.read("ids")) ids_.push_back(int32_t(id));
    out_.resize(ids_.size() * size_t(encoder_.width()));
  }
  void run() override { encoder_.encode(ids_, out_.data(), compute_); }
  std::vector<Output> results() override {
    run();
    return {{"embedding", out_}};
  }
  double flop() const override { return umt5_flops(encoder_.config(), int64_t(ids_.size())); }

 private:
  Compute compute_;
  Umt5Encoder encoder_;
  std::vector<int32_t> ids_;
  std::vector<float> out_;
};

/// Latents as the VAE takes them, to an image in [-1, 1].
class VaeDecode : public Subject {
 public:
  VaeDecode(const std::filesystem::path& model, const Inputs& inputs, const Queue& queue)
      : compute_(queue),
        vae_(model, VaeDtype::kFloat32, compute_),
        shape_(inputs.shape("latents")),
        latents_(inputs.read("latents")),
        image_(size_t(3 * shape_[1] * shape_[2] * vae_.config().scale() * vae_.config().scale())) {}
  void run() override { vae_.decode(latents_.data(), shape_[1], shape_[2], image_.data(), compute_); }
  std::vector<Output> results() override {
    run();
    return {{"image", image_}};
  }
  double flop() const override { return vae_decode_flops(vae_.config(), shape_[1], shape_[2], 0); }

 private:
  Compute compute_;
  WanVaeDecoder vae_;
  Shape shape_;  // [z, h, w]
  Buffer<float> latents_;
  std::vector<float> image_;
};

/// From the prompt's text to 8-bit pixels: 25 DDIM steps guided by 4 and 3. The negative prompt was encoded
/// before.
class DdimSampling : public Subject {
 public:
  DdimSampling(const std::filesystem::path& model, const Inputs& inputs, const Queue& queue)
      : compute_(queue),
        pipeline_(model.string(), compute_),
        negative_(load(pipeline_).encode("")),
        velocity_(pipeline_.guided(4, 3, &negative_)),
        shape_(inputs.shape("noise")),
        noise_(inputs.read("noise")),
        latents_(size_t(noise_.size())) {
    for (const float byte : inputs.read("prompt")) prompt_.push_back(char(int(byte)));
    tokens_ = pipeline_.encode(prompt_).tokens;
  }
  static Pipeline& load(Pipeline& pipeline) {
    pipeline.load_text_encoder(nullptr);
    pipeline.load_experts(nullptr, TeacherPlacement::kAuto, 0);
    return pipeline;
  }
  void run() override {
    const TextEmbedding text = pipeline_.encode(prompt_);
    const TextEmbedding* texts[] = {&text};
    std::copy(noise_.begin(), noise_.end(), latents_.begin());
    sample_latents(velocity_, {SamplerKind::kDdim, kSteps, pipeline_.scheduler()}, texts, shape_[1],
                   shape_[2], latents_.data(), compute_);
    picture_ = decode_picture(pipeline_.vae(), latents_.data(), shape_[1], shape_[2], compute_);
  }
  std::vector<Output> results() override {
    run();
    return {{"latents", latents_}, {"picture", {picture_->rgb.begin(), picture_->rgb.end()}}};
  }
  double flop() const override {
    const WanConfig& config = pipeline_.transformer().config();
    const int64_t tokens = config.tokens(shape_[1], shape_[2]);
    return double(kSteps) * (wan_forward_flops(config, tokens, text_rows(tokens_)) +
                             wan_forward_flops(config, tokens, text_rows(negative_.tokens))) +
           vae_decode_flops(pipeline_.vae_config(), shape_[1], shape_[2], 0);
  }

 private:
  static constexpr int64_t kSteps = 25;

  Compute compute_;
  Pipeline pipeline_;
  TextEmbedding negative_;
  GuidedVelocity velocity_;
  Shape shape_;  // [z, h, w]
  Buffer<float> noise_;
  std::string prompt_;
  std::vector<float> latents_;
  int64_t tokens_ = 0;
  std::optional<Image> picture_;
};

}  // namespace

std::unique_ptr<Subject> make_text_encoder(const std::filesystem::path& model, const Inputs& inputs,
                                           const Queue& queue) {
  return std::make_unique<TextEncoder>(model, inputs, queue);
}
std::unique_ptr<Subject> make_vae_decode(const std::filesystem::path& model, const Inputs& inputs,
                                         const Queue& queue) {
  return std::make_unique<VaeDecode>(model, inputs, queue);
}
std::unique_ptr<Subject> make_ddim_sampling(const std::filesystem::path& model, const Inputs& inputs,
                                            const Queue& queue) {
  return std::make_unique<DdimSampling>(model, inputs, queue);
}

}  // namespace wandistill::bench
