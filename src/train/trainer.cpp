#include "src/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

#include "wandistill/error.h"
#include "wandistill/philox.h"

namespace wandistill {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Adds the seconds of its life to `total`.
class Stopwatch {
 public:
  explicit Stopwatch(double* total) : total_(total), start_(now()) {}
  ~Stopwatch() { *total_ += now() - start_; }

 private:
  double* total_;
  double start_;
};

constexpr int64_t kBucketBytes = int64_t(4) << 20;

}  // namespace

Trainer::Trainer(Session& session, const TrainOptions& options, const WanTransformer& student,
                 const Dataset& data, const Shape& picture, const LossSettings& loss, double high_noise_from,
                 TrainingState state, const StopSignals& stop, const Queue& queue)
    : session_(session),
      options_(options),
      student_(student),
      data_(data),
      picture_(picture),
      loss_(loss),
      high_noise_from_(high_noise_from),
      state_(std::move(state)),
      stop_(stop),
      queue_(queue),
      gradients_(student.layout().total()),
      buckets_(session, gradients_.data(), student.layout().gradient_order(), kBucketBytes),
      activations_(options.gradient_checkpointing ? Keep::kBlockInputs : Keep::kAll),
      started_(now()),
      elapsed_before_(state_.elapsed) {}

int64_t Trainer::steps_per_epoch() const {
  const int64_t samples = int64_t(data_.training().size());
  return (samples + options_.batch_size - 1) / options_.batch_size;
}

int64_t Trainer::total_steps() const {
  const int64_t steps = options_.num_epochs * steps_per_epoch();
  return options_.num_steps > 0 ? std::min(steps, options_.num_steps) : steps;
}

bool Trainer::finished() const {
  return state_.step >= total_steps() ||
         (options_.max_minutes > 0 && state_.elapsed >= 60 * options_.max_minutes);
}

double Trainer::learning_rate() const {
  double progress = double(state_.step) / double(std::max<int64_t>(1, total_steps()));
  if (options_.max_minutes > 0) progress = std::max(progress, state_.elapsed / (60 * options_.max_minutes));
  const double warm =
      std::min(1.0, double(state_.step + 1) / double(std::max<int64_t>(1, options_.warmup_steps)));
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * std::min(1.0, progress)));
  return options_.lr * warm * (options_.min_lr_ratio + (1 - options_.min_lr_ratio) * cosine);
}

double Trainer::accumulate(int64_t first, int64_t begin, int64_t end, int64_t global_batch) {
  const int64_t n = element_count(picture_), share = end - begin;
  const int64_t micro = options_.micro_batch > 0 ? options_.micro_batch : std::max<int64_t>(1, share);
  double loss = 0;
  for (int64_t at = begin; at < end; at += micro) {
    TrainingBatch batch;
    {
      Stopwatch watch(&times_.data);
      const std::span samples(order_.data() + first + at, size_t(std::min(micro, end - at)));
      batch = data_.load(samples, global_batch, loss_, state_.step, at, picture_, student_.config().text_dim);
    }
    const int64_t B = batch.size();
    const WanInput input{picture_[1], picture_[2], batch.latents.data(), batch.timesteps.data(), &batch.text};
    Buffer<float> velocity(B * n), dvelocity(B * n);
    {
      Stopwatch watch(&times_.forward);
      student_.forward(state_.weights.data(), input, activations_, velocity.data(), queue_);
      std::vector<double> errors(size_t(B), 0.0);
      kCpuOps.weighted_mse(B, n, velocity.data(), batch.target.data(), batch.weight.data(), errors.data(),
                           dvelocity.data(), queue_);
      for (int64_t b = 0; b < B; ++b) loss += errors[size_t(b)] * batch.weight[size_t(b)];
    }
    const bool last = at + micro >= end;
    Stopwatch watch(&times_.backward);
    student_.backward(
        state_.weights.data(), input, activations_, dvelocity.data(), gradients_.data(), queue_,
        last ? GradientsReady([&](size_t group) { buckets_.ready(int64_t(group)); }) : GradientsReady());
  }
  return loss;
}

