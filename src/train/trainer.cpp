#include "src/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

#include "wandistill/error.h"
#include "wandistill/fault.h"
#include "wandistill/philox.h"
#include "wandistill/stage.h"

namespace wandistill {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A stage that adds its seconds to `total`.
class TimedStage {
 public:
  TimedStage(const char* name, double* total) : stage_(name), total_(total), start_(now()) {}
  ~TimedStage() { *total_ += now() - start_; }

 private:
  Stage stage_;
  double* total_;
  double start_;
};

}  // namespace

/// Scalars of one step, on their way from the device; on the host they are there at once.
struct Trainer::ReadBack {
  StepOutcome outcome;        // what the host knows of it
  std::vector<float> weight;  // of this rank's samples in the loss
  OpBuffer<double> errors;    // [weight.size()], squared, of the samples
  PinnedBuffer<double> pinned_errors, pinned_norm;
  PinnedBuffer<UpdateState> pinned_update;
  std::unique_ptr<Event> ready;
  bool pending = false;

  void reserve(const Compute& compute, int64_t samples) {
    const bool grows = errors.size() < samples;
    if (grows) errors = OpBuffer<double>(compute, samples);
    if (compute.on_host()) return;
    if (grows) pinned_errors = PinnedBuffer<double>(*compute.device, samples);
    if (ready) return;
    pinned_norm = PinnedBuffer<double>(*compute.device, 1);
    pinned_update = PinnedBuffer<UpdateState>(*compute.device, 1);
    ready = compute.device->make_event();
  }
};

Shard optimizer_shard(const Session& session, const TrainOptions& options, const Compute& compute,
                      const ParameterLayout& layout) {
  if (options.zero == 0 || session.world_size() == 1) return Shard::whole(layout.total());
  return {layout.gradient_order(), Optimizer::bucket_bytes(compute), session.world_size(), session.rank()};
}

Trainer::Trainer(Session& session, const TrainOptions& options, const WanTransformer& student,
                 const Dataset& data, const Shape& picture, const LossSettings& loss, double high_noise_from,
                 TrainingState state, const StopSignals& stop, const Compute& compute)
    : session_(session),
      options_(options),
      student_(student),
      data_(data),
      picture_(picture),
      loss_(loss),
      high_noise_from_(high_noise_from),
      compute_(compute),
      optimizer_(session, compute, student.layout(), student.dtype(),
                 optimizer_shard(session, options, compute, student.layout()),
                 Optimizer::bucket_bytes(compute), std::move(state)),
      stop_(stop),
      activations_(options.gradient_checkpointing ? Keep::kBlockInputs : Keep::kAll),
      reader_(data, loss, picture, student.config().text_dim),
      steps_(std::make_unique<ReadBack[]>(2)),
      started_(now()),
      elapsed_before_(this->state().elapsed) {}

Trainer::~Trainer() = default;

int64_t Trainer::steps_per_epoch() const {
  const int64_t samples = int64_t(data_.training().size());
  return (samples + options_.batch_size - 1) / options_.batch_size;
}

int64_t Trainer::total_steps() const {
  const int64_t steps = options_.num_epochs * steps_per_epoch();
  return options_.num_steps > 0 ? std::min(steps, options_.num_steps) : steps;
}

bool Trainer::finished() const {
  return state().step >= total_steps() ||
         (options_.max_minutes > 0 && state().elapsed >= 60 * options_.max_minutes);
}

double Trainer::learning_rate() const {
  double progress = double(state().step) / double(std::max<int64_t>(1, total_steps()));
  if (options_.max_minutes > 0) progress = std::max(progress, state().elapsed / (60 * options_.max_minutes));
  const double warm =
      std::min(1.0, double(state().step + 1) / double(std::max<int64_t>(1, options_.warmup_steps)));
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * std::min(1.0, progress)));
  return options_.lr * warm * (options_.min_lr_ratio + (1 - options_.min_lr_ratio) * cosine);
}

Trainer::Share Trainer::share_from(int64_t first) const {
  const int64_t size = std::min(options_.batch_size, int64_t(data_.training().size()) - first);
  const int64_t W = session_.world_size(), r = session_.rank();
  return {first, size, size * r / W, size * (r + 1) / W};
}

