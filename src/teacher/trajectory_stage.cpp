#include "src/teacher/trajectory_stage.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "wandistill/error.h"
#include "wandistill/fault.h"
#include "wandistill/philox.h"
#include "wandistill/stage.h"

namespace wandistill {
namespace {

std::vector<std::string> keys(const std::vector<CacheItem>& items) {
  std::vector<std::string> keys;
  for (const CacheItem& item : items)
    keys.push_back(claim_key("trajectory", cat(item.prompt, "\n", item.repetition)));
  return keys;
}

Shape picture_of(const FillJob& job) {
  const auto [h, w] = job.teacher.latent_size(job.settings.height, job.settings.width);
  return {job.teacher.vae_config().z_dim, h, w};
}

}  // namespace

TrajectoryStage::TrajectoryStage(const FillJob& job, const std::vector<CacheItem>& items)
    : CacheStage(job, "teacher:", "trajectories", cat("shard_rank_", job.session.rank()), keys(items),
                 job.options.teacher_batch),
      items_(items),
      dtype_(parse_stored_dtype(job.settings.dtype)),
      picture_(picture_of(job)),
      sampling_{parse_sampler(job.settings.sampler), job.settings.steps, job.teacher.scheduler()} {
  sampling_.scheduler.flow_shift = job.settings.flow_shift;
}

void TrajectoryStage::prepare() {
  negative_ = job_.cache.read_text(job_.settings.negative_prompt);
  velocity_.emplace(job_.teacher.guided(job_.settings.guidance, job_.settings.guidance_2, &negative_));
}

/// The sampler runs once for all of them.
bool TrajectoryStage::compute(const std::vector<int64_t>& pieces) {
  const Stage stage("teacher");
  const int64_t B = int64_t(pieces.size()), P = sampling_.steps, size = element_count(picture_), n = B * size;
  std::vector<Trajectory> computed(pieces.size());
  std::vector<TextEmbedding> texts(pieces.size());
  std::vector<const TextEmbedding*> text;
  std::vector<float> x(size_t(n), 0.0f);
  for (int64_t b = 0; b < B; ++b) {
    Trajectory& record = computed[size_t(b)];
    record.item = items_[size_t(pieces[size_t(b)])];
    record.latents.resize(size_t(P * size));
    record.velocity.resize(size_t(P * size));
    texts[size_t(b)] = job_.cache.read_text(record.item.prompt);
    text.push_back(&texts[size_t(b)]);
    fill_gaussian(job_.settings.seed, record.item.noise_stream(), 0, size, x.data() + b * size);
  }
  std::vector<float> sigmas;
  Buffer<float> latents(n), cond(n), uncond(n);
  auto step_start = std::chrono::steady_clock::now();
  const auto keep_point = [&](int64_t i, float sigma, const float* at, const GuidedOutput& output) {
    job_.session.board().post(cat("teacher, ", B, " trajectories, denoising step ", i + 1, " of ", P));
    sigmas.push_back(sigma);
    download(job_.compute, latents.data(), at, n);
    download(job_.compute, cond.data(), output.cond, n);
    if (output.uncond) {
      download(job_.compute, uncond.data(), output.uncond, n);
      ref::guidance(n, output.guidance, cond.data(), uncond.data(), cond.data(), job_.compute.host());
    }
    for (int64_t b = 0; b < B; ++b) {
      std::copy_n(latents.data() + b * size, size, computed[size_t(b)].latents.begin() + i * size);
      std::copy_n(cond.data() + b * size, size, computed[size_t(b)].velocity.begin() + i * size);
    }
    const auto now = std::chrono::steady_clock::now();
    fault_point("denoising", std::chrono::duration_cast<std::chrono::microseconds>(now - step_start).count());
    step_start = std::chrono::steady_clock::now();
    show(cat("step ", i + 1, " of ", P));
    return !stopped();
  };
  if (!sample_latents(*velocity_, sampling_, text, picture_[1], picture_[2], x.data(), job_.compute,
                      keep_point))
    return false;
  sigmas_ = std::move(sigmas);
  for (int64_t b = 0; b < B; ++b) {
    finish(&computed[size_t(b)], x.data() + b * size);
    records_.push_back(std::move(computed[size_t(b)]));
  }
  return true;
}

void TrajectoryStage::finish(Trajectory* record, const float* x0) {
  record->x0.assign(x0, x0 + element_count(picture_));
  for (const float value : record->x0)
    if (!(std::abs(value) < 1e6f))
      fail("the teacher's latents are not finite for the prompt '", record->item.prompt,
           "'; check the teacher's weights and --guidance");
  record->round_to(dtype_);
  ++rounded_;
  for (const int kind : {0, 1}) {
    const double error = record->rounding[kind];
    rounding_squares_[kind] += error * error;
    rounding_most_[kind] = std::max(rounding_most_[kind], error);
  }
}

int64_t TrajectoryStage::kept_bytes() const {
  const int64_t numbers = (2 * sampling_.steps + 1) * element_count(picture_);
  return int64_t(records_.size()) * numbers * stored_bytes(dtype_);
}

void TrajectoryStage::write(H5File& file) {
  write_trajectories(file, job_.settings.to_json().dump(), dtype_, sigmas_, picture_, records_);
}

void TrajectoryStage::say_rounding() const {
  double sums[3] = {double(rounded_), rounding_squares_[0], rounding_squares_[1]};
  job_.session.sum(sums, 3);
  const double latents = job_.session.max(rounding_most_[0]), velocity = job_.session.max(rounding_most_[1]);
  if (!job_.session.is_root() || dtype_ == StoredDtype::kFloat32 || sums[0] == 0) return;
  print_line(cat("rounded to ", job_.settings.dtype, ": relative error of latents ",
                 std::sqrt(sums[1] / sums[0]), " (at most ", latents, " in a trajectory), of velocity ",
                 std::sqrt(sums[2] / sums[0]), " (", velocity, ")"));
}

}  // namespace wandistill
