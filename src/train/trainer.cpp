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
  return {layout.gradient_order(), compute.on_host() ? kBucketBytes : kDeviceBucketBytes,
          session.world_size(), session.rank()};
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
      shard_(optimizer_shard(session, options, compute, student.layout())),
      state_(compute.on_host() ? std::move(state) : state.copied(compute.host(), compute)),
      stop_(stop),
      update_(compute, 1),
      squared_norm_(compute, 1),
      gradients_(compute, student.layout().total()),
      activations_(options.gradient_checkpointing ? Keep::kBlockInputs : Keep::kAll),
      reader_(data, loss, picture, student.config().text_dim),
      steps_(std::make_unique<ReadBack[]>(2)),
      started_(now()),
      elapsed_before_(state_.elapsed) {
  const std::vector<Range>& order = student.layout().gradient_order();
  const int64_t n = student.layout().total();
  if (!shard_.is_whole()) own_gradients_ = OpBuffer<float>(compute, shard_.size());
  float* const own = own_gradients_.empty() ? nullptr : own_gradients_.data();
  if (compute.on_host())
    buckets_.emplace(session, gradients_.data(), order, kBucketBytes, own);
  else
    device_buckets_.emplace(*compute.collectives, *compute.device, gradients_.data(), order,
                            kDeviceBucketBytes, own);
  upload(compute_, update_.data(), &state_.update, 1);
  if (student.dtype() == Dtype::kBfloat16) {
    rounded_ = OpBuffer<bf16>(compute, n);
    rounded_average_ = OpBuffer<bf16>(compute, n);
    put_pieces(state_.weights, rounded_.data());
  } else if (!shard_.is_whole()) {
    all_weights_ = OpBuffer<float>(compute, n);
    put_pieces(state_.weights, all_weights_.data());
  }
  if (shard_.is_whole()) return;
  gather_weights();
  wait_for_device("the weights of all ranks");
}

Trainer::~Trainer() = default;

template <class T>
void Trainer::put_pieces(const OpBuffer<float>& kept, T* flat) {
  for (const Shard::Piece& piece : shard_.pieces()) {
    const int64_t count = piece.own.size();
    if (count == 0) continue;
    if constexpr (std::is_same_v<T, float>)
      copy(compute_, flat + piece.own.begin, kept.data() + piece.at, count);
    else
      compute_.bf16_ops->narrow(count, kept.data() + piece.at, flat + piece.own.begin, compute_);
  }
}

void Trainer::gather_all(void* flat, int64_t element_bytes) {
  if (shard_.is_whole()) return;
  if (compute_.on_host())
    gather_pieces(session_, shard_, static_cast<float*>(flat));
  else
    gather_pieces(*compute_.collectives, shard_, flat, element_bytes, *compute_.stream);
}

void Trainer::gather_weights() {
  if (rounded_.empty())
    gather_all(all_weights_.data(), sizeof(float));
  else
    gather_all(rounded_.data(), sizeof(bf16));
}

void Trainer::wait_for_device(const char* what) {
  if (compute_.on_host()) return;
  const std::unique_ptr<Event> done = compute_.device->make_event();
  compute_.stream->record(*done);
  compute_.collectives->wait(*done, what);
}

const float* Trainer::whole(size_t section) {
  const OpBuffer<float>& kept = *state_.sections()[section];
  if (shard_.is_whole()) return kept.data();
  put_pieces(kept, gradients_.data());
  gather_all(gradients_.data(), sizeof(float));
  // Nobody but the ranks with work of their own would wait for it from here on.
  wait_for_device("the state of all ranks");
  return gradients_.data();
}

const void* Trainer::averaged_weights() {
  const float* average = whole(kEmaSection);
  if (rounded_average_.empty()) return average;
  compute_.bf16_ops->narrow(gradients_.size(), average, rounded_average_.data(), compute_);
  return rounded_average_.data();
}

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
  if (next < share.end) return reader_.ahead(request(share, state_.step, next));
  const Share after = share_from(share.first + share.size);
  if (after.begin < after.end) reader_.ahead(request(after, state_.step + 1, after.begin));
}

void Trainer::accumulate(const Share& share, ReadBack* step) {
  const int64_t n = element_count(picture_);
  step->weight.clear();
  step->reserve(compute_, 2 * (share.end - share.begin));  // two terms of the loss at most
  for (int64_t at = share.begin, next = at; at < share.end; at = next) {
    TrainingBatch batch;
    {
      TimedStage stage("data", &times_.data);
      const BatchRequest wanted = request(share, state_.step, at);
      batch = reader_.take(wanted);
      next = at + int64_t(wanted.samples.size());
      read_ahead(share, next);
      batch_.load(compute_, batch, n, picture_[1], picture_[2]);
    }
    {
      TimedStage stage("forward", &times_.forward);
      student_.forward(weights(), batch_.input(), activations_, batch_.velocity(), compute_);
      compute_.ops->weighted_mse(batch_.size(), n, batch_.velocity(), batch_.target(), batch_.weight(),
                                 step->errors.data() + step->weight.size(), batch_.dvelocity(), compute_);
      step->weight.insert(step->weight.end(), batch.weight.begin(), batch.weight.end());
    }
    const bool last = next >= share.end;
    TimedStage stage("backward", &times_.backward);
    student_.backward(weights(), batch_.input(), activations_, batch_.dvelocity(), gradients_.data(),
                      compute_,
                      last ? GradientsReady([&](size_t group) {
                        if (buckets_)
                          buckets_->ready(int64_t(group));
                        else
                          device_buckets_->ready(int64_t(group), *compute_.stream);
                      })
                           : GradientsReady());
  }
}

