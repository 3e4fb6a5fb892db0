#include "src/train/optimizer.h"

#include <type_traits>

namespace wandistill {

Optimizer::Optimizer(Session& session, const Compute& compute, const ParameterLayout& layout, Dtype dtype,
                     Shard shard, int64_t bucket_bytes, TrainingState state)
    : session_(session),
      compute_(compute),
      shard_(std::move(shard)),
      state_(compute.on_host() ? std::move(state) : state.copied(compute.host(), compute)),
      update_(compute, 1),
      squared_norm_(compute, 1),
      gradients_(compute, layout.total()) {
  const bool shared = !shard_.is_whole();
  const std::vector<Range>& order = layout.gradient_order();
  if (shared) own_gradients_ = OpBuffer<float>(compute, shard_.size());
  float* const own = shared ? own_gradients_.data() : nullptr;
  if (compute.on_host())
    buckets_.emplace(session, gradients_.data(), order, bucket_bytes, own);
  else
    device_buckets_.emplace(*compute.collectives, *compute.device, gradients_.data(), order, bucket_bytes,
                            own);
  upload(compute, update_.data(), &state_.update, 1);
  if (dtype == Dtype::kBfloat16) {
    rounded_ = OpBuffer<bf16>(compute, layout.total());
    rounded_average_ = OpBuffer<bf16>(compute, layout.total());
    put_pieces(state_.weights, rounded_.data());
  } else if (shared) {
    all_weights_ = OpBuffer<float>(compute, layout.total());
    put_pieces(state_.weights, all_weights_.data());
  }
  if (!shared) return;
  gather_weights();
  wait_for_device("the weights of all ranks");
}

void Optimizer::ready(int64_t group) {
  if (buckets_)
    buckets_->ready(group);
  else
    device_buckets_->ready(group, *compute_.stream);
}

double Optimizer::wait_for_sums() {
  if (!buckets_) {
    device_buckets_->wait(*compute_.stream);
    return 0;
  }
  const double before = buckets_->wait_seconds();
  buckets_->wait();
  return buckets_->wait_seconds() - before;
}

void Optimizer::update(const AdamWStep& step) {
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
  converted_.changed();
}

WanWeights Optimizer::weights() {
  if (!rounded_.empty()) return rounded_.data();
  return {shard_.is_whole() ? state_.weights.data() : all_weights_.data(), &converted_};
}

const float* Optimizer::whole(size_t section) {
  const OpBuffer<float>& kept = *state_.sections()[section];
  if (shard_.is_whole()) return kept.data();
  put_pieces(kept, gradients_.data());
  gather(gradients_.data(), sizeof(float));
  // Ranks that do nothing with it would not wait for their part in it.
  wait_for_device("the state of all ranks");
  return gradients_.data();
}

WanWeights Optimizer::averaged_weights() {
  const float* average = whole(kEmaSection);
  converted_average_.changed();
  if (rounded_average_.empty()) return {average, &converted_average_};
  compute_.bf16_ops->narrow(gradients_.size(), average, rounded_average_.data(), compute_);
  return rounded_average_.data();
}

template <class T>
void Optimizer::put_pieces(const OpBuffer<float>& kept, T* flat) {
  for (const Shard::Piece& piece : shard_.pieces()) {
    const int64_t count = piece.own.size();
    if (count == 0) continue;
    if constexpr (std::is_same_v<T, float>)
      copy(compute_, flat + piece.own.begin, kept.data() + piece.at, count);
    else
      compute_.bf16_ops->narrow(count, kept.data() + piece.at, flat + piece.own.begin, compute_);
  }
}

void Optimizer::gather(void* flat, int64_t element_bytes) {
  if (shard_.is_whole()) return;
  if (compute_.on_host())
    gather_pieces(session_, shard_, static_cast<float*>(flat));
  else
    gather_pieces(*compute_.collectives, shard_, flat, element_bytes, *compute_.stream);
}

void Optimizer::gather_weights() {
  if (rounded_.empty())
    gather(all_weights_.data(), sizeof(float));
  else
    gather(rounded_.data(), sizeof(bf16));
}

void Optimizer::wait_for_device(const char* what) {
  if (compute_.on_host()) return;
  const std::unique_ptr<Event> done = compute_.device->make_event();
  compute_.stream->record(*done);
  compute_.collectives->wait(*done, what);
}

}  // namespace wandistill
