// A training step on a device: the host enqueues it and waits for nothing.
#include <algorithm>
#include <cmath>

#include "mpi_test.h"
#include "src/gpu/simt_device.h"
#include "src/train/device_batch.h"
#include "src/train/optimizer.h"
#include "wandistill/device_ops.h"
#include "wandistill/philox.h"

namespace wandistill {
namespace {

const WanConfig kConfig{.heads = 2,
                        .head_dim = 16,
                        .layers = 2,
                        .ffn_dim = 64,
                        .in_channels = 4,
                        .out_channels = 4,
                        .text_dim = 32,
                        .freq_dim = 32};
constexpr int64_t kSide = 16, kPicture = 4 * kSide * kSide;  // of the latents
constexpr AdamWStep kStep{.lr = 1e-3f,
                          .beta1 = 0.9f,
                          .beta2 = 0.95f,
                          .eps = 1e-8f,
                          .weight_decay = 0.1f,
                          .clip = 1,
                          .ema_decay = 0.999f};

std::vector<float> gaussian(uint64_t seed, int64_t n) {
  std::vector<float> values(static_cast<size_t>(n));
  fill_gaussian(seed, 0, 0, n, values.data());
  return values;
}

TrainingBatch batch_of(int64_t samples, uint64_t seed) {
  TrainingBatch batch;
  batch.latents = gaussian(seed, samples * kPicture);
  batch.target = gaussian(seed + 1, samples * kPicture);
  for (int64_t b = 0; b < samples; ++b) batch.texts.push_back({100, gaussian(seed + 2, 100 * 32)});
  batch.sigmas.assign(static_cast<size_t>(samples), 0.5f);
  batch.timesteps.assign(batch.sigmas.size(), 500.0f);
  batch.weight.assign(batch.sigmas.size(), 1.0f / float(samples * kPicture));
  std::vector<const TextEmbedding*> texts;
  for (const TextEmbedding& text : batch.texts) texts.push_back(&text);
  batch.text = TextBatch::pack(texts, 32);
  return batch;
}

TEST_CASE("a training step on a device: the host waits for nothing while it enqueues it [any ranks]") {
  Session& s = test_session();
  const auto device = make_simt_device({});
  const auto& simt = dynamic_cast<const SimtDevice&>(*device);
  const auto stream = device->make_stream();
  Compute compute(1, *device, *stream, simt_ops<float>(), simt_ops<bf16>());
  const auto collectives = make_device_collectives(s, *device);
  compute.collectives = collectives.get();
  const WanTransformer student = compute.transformer(kConfig, Dtype::kBfloat16);
  const int64_t total = student.layout().total();
  TrainingState state;
  for (OpBuffer<float>* section : state.sections()) {
    *section = OpBuffer<float>(Buffer<float>(total));
    const std::vector<float> values = gaussian(1, total);
    for (int64_t i = 0; i < total; ++i) section->data()[i] = std::abs(values[size_t(i)]) * 0.1f;
  }
  const int64_t bucket_bytes = 1 << 16;
  Optimizer optimizer(s, compute, student.layout(), Dtype::kBfloat16, Shard::whole(total), bucket_bytes,
                      std::move(state));
  WanActivations activations(Keep::kAll);
  DeviceBatch batch;
  OpBuffer<double> errors(compute, 8);
  // Of the step before, as Trainer waits for it when the next is enqueued.
  const std::unique_ptr<Event> done[2] = {device->make_event(), device->make_event()};
  for (int step = 0; step < 4; ++step) {
    CAPTURE(step);
    // 8 samples are 165 KiB, more than the SIMT device takes of uploads that are not reserved.
    const TrainingBatch values = batch_of(8, uint64_t(10 * step + s.rank()));
    const int64_t before = simt.host_waits();
    batch.start_step();
    batch.load(compute, values, kPicture, kSide, kSide);
    student.forward(optimizer.weights(), batch.input(), activations, batch.velocity(), compute);
    compute.ops->weighted_mse(8, kPicture, batch.velocity(), batch.target(), batch.weight(), errors.data(),
                              batch.dvelocity(), compute);
    student.backward(optimizer.weights(), batch.input(), activations, batch.dvelocity(),
                     optimizer.gradients(), false, compute,
                     [&](size_t group) { optimizer.ready(int64_t(group)); });
    optimizer.wait_for_sums();
    optimizer.update(kStep);
    stream->record(*done[step % 2]);
    CHECK(simt.host_waits() == before);
    if (step > 0) collectives->wait(*done[(step - 1) % 2], "a training step");
  }
  collectives->wait(*done[1], "the last step");
  UpdateState update;
  double norm = 0;
  download(compute, &update, optimizer.update_state(), 1);
  download(compute, &norm, optimizer.squared_norm(), 1);
  CHECK(update.skipped == 0);
  CHECK(std::isfinite(norm));
  CHECK(norm > 0);
}

}  // namespace
}  // namespace wandistill
