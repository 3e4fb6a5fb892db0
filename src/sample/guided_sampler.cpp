#include "wandistill/guided_sampler.h"

#include <algorithm>

#include "wandistill/error.h"

namespace wandistill {

GuidedVelocity::GuidedVelocity(const GuidedModel& model) : model_(model), activations_(Keep::kNothing) {
  if (model.guided() && !model.negative) fail("internal error: guidance without an encoded negative prompt");
}

void GuidedVelocity::set_group(const PictureGroup* group) {
  WD_REQUIRE(!group || group->guided() == model_.guided());
  group_ = group;
}

Range GuidedVelocity::own_passes() const {
  if (group_ && group_->splits_passes()) return {group_->pass(), group_->pass() + 1};
  return {0, model_.guided() ? 2 : 1};
}

void GuidedVelocity::start(std::span<const TextEmbedding* const> texts, int64_t h, int64_t w,
                           const Compute& compute) {
  const WanConfig& config = model_.transformer->config();
  WD_REQUIRE(!group_ || (texts.size() == 1 && group_->tokens() == config.tokens(h, w)));
  WD_REQUIRE(config.in_channels == config.out_channels);
  compute_ = &compute;
  pictures_ = int64_t(texts.size());
  picture_size_ = config.in_channels * h * w;

  graphs_.clear();

  const Range own = own_passes();
  std::vector<const TextEmbedding*> all;
  for (int64_t pass = own.begin; pass < own.end; ++pass)
    for (const TextEmbedding* text : texts) all.push_back(pass == 0 ? text : model_.negative);
  text_ = TextBatch::pack(all, config.text_dim);

  const auto reserve = [&](OpBuffer<float>& buffer, int64_t count) {
    if (buffer.size() >= count) return;
    buffer = {};  // give back first
    buffer = OpBuffer<float>(compute, count);
  };
  reserve(latents_, own.size() * pictures_ * picture_size_);
  reserve(timesteps_, own.size() * pictures_);
  reserve(outputs_, (model_.guided() ? 2 : 1) * pictures_ * picture_size_);
  input_ = {h, w, latents_.data(), timesteps_.data(), &text_, group_ ? group_->split() : nullptr};
  model_.transformer->prepare(input_, activations_, compute);
}

GuidedOutput GuidedVelocity::operator()(float timestep, const float* latents, const Then& then) {
  const std::vector<float> timesteps(size_t(own_passes().size() * pictures_), timestep);
  upload(*compute_, timesteps_.data(), timesteps.data(), int64_t(timesteps.size()));
  const GuidedOutput output = {outputs_.data(),
                               model_.guided() ? outputs_.data() + pictures_ * picture_size_ : nullptr,
                               guidance(timestep)};
  const WanWeights& weights = is_low(timestep) ? model_.low_noise : model_.high_noise;
  const auto follow = [&] {
    if (then) then(output);
  };
  if (group_ && group_->splits_passes()) {
    launch(weights, latents, [&] { forward(weights, latents); });
    exchange_passes();
    follow();
  } else {
    launch(weights, latents, [&] {
      forward(weights, latents);
      follow();
    });
  }
  return output;
}

void GuidedVelocity::forward(const WanWeights& weights, const float* latents) {
  const Range own = own_passes();
  const int64_t n = pictures_ * picture_size_;
  for (int64_t pass = 0; pass < own.size(); ++pass) copy(*compute_, latents_.data() + pass * n, latents, n);
  model_.transformer->forward_prepared(weights, input_, activations_, outputs_.data() + own.begin * n,
                                       *compute_);
}

void GuidedVelocity::launch(const WanWeights& weights, const float* latents,
                            const std::function<void()>& work) {
  if (weights.placed()) weights.placed()->begin_pass(*compute_);
  // A picture whose tokens are split is gathered by the host in every layer.
  const bool streamed = weights.placed() && weights.placed()->streamed();
  if (compute_->on_host() || input_.split || streamed) return work();
  const auto [found, first] = graphs_.try_emplace({weights.identity(), latents});
  if (first) return work();
  std::unique_ptr<Graph>& graph = found->second;
  Stream& stream = *compute_->stream;
  if (!graph) {
    stream.begin_capture();
    try {
      work();
    } catch (...) {
      try {
        stream.end_capture();
      } catch (const Error&) {  // what it says follows from what is thrown on
      }
      throw;
    }
    graph = stream.end_capture();
  }
  graph->launch(stream);
}

/// The other half's pass of the group's one picture.
void GuidedVelocity::exchange_passes() {
  if (compute_->on_host()) return group_->exchange_passes(outputs_.data(), picture_size_);
  Buffer<float> host(2 * picture_size_);
  const int64_t own = own_passes().begin * picture_size_;
  download(*compute_, host.data() + own, outputs_.data() + own, picture_size_);
  group_->exchange_passes(host.data(), picture_size_);
  upload(*compute_, outputs_.data(), host.data(), host.size());
}

SamplerKind parse_sampler(const std::string& name) {
  if (name == "ddim") return SamplerKind::kDdim;
  if (name == "unipc") return SamplerKind::kUniPc;
  fail("unknown sampler '", name, "'; expected ddim or unipc");
}

SamplingRun::SamplingRun(const SamplingSettings& settings, std::vector<const TextEmbedding*> texts,
                         int64_t channels, int64_t h, int64_t w, const float* noise, const Compute& compute)
    : settings_(settings),
      texts_(std::move(texts)),
      h_(h),
      w_(w),
      n_(int64_t(texts_.size()) * channels * h * w),
      compute_(compute),
      schedule_(flow_schedule(settings.steps, settings.scheduler.flow_shift)),
      x_(compute, n_),
      ddim_(compute, 1) {
  upload(compute, x_.data(), noise, n_);
  if (settings.sampler != SamplerKind::kUniPc) return;
  unipc_.emplace(settings.scheduler, settings.steps);
  guided_ = OpBuffer<float>(compute, n_);
}

float SamplingRun::timestep(int64_t i) const {
  return unipc_ ? unipc_->timestep(i) : schedule_[size_t(i)].timestep;
}

bool SamplingRun::advance(GuidedVelocity& velocity, int64_t end, const SamplingObserver& observer) {
  if (done_ < end) velocity.start(texts_, h_, w_, compute_);
  for (; done_ < end; ++done_) {
    if (observer.before && !observer.before(done_, schedule_[size_t(done_)].sigma, x_.data())) return false;
    const GuidedOutput output = unipc_ ? unipc_step(velocity) : ddim_step(velocity);
    if (observer.after) observer.after(done_, output);
  }
  return true;
}

GuidedOutput SamplingRun::ddim_step(GuidedVelocity& velocity) {
  const DdimCoefficients step = ddim_coefficients({.from = schedule_[size_t(done_)],
                                                   .to = schedule_[size_t(done_) + 1],
                                                   .guidance = velocity.guidance(timestep(done_))});
  upload(compute_, ddim_.data(), &step, 1);
  return velocity(timestep(done_), x_.data(), [&](const GuidedOutput& output) {
    compute_.ops->ddim_update(n_, ddim_.data(), false, output.cond, output.uncond, x_.data(), compute_);
  });
}

GuidedOutput SamplingRun::unipc_step(GuidedVelocity& velocity) {
  const GuidedOutput output = velocity(timestep(done_), x_.data());
  const float* v = output.cond;
  if (output.uncond) {
    compute_.ops->guidance(n_, output.guidance, output.cond, output.uncond, guided_.data(), compute_);
    v = guided_.data();
  }
  unipc_->step(done_, v, x_.data(), n_, compute_);
  return output;
}

void SamplingRun::read(float* x) const {
  download(compute_, x, x_.data(), n_);
}

bool sample_latents(GuidedVelocity& velocity, const SamplingSettings& settings,
                    std::span<const TextEmbedding* const> texts, int64_t h, int64_t w, float* x,
                    const Compute& compute, const SamplingObserver& observer) {
  SamplingRun run(settings, {texts.begin(), texts.end()}, velocity.model().transformer->config().out_channels,
                  h, w, x, compute);
  if (!run.advance(velocity, settings.steps, observer)) return false;
  run.read(x);
  return true;
}

}  // namespace wandistill
