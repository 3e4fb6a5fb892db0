#include "bench/peers/subject.h"
#include "bench/student.h"
#include "wandistill/error.h"
#include "wandistill/flops.h"

namespace wandistill::bench {
namespace {

StudentBatch read_batch(const Inputs& inputs) {
  const Shape& shape = inputs.shape("latents");
  return {shape[2],      shape[3], inputs.read("latents"), inputs.read("timesteps"), inputs.read("target"),
          inputs.texts()};
}

class StudentStep : public Subject {
 public:
  StudentStep(const std::filesystem::path& model, const Inputs& inputs, const Queue& queue, const Ops& ops)
      : StudentStep(WanConfig::load(model), model, inputs, queue, ops) {}

  void run() override { student_.step(); }

  /// Velocity and gradients before the first step, and the losses of the first three.
  std::vector<Output> results() override {
    std::vector<Output> out;
    std::vector<float> losses;
    for (int step = 0; step < 3; ++step) {
      student_.step();
      losses.push_back(float(student_.loss()));
      if (step > 0) continue;
      out.push_back({"velocity", {student_.velocity().begin(), student_.velocity().end()}});
      for (const ParameterInfo& p : student_.layout().parameters()) {
        const float* gradient = student_.gradients().data() + p.offset;
        out.push_back({"gradient." + p.name, {gradient, gradient + p.size}});
      }
    }
    out.push_back({"loss", losses});
    return out;
  }

  double flop() const override {
    const StudentBatch& batch = student_.batch();
    return double(batch.size()) * wan_training_flops(student_.config(),
                                                     student_.config().tokens(batch.h, batch.w),
                                                     student_.text_rows() / batch.size(), false);
  }

 private:
  StudentStep(const WanConfig& config, const std::filesystem::path& model, const Inputs& inputs,
              const Queue& queue, const Ops& ops)
      : student_(config, load_wan_weights(model, ParameterLayout(config)), read_batch(inputs), false, queue,
                 ops) {}

  Student student_;
};

class TransformerForward : public Subject {
 public:
  TransformerForward(const std::filesystem::path& model, const Inputs& inputs, const Queue& queue)
      : queue_(queue),
        transformer_(WanConfig::load(model)),
        weights_(load_wan_weights(model, transformer_.layout())),
        shape_(inputs.shape("latents")),
        latents_(inputs.read("latents")),
        timesteps_(inputs.read("timesteps")),
        texts_(inputs.texts()),
        velocity_(latents_.size()) {}

  void run() override {
    std::vector<const TextEmbedding*> texts;
    for (const TextEmbedding& text : texts_) texts.push_back(&text);
    const TextBatch text = TextBatch::pack(texts, transformer_.config().text_dim);
    transformer_.forward(weights_.data(), {shape_[2], shape_[3], latents_.data(), timesteps_.data(), &text},
                         activations_, velocity_.data(), queue_);
  }
  std::vector<Output> results() override {
    run();
    return {{"velocity", {velocity_.begin(), velocity_.end()}}};
  }
  double flop() const override {
    double sum = 0;
    for (const TextEmbedding& text : texts_)
      sum += wan_forward_flops(transformer_.config(), transformer_.config().tokens(shape_[2], shape_[3]),
                               text_rows(text.tokens));
    return sum;
  }

 private:
  Queue queue_;
  WanTransformer transformer_;
  Buffer<float> weights_;
  Shape shape_;
  Buffer<float> latents_, timesteps_;
  std::vector<TextEmbedding> texts_;
  Buffer<float> velocity_;
  WanActivations activations_{Keep::kNothing};
};

}  // namespace

std::unique_ptr<Subject> make_student_step(const std::filesystem::path& model, const Inputs& inputs,
                                           const Queue& queue) {
  return std::make_unique<StudentStep>(model, inputs, queue, kCpuOps);
}

std::unique_ptr<Subject> make_student_step_bf16(const std::filesystem::path& model, const Inputs& inputs,
                                                const Queue& queue) {
  return std::make_unique<StudentStep>(model, inputs, queue, kCpuBf16Ops);
}

std::unique_ptr<Subject> make_transformer_forward(const std::filesystem::path& model, const Inputs& inputs,
                                                  const Queue& queue) {
  return std::make_unique<TransformerForward>(model, inputs, queue);
}

}  // namespace wandistill::bench