void Trainer::update(double lr) {
  const AdamWStep step{.lr = float(lr),
                       .beta1 = float(options_.beta1),
                       .beta2 = float(options_.beta2),
                       .eps = float(options_.adam_eps),
                       .weight_decay = float(options_.weight_decay),
                       .clip = float(options_.clip),
                       .ema_decay = float(options_.ema_decay)};
  const float* gradients = shard_.is_whole() ? gradients_.data() : own_gradients_.data();
  compute_.ops->squared_norm(shard_.size(), gradients, squared_norm_.data(), compute_);
  if (!shard_.is_whole()) {
    if (compute_.on_host())
      session_.sum(squared_norm_.data(), 1);
    else
      compute_.collectives->all_reduce_sum(squared_norm_.data(), 1, *compute_.stream);
  }
  compute_.ops->plan_update(step, squared_norm_.data(), update_.data(), compute_);
  const auto update_piece = [&](const Shard::Piece& piece, auto* adamw, auto* weights) {
    adamw(step, update_.data(), piece.own.size(), gradients + piece.at, state_.weights.data() + piece.at,
          state_.m.data() + piece.at, state_.v.data() + piece.at, state_.ema.data() + piece.at,
          weights ? weights + piece.own.begin : nullptr, compute_);
  };
  for (const Shard::Piece& piece : shard_.pieces()) {
    if (piece.own.size() == 0) continue;
    if (rounded_.empty())
      update_piece(piece, compute_.ops->adamw, all_weights_.data());
    else
      update_piece(piece, compute_.bf16_ops->adamw, rounded_.data());
  }
  gather_weights();
}

void Trainer::read_back(ReadBack* step) {
  step->pending = true;
  if (compute_.on_host()) return;
  Stream& stream = *compute_.stream;
  copy(stream, step->pinned_errors.data(), step->errors.data(), int64_t(step->weight.size()));
  copy(stream, step->pinned_norm.data(), squared_norm_.data(), 1);
  copy(stream, step->pinned_update.data(), update_.data(), 1);
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
  state_.update = compute_.on_host() ? *update_.data() : *step->pinned_update.data();
  StepOutcome outcome = step->outcome;
  outcome.loss = loss;
  outcome.gradient_norm = std::sqrt(compute_.on_host() ? *squared_norm_.data() : *step->pinned_norm.data());
  outcome.skipped = state_.update.skip != 0;
  outcome.skipped_so_far = state_.update.skipped;
  if (state_.update.skipped_in_row >= options_.max_nonfinite)
    throw CollectiveError(cat("loss or gradient was not finite in ", state_.update.skipped_in_row,
                              " steps in a row (last: loss ", outcome.loss, ", gradient norm ",
                              outcome.gradient_norm, ", step ", outcome.step,
                              "); lower --lr or --clip, or check the data"));
  return outcome;
}

StepResult Trainer::step() {
  const Stage stage("training step");
  const double start = now();
  session_.board().post(cat("training step ", state_.step + 1));
  fault_point("step", state_.step + 1);
  const int64_t samples = int64_t(data_.training().size());
  if (order_epoch_ != state_.epoch) {
    const std::vector<int64_t> shuffled = permutation(options_.seed, uint64_t(state_.epoch), samples);
    order_.clear();
    for (int64_t i : shuffled) order_.push_back(data_.training()[size_t(i)]);
    order_epoch_ = state_.epoch;
  }
  const Share share = share_from(state_.position);
  ReadBack &present = steps_[size_t(state_.step % 2)], &before = steps_[size_t((state_.step + 1) % 2)];
  times_ = {};
  fill_zero(compute_, gradients_.data(), gradients_.size());
  accumulate(share, &present);

  {
    const Stage stage("all-reduce");  // what of it the backward pass did not hide
    if (buckets_) {
      const double waited = buckets_->wait_seconds();
      buckets_->wait();
      times_.reduce_wait += buckets_->wait_seconds() - waited;
    } else {
      device_buckets_->wait(*compute_.stream);
    }
  }
  {
    TimedStage stage("optimizer", &times_.optimizer);
    present.outcome = {};
    present.outcome.step = state_.step + 1;
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
  ++state_.step;
  state_.position += share.size;
  result.epoch_done = state_.position >= samples;
  if (result.epoch_done) {
    state_.position = 0;
    ++state_.epoch;
  }
  state_.elapsed = shared[1];
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
  const void* average = averaged_weights();
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