StepResult Trainer::step() {
  session_.board().post(cat("training step ", state_.step + 1));
  const int64_t samples = int64_t(data_.training().size());
  if (order_epoch_ != state_.epoch) {
    const std::vector<int64_t> shuffled = permutation(options_.seed, uint64_t(state_.epoch), samples);
    order_.clear();
    for (int64_t i : shuffled) order_.push_back(data_.training()[size_t(i)]);
    order_epoch_ = state_.epoch;
  }
  const int64_t first = state_.position, global_batch = std::min(options_.batch_size, samples - first);
  const int64_t W = session_.world_size(), r = session_.rank();
  times_ = {};
  std::fill(gradients_.begin(), gradients_.end(), 0.0f);
  const double own_loss = accumulate(first, global_batch * r / W, global_batch * (r + 1) / W, global_batch);

  const double waited = buckets_.wait_seconds();
  buckets_.wait();
  times_.reduce_wait += buckets_.wait_seconds() - waited;

  // Rank 0's clock decides for all; a signal on any rank stops all at the same step.
  std::array<double, 3> shared = {own_loss, session_.is_root() ? elapsed_before_ + now() - started_ : 0.0,
                                  stop_.requested() ? 1.0 : 0.0};
  session_.sum(shared.data(), int64_t(shared.size()));

  StepResult result;
  std::optional<Stopwatch> optimizing(&times_.optimizer);
  result.samples = global_batch;
  result.loss = shared[0];
  result.lr = learning_rate();
  double squared_norm = 0;
  kCpuOps.squared_norm(gradients_.size(), gradients_.data(), &squared_norm, queue_);
  result.gradient_norm = std::sqrt(squared_norm);
  const AdamWStep step{.lr = float(result.lr),
                       .beta1 = float(options_.beta1),
                       .beta2 = float(options_.beta2),
                       .eps = float(options_.adam_eps),
                       .weight_decay = float(options_.weight_decay),
                       .clip = float(options_.clip),
                       .ema_decay = float(options_.ema_decay)};
  kCpuOps.plan_update(step, &result.loss, &squared_norm, &state_.update, queue_);
  kCpuOps.adamw(step, &state_.update, gradients_.size(), gradients_.data(), state_.weights.data(),
                state_.m.data(), state_.v.data(), state_.ema.data(), nullptr, queue_);
  result.skipped = state_.update.skip != 0;
  optimizing.reset();
  result.seconds = times_;
  ++state_.step;
  state_.position += global_batch;
  result.epoch_done = state_.position >= samples;
  if (result.epoch_done) {
    state_.position = 0;
    ++state_.epoch;
  }
  state_.elapsed = shared[1];
  result.stop = shared[2] > 0;
  if (state_.update.skipped_in_row >= options_.max_nonfinite)
    throw CollectiveError(cat("loss or gradient was not finite in ", state_.update.skipped_in_row,
                              " steps in a row (last: loss ", result.loss, ", gradient norm ",
                              result.gradient_norm, ", step ", state_.step,
                              "); lower --lr or --clip, or check the data"));
  return result;
}

ValidationResult Trainer::validate() {
  // Sums of squared error and of squared target: all, high noise, low noise, five bins.
  std::array<double, 16> sums{};
  const int64_t n = element_count(picture_), count = int64_t(data_.validation().size());
  const int64_t W = session_.world_size(), r = session_.rank(),
                micro = std::max<int64_t>(1, options_.batch_size / W);
  const LossSettings plain{.relative = false, .renoise_weight = 0, .flow_shift = 1, .seed = 0};
  WanActivations activations(Keep::kNothing);
  for (int64_t at = count * r / W; at < count * (r + 1) / W; at += micro) {
    const std::span samples(data_.validation().data() + at,
                            size_t(std::min(micro, count * (r + 1) / W - at)));
    const TrainingBatch batch = data_.load(samples, 1, plain, 0, 0, picture_, student_.config().text_dim);
    const int64_t B = batch.size();
    Buffer<float> velocity(B * n);
    student_.forward(state_.ema.data(),
                     {picture_[1], picture_[2], batch.latents.data(), batch.timesteps.data(), &batch.text},
                     activations, velocity.data(), queue_);
    std::vector<double> errors(size_t(B), 0.0);
    kCpuOps.weighted_mse(B, n, velocity.data(), batch.target.data(), batch.weight.data(), errors.data(),
                         nullptr, queue_);
    for (int64_t b = 0; b < B; ++b) {
      double square = 0;
      for (int64_t j = b * n; j < (b + 1) * n; ++j)
        square += double(batch.target[size_t(j)]) * batch.target[size_t(j)];
      const size_t expert = double(batch.timesteps[size_t(b)]) >= high_noise_from_ ? 1 : 2;
      const size_t bin = 3 + std::min<size_t>(4, size_t(5 * batch.sigmas[size_t(b)]));
      for (size_t k : {size_t(0), expert, bin}) {
        sums[2 * k] += errors[size_t(b)];
        sums[2 * k + 1] += square;
      }
    }
  }
  session_.sum(sums.data(), int64_t(sums.size()));
  const auto ratio = [&](size_t k) {
    return sums[2 * k + 1] > 0 ? sums[2 * k] / sums[2 * k + 1] : std::numeric_limits<double>::quiet_NaN();
  };
  ValidationResult result{.all = ratio(0), .high_noise = ratio(1), .low_noise = ratio(2), .sigma_bin = {}};
  for (size_t k = 0; k < result.sigma_bin.size(); ++k) result.sigma_bin[k] = ratio(3 + k);
  return result;
}

}  // namespace wandistill
