#include "src/train/dataset.h"

#include <algorithm>
#include <cmath>

#include "wandistill/error.h"
#include "wandistill/fault.h"
#include "wandistill/hash.h"
#include "wandistill/philox.h"

namespace wandistill {

Dataset::Dataset(const TeacherCache& cache, const std::vector<std::string>& prompts, int64_t repetitions,
                 double validation_fraction)
    : cache_(cache) {
  // The prompts with the smallest hashes are held out.
  std::vector<std::pair<uint64_t, size_t>> order;
  for (size_t i = 0; i < prompts.size(); ++i) order.emplace_back(fnv1a(prompts[i]), i);
  std::sort(order.begin(), order.end());
  const size_t wanted = size_t(std::ceil(validation_fraction * double(prompts.size())));
  const size_t held_out = std::min(wanted, prompts.size() - 1);
  std::vector<bool> validates(prompts.size());
  for (size_t i = 0; i < held_out; ++i) validates[order[i].second] = true;
  for (size_t i = 0; i < prompts.size(); ++i)
    for (int64_t repetition = 0; repetition < repetitions; ++repetition) {
      const int64_t item = cache.find({prompts[i], repetition});
      if (item < 0) fail("the teacher cache has no trajectory for the prompt '", prompts[i], "'");
      for (int64_t point = 0; point < cache.points(); ++point)
        (validates[i] ? validation_ : training_).push_back({item, point});
    }
}

TrainingBatch Dataset::load(std::span<const TrainingSample> samples, int64_t global_batch,
                            const LossSettings& loss, int64_t step, int64_t first_position,
                            const Shape& picture, int64_t text_dim) const {
  const int64_t n = element_count(picture), terms = loss.renoise_weight > 0 ? 2 : 1;
  const int64_t B = int64_t(samples.size()) * terms;
  TrainingBatch batch;
  batch.latents.resize(size_t(B * n));
  batch.target.resize(size_t(B * n));
  std::vector<float> eps(size_t(n), 0.0f);
  for (size_t i = 0; i < samples.size(); ++i) {
    const TrainingSample& s = samples[i];
    fault_point("sample", s.item * cache_.points() + s.point);
    float* x = batch.latents.data() + batch.size() * n;
    float* target = batch.target.data() + batch.size() * n;
    cache_.read_point(s.item, s.point, x, target);
    batch.sigmas.push_back(cache_.sigmas()[size_t(s.point)]);
    batch.weight.push_back(1);
    batch.texts.push_back(cache_.read_text(s.item));
    if (terms == 1) continue;
    x += n;
    target += n;
    cache_.read_x0(s.item, x);
    // One uniform number and n normal ones for each (step, position in the global batch).
    const uint64_t stream = uint64_t(step) << 24 | uint64_t(first_position + int64_t(i));
    fault_point("noise", int64_t(stream));
    float u;
    fill_uniform(loss.seed, stream, n, 1, &u);
    fill_gaussian(loss.seed, stream, 0, n, eps.data());
    const float sigma = float(shift_sigma(u, loss.flow_shift));
    for (int64_t j = 0; j < n; ++j) {
      target[j] = eps[size_t(j)] - x[j];
      x[j] = (1 - sigma) * x[j] + sigma * eps[size_t(j)];
    }
    batch.sigmas.push_back(sigma);
    batch.weight.push_back(float(loss.renoise_weight));
    batch.texts.push_back(batch.texts.back());
  }
  for (int64_t b = 0; b < B; ++b) {
    batch.timesteps.push_back(1000 * batch.sigmas[size_t(b)]);
    double square = 0;
    for (int64_t j = b * n; j < (b + 1) * n; ++j)
      square += double(batch.target[size_t(j)]) * batch.target[size_t(j)];
    const double relative = loss.relative ? 1 / std::max(square / double(n), 1e-6) : 1;
    batch.weight[size_t(b)] *= float(relative / double(global_batch * n));
  }
  std::vector<const TextEmbedding*> texts;
  for (const TextEmbedding& t : batch.texts) texts.push_back(&t);
  batch.text = TextBatch::pack(texts, text_dim);
  return batch;
}

}  // namespace wandistill
