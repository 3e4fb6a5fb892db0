#include "wandistill/guided_sampler.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "wandistill/error.h"
#include "wandistill/ops/ddim_update.h"
#include "wandistill/unipc.h"

namespace wandistill {

GuidedVelocity::GuidedVelocity(const GuidedModel& model) : model_(model), activations_(Keep::kNothing) {
  if (model.guided() && !model.negative) fail("internal error: guidance without an encoded negative prompt");
}

void GuidedVelocity::set_group(const PictureGroup* group) {
  WD_REQUIRE(!group || group->guided() == model_.guided());
  group_ = group;
}

void GuidedVelocity::operator()(std::span<const TextEmbedding* const> texts, int64_t h, int64_t w,
                                float timestep, const float* latents, float* velocity, const Queue& queue) {
  const WanConfig& config = model_.transformer->config();
  WD_REQUIRE(!group_ || (texts.size() == 1 && group_->tokens() == config.tokens(h, w)));
  const int64_t B = int64_t(texts.size()), passes = model_.guided() ? 2 : 1;
  const int64_t in = config.in_channels * h * w, out = config.out_channels * h * w;
  const bool low = model_.low_noise && double(timestep) < model_.boundary_ratio * 1000;
  const float* weights = low ? model_.low_noise : model_.high_noise;

  // The passes that this rank computes: all, or its half of the group's one.
  const bool half = group_ && group_->splits_passes();
  const int64_t first = half ? group_->pass() : 0, own = half ? 1 : passes;
  std::vector<const TextEmbedding*> all;
  for (int64_t pass = first; pass < first + own; ++pass)
    for (const TextEmbedding* text : texts) all.push_back(pass == 0 ? text : model_.negative);
  const TextBatch text = TextBatch::pack(all, config.text_dim);
  const std::vector<float> timesteps(all.size(), timestep);
  if (inputs_.size() < own * B * in) inputs_ = Buffer<float>(own * B * in);
  if (outputs_.size() < passes * B * out) outputs_ = Buffer<float>(passes * B * out);
  for (int64_t pass = 0; pass < own; ++pass)
    std::copy(latents, latents + B * in, inputs_.data() + pass * B * in);
  model_.transformer->forward(
      weights, {h, w, inputs_.data(), timesteps.data(), &text, group_ ? group_->split() : nullptr},
      activations_, outputs_.data() + first * B * out, queue);
  if (half) group_->exchange_passes(outputs_.data(), out);

  const float g = float(low ? model_.guidance_2 : model_.guidance);
  const float* conditional = outputs_.data();
  const float* unconditional = outputs_.data() + B * out;
  if (passes == 1)
    std::copy(conditional, conditional + B * out, velocity);
  else
    for (int64_t i = 0; i < B * out; ++i)
      velocity[i] = unconditional[i] + g * (conditional[i] - unconditional[i]);
}

SamplerKind parse_sampler(const std::string& name) {
  if (name == "ddim") return SamplerKind::kDdim;
  if (name == "unipc") return SamplerKind::kUniPc;
  fail("unknown sampler '", name, "'; expected ddim or unipc");
}

bool sample_latents(GuidedVelocity& velocity, const SamplingSettings& settings,
                    std::span<const TextEmbedding* const> texts, int64_t h, int64_t w, float* x,
                    const Queue& queue, const SamplingStep& on_step) {
  const int64_t n = int64_t(texts.size()) * velocity.model().transformer->config().out_channels * h * w;
  Buffer<float> v(n);
  std::optional<UniPC> unipc;
  if (settings.sampler == SamplerKind::kUniPc) unipc.emplace(settings.scheduler, settings.steps);
  const std::vector<SchedulePoint> schedule = flow_schedule(settings.steps, settings.scheduler.flow_shift);
  for (int64_t i = 0; i < settings.steps; ++i) {
    const SchedulePoint& from = schedule[size_t(i)];
    velocity(texts, h, w, unipc ? unipc->timestep(i) : from.timestep, x, v.data(), queue);
    if (on_step && !on_step(i, from.sigma, x, v.data())) return false;
    if (unipc)
      unipc->step(i, v.data(), x, n, queue);
    else
      cpu::ddim_update(n, {.from = from, .to = schedule[size_t(i) + 1]}, v.data(), nullptr, nullptr, x,
                       queue);
  }
  return true;
}

}  // namespace wandistill
