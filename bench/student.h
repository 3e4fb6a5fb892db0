// A student with its optimizer's state and one batch, whose step is timed: forward with the loss, backward,
// AdamW.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "bench/measure.h"
#include "wandistill/converted_weights.h"
#include "wandistill/wan_transformer.h"

namespace wandistill::bench {

/// B samples; the loss is the mean squared error over all their elements.
struct StudentBatch {
  int64_t h, w;                        // of the latents
  Buffer<float> latents;               // [B, in_channels, h, w]
  Buffer<float> timesteps;             // [B]
  Buffer<float> target;                // [B, out_channels, h, w]
  std::vector<TextEmbedding> prompts;  // B

  /// Of random numbers; every prompt has so many tokens.
  static StudentBatch random(const WanConfig& config, int64_t batch, int64_t h, int64_t w, int64_t tokens) {
    const TextEmbedding prompt{tokens, std::vector<float>(size_t(tokens * config.text_dim), 0.1f)};
    Buffer<float> timesteps(batch);
    std::fill(timesteps.begin(), timesteps.end(), 500.0f);
    return {h,
            w,
            gaussian(batch * config.in_channels * h * w, 1),
            std::move(timesteps),
            gaussian(batch * config.out_channels * h * w, 2),
            std::vector<TextEmbedding>(size_t(batch), prompt)};
  }
  int64_t size() const { return int64_t(prompts.size()); }
};

class Student {
 public:
  /// averaged: with a moving average of the weights, as in training.
  Student(const WanConfig& config, Buffer<float> weights, StudentBatch batch, bool averaged,
          const Queue& queue, const Ops& ops = kCpuOps)
      : transformer_(config, ops),
        queue_(queue),
        batch_(std::move(batch)),
        text_(pack(batch_, config.text_dim)),
        input_{batch_.h, batch_.w, batch_.latents.data(), batch_.timesteps.data(), &text_},
        weights_(std::move(weights)),
        gradients_(Buffer<float>::zeros(weights_.size())),
        m_(Buffer<float>::zeros(weights_.size())),
        v_(Buffer<float>::zeros(weights_.size())),
        velocity_(batch_.target.size()),
        dvelocity_(batch_.target.size()),
        errors_(size_t(batch_.size())),
        loss_weights_(size_t(batch_.size()), 1.0f / float(batch_.target.size())) {
    if (averaged) average_ = Buffer<float>::copy_of(weights_.data(), weights_.size());
  }

  void forward() {
    transformer_.forward({weights_.data(), &converted_}, input_, activations_, velocity_.data(), queue_);
    kCpuOps.weighted_mse(batch_.size(), velocity_.size() / batch_.size(), velocity_.data(),
                         batch_.target.data(), loss_weights_.data(), errors_.data(), dvelocity_.data(),
                         queue_);
  }
  void backward(const GradientsReady& ready = {}) {
    transformer_.backward({weights_.data(), &converted_}, input_, activations_, dvelocity_.data(),
                          gradients_.data(), false, queue_, ready);
  }
  void update() {
    const AdamWStep step{.lr = 1e-4f,
                         .beta1 = 0.9f,
                         .beta2 = 0.95f,
                         .eps = 1e-8f,
                         .weight_decay = 0.01f,
                         .clip = 1,
                         .ema_decay = 0.999f};
    double squared_norm = 0;
    kCpuOps.squared_norm(gradients_.size(), gradients_.data(), &squared_norm, queue_);
    kCpuOps.plan_update(step, &squared_norm, &state_, queue_);
    kCpuOps.adamw(step, &state_, gradients_.size(), gradients_.data(), weights_.data(), m_.data(), v_.data(),
                  average_.empty() ? nullptr : average_.data(), nullptr, queue_);
    converted_.changed();
  }
  void step() {
    forward();
    backward();
    update();
  }

  /// Of the last forward pass.
  double loss() const {
    double sum = 0;
    for (size_t b = 0; b < errors_.size(); ++b) sum += errors_[b] * double(loss_weights_[b]);
    return sum;
  }
  const ParameterLayout& layout() const { return transformer_.layout(); }
  const WanConfig& config() const { return transformer_.config(); }
  const StudentBatch& batch() const { return batch_; }
  int64_t text_rows() const { return text_.total(); }
  const Buffer<float>& velocity() const { return velocity_; }
  Buffer<float>& gradients() { return gradients_; }

 private:
  static TextBatch pack(const StudentBatch& batch, int64_t text_dim) {
    std::vector<const TextEmbedding*> prompts;
    for (const TextEmbedding& prompt : batch.prompts) prompts.push_back(&prompt);
    return TextBatch::pack(prompts, text_dim);
  }

  WanTransformer transformer_;
  Queue queue_;
  StudentBatch batch_;
  TextBatch text_;
  WanInput input_;
  Buffer<float> weights_, average_, gradients_, m_, v_, velocity_, dvelocity_;
  ConvertedWeights converted_;
  std::vector<double> errors_;
  std::vector<float> loss_weights_;
  WanActivations activations_{Keep::kAll};
  UpdateState state_;
};

}  // namespace wandistill::bench