BatchRequest Trainer::request(const Share& share, int64_t step, int64_t at) const {
  const int64_t end = options_.micro_batch > 0 ? std::min(at + options_.micro_batch, share.end) : share.end;
  const auto from = order_.begin() + share.first;
  return {.samples = {from + at, from + end}, .global_batch = share.size, .step = step, .first_position = at};
}

void Trainer::read_ahead(const Share& share, int64_t next) {
  if (compute_.on_host()) return;  // the cores are all taken
  if (next < share.end) return reader_.ahead(request(share, state().step, next));
  const Share after = share_from(share.first + share.size);
  if (after.begin < after.end) reader_.ahead(request(after, state().step + 1, after.begin));
}

void Trainer::accumulate(const Share& share, ReadBack* step) {
  const int64_t n = element_count(picture_);
  batch_.start_step();
  step->weight.clear();
  step->reserve(compute_, 2 * (share.end - share.begin));  // two terms of the loss at most
  for (int64_t at = share.begin, next = at; at < share.end; at = next) {
    TrainingBatch batch;
    {
      TimedStage stage("data", &times_.data);
      const BatchRequest wanted = request(share, state().step, at);
      batch = reader_.take(wanted);
      next = at + int64_t(wanted.samples.size());
      read_ahead(share, next);
      batch_.load(compute_, batch, n, picture_[1], picture_[2]);
    }
    {
      TimedStage stage("forward", &times_.forward);
      student_.forward(optimizer_.weights(), batch_.input(), activations_, batch_.velocity(), compute_);
      compute_.ops->weighted_mse(batch_.size(), n, batch_.velocity(), batch_.target(), batch_.weight(),
                                 step->errors.data() + step->weight.size(), batch_.dvelocity(), compute_);
      step->weight.insert(step->weight.end(), batch.weight.begin(), batch.weight.end());
    }
    const bool last = next >= share.end;
    TimedStage stage("backward", &times_.backward);
    student_.backward(
        optimizer_.weights(), batch_.input(), activations_, batch_.dvelocity(), optimizer_.gradients(),
        at != share.begin, compute_,
        last ? GradientsReady([&](size_t group) { optimizer_.ready(int64_t(group)); }) : GradientsReady());
  }
}

void Trainer::update(double lr) {
  optimizer_.update({.lr = float(lr),
                     .beta1 = float(options_.beta1),
                     .beta2 = float(options_.beta2),
                     .eps = float(options_.adam_eps),
                     .weight_decay = float(options_.weight_decay),
                     .clip = float(options_.clip),
                     .ema_decay = float(options_.ema_decay)});
}

void Trainer::read_back(ReadBack* step) {
  step->pending = true;
  if (compute_.on_host()) return;
  Stream& stream = *compute_.stream;
  copy(stream, step->pinned_errors.data(), step->errors.data(), int64_t(step->weight.size()));
  copy(stream, step->pinned_norm.data(), optimizer_.squared_norm(), 1);
  copy(stream, step->pinned_update.data(), optimizer_.update_state(), 1);
  stream.record(*step->ready);
}

double Trainer::own_loss(ReadBack* step) {
  if (!compute_.on_host()) compute_.collectives->wait(*step->ready, "a training step");
  const double* errors = compute_.on_host() ? step->errors.data() : step->pinned_errors.data();
  double loss = 0;
  for (size_t b = 0; b < step->weight.size(); ++b) loss += errors[b] * step->weight[b];
  return loss;
}

StepOutcome Trainer::conclude(ReadBack* step, double loss) {
  step->pending = false;
  state().update = compute_.on_host() ? *optimizer_.update_state() : *step->pinned_update.data();
  StepOutcome outcome = step->outcome;
  outcome.loss = loss;
  outcome.gradient_norm =
      std::sqrt(compute_.on_host() ? *optimizer_.squared_norm() : *step->pinned_norm.data());
  outcome.skipped = state().update.skip != 0;
  outcome.skipped_so_far = state().update.skipped;
  if (state().update.skipped_in_row >= options_.max_nonfinite)
    throw CollectiveError(cat("loss or gradient was not finite in ", state().update.skipped_in_row,
                              " steps in a row (last: loss ", outcome.loss, ", gradient norm ",
                              outcome.gradient_norm, ", step ", outcome.step,
                              "); lower --lr or --clip, or check the data"));
  return outcome;
}

StepResult Trainer::step() {
  const Stage stage("training step");
  const double start = now();
  session_.board().post(cat("training step ", state().step + 1));
  fault_point("step", state().step + 1);
  const int64_t samples = int64_t(data_.training().size());
  if (order_epoch_ != state().epoch) {
    const std::vector<int64_t> shuffled = permutation(options_.seed, uint64_t(state().epoch), samples);
    order_.clear();
    for (int64_t i : shuffled) order_.push_back(data_.training()[size_t(i)]);
    order_epoch_ = state().epoch;
  }
  const Share share = share_from(state().position);
  ReadBack &present = steps_[size_t(state().step % 2)], &before = steps_[size_t((state().step + 1) % 2)];
  times_ = {};
  if (share.begin == share.end) optimizer_.clear_gradients();
  accumulate(share, &present);

  {
    const Stage stage("all-reduce");  // what of it the backward pass did not hide
    times_.reduce_wait += optimizer_.wait_for_sums();
  }
  {
    TimedStage stage("optimizer", &times_.optimizer);
    present.outcome = {};
    present.outcome.step = state().step + 1;
    present.outcome.lr = learning_rate();
    present.outcome.samples = share.size;
    update(present.outcome.lr);
    read_back(&present);
  }

  // Rank 0's clock decides for all; a signal on any rank stops all at the same step.
  ReadBack* known = compute_.on_host() ? &present : before.pending ? &before : nullptr;
  std::array<double, 3> shared = {known ? own_loss(known) : 0.0,
                                  session_.is_root() ? elapsed_before_ + now() - started_ : 0.0,
                                  stop_.requested() ? 1.0 : 0.0};
  session_.sum(shared.data(), int64_t(shared.size()));
  present.outcome.seconds = times_;
  present.outcome.wall = now() - start;

  StepResult result;
  result.samples = share.size;
  result.stop = shared[2] > 0;
  ++state().step;
  state().position += share.size;
  result.epoch_done = state().position >= samples;
  if (result.epoch_done) {
    state().position = 0;
    ++state().epoch;
  }
  state().elapsed = shared[1];
  if (known) result.outcomes.push_back(conclude(known, shared[0]));
  if (present.pending && (result.epoch_done || result.stop || finished())) {
    double loss = own_loss(&present);
    session_.sum(&loss, 1);
    result.outcomes.push_back(conclude(&present, loss));
  }
  return result;
}

ValidationResult Trainer::validate() {
  reader_.drop();
  const Stage stage("validation");
  // Sums of squared error and of squared target: all, high noise, low noise, five bins.
  std::array<double, 16> sums{};
  const int64_t n = element_count(picture_), count = int64_t(data_.validation().size());
  const int64_t W = session_.world_size(), r = session_.rank(),
                micro = std::max<int64_t>(1, options_.batch_size / W);
  const LossSettings plain{.relative = false, .renoise_weight = 0, .flow_shift = 1, .seed = 0};
  const WanWeights average = optimizer_.averaged_weights();
  WanActivations activations(Keep::kNothing);
  DeviceBatch on_device;
  for (int64_t at = count * r / W; at < count * (r + 1) / W; at += micro) {
    const std::span samples(data_.validation().data() + at,
                            size_t(std::min(micro, count * (r + 1) / W - at)));
    const TrainingBatch batch = data_.load(samples, 1, plain, 0, 0, picture_, student_.config().text_dim);
    const int64_t B = batch.size();
    on_device.load(compute_, batch, n, picture_[1], picture_[2]);
    student_.forward(average, on_device.input(), activations, on_device.velocity(), compute_);
    OpBuffer<double> op_errors(compute_, B);
    compute_.ops->weighted_mse(B, n, on_device.velocity(), on_device.target(), on_device.weight(),
                               op_errors.data(), nullptr, compute_);
    std::vector<double> errors(size_t(B), 0.0);
    download(compute_, errors.data(), op_errors.data(), B);
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
