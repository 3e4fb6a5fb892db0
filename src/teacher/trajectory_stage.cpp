#include "src/teacher/trajectory_stage.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <memory>

#include "wandistill/error.h"
#include "wandistill/fault.h"
#include "wandistill/job_sizes.h"
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
      sampling_{parse_sampler(job.settings.sampler), job.settings.steps, job.teacher.scheduler()} {}

struct TrajectoryStage::Batch {
  std::vector<Trajectory> records;
  std::vector<TextEmbedding> texts;
  std::unique_ptr<SamplingRun> run;
};

void TrajectoryStage::prepare() {
  int64_t rows = 0;
  job_.session.collectively([&] {
    negative_ = job_.cache.read_text(job_.settings.negative_prompt);
    for (const CacheItem& item : items_) rows = std::max(rows, job_.cache.tokens(item.prompt));
  });
  const int64_t B = job_.options.teacher_batch;
  const bool guided = job_.settings.guidance > 1;
  job_.teacher.load_experts(
      &job_.session, teacher_placement_of(job_.options.placement),
      job_.teacher.bytes_beside(B, guided, picture_[1], picture_[2], B * (rows + negative_.tokens)));
  velocity_.emplace(job_.teacher.guided(job_.settings.guidance, job_.settings.guidance_2, &negative_));
  if (job_.teacher.experts_change_places()) claim_at_once(kBatchesPerExpert * B);
}

TrajectoryStage::Batch TrajectoryStage::start(std::span<const int64_t> pieces) {
  const int64_t B = int64_t(pieces.size()), size = element_count(picture_);
  Batch batch;
  batch.records.resize(pieces.size());
  std::vector<float> noise(size_t(B * size), 0.0f);
  for (int64_t b = 0; b < B; ++b) {
    Trajectory& record = batch.records[size_t(b)];
    record.item = items_[size_t(pieces[size_t(b)])];
    record.latents.resize(size_t(sampling_.steps * size));
    record.velocity.resize(size_t(sampling_.steps * size));
    batch.texts.push_back(job_.cache.read_text(record.item.prompt));
    fill_gaussian(job_.settings.seed, record.item.noise_stream(), 0, size, noise.data() + b * size);
  }
  std::vector<const TextEmbedding*> texts;
  for (const TextEmbedding& text : batch.texts) texts.push_back(&text);
  batch.run = std::make_unique<SamplingRun>(sampling_, std::move(texts), picture_[0], picture_[1],
                                            picture_[2], noise.data(), *velocity_->model().compute);
  return batch;
}

/// Keeps every point. False: a signal came.
bool TrajectoryStage::advance(Batch& batch, int64_t end) {
  const Compute& compute = *velocity_->model().compute;
  const int64_t B = int64_t(batch.records.size()), size = element_count(picture_), n = B * size;
  if (latents_.size() < n) latents_ = Buffer<float>(n), cond_ = Buffer<float>(n), uncond_ = Buffer<float>(n);
  auto step_start = std::chrono::steady_clock::now();
  const auto before_step = [&](int64_t i, float sigma, const float* at) {
    job_.session.board().post(
        cat("teacher, ", B, " trajectories, denoising step ", i + 1, " of ", sampling_.steps));
    sigmas_[size_t(i)] = sigma;
    download(compute, latents_.data(), at, n);
    for (int64_t b = 0; b < B; ++b)
      std::copy_n(latents_.data() + b * size, size, batch.records[size_t(b)].latents.begin() + i * size);
    return !stopped();
  };
  const auto after_step = [&](int64_t i, const GuidedOutput& output) {
    download(compute, cond_.data(), output.cond, n);
    if (output.uncond) {
      download(compute, uncond_.data(), output.uncond, n);
      ref::guidance(n, output.guidance, cond_.data(), uncond_.data(), cond_.data(), compute.host());
    }
    for (int64_t b = 0; b < B; ++b)
      std::copy_n(cond_.data() + b * size, size, batch.records[size_t(b)].velocity.begin() + i * size);
    const auto now = std::chrono::steady_clock::now();
    fault_point("denoising", std::chrono::duration_cast<std::chrono::microseconds>(now - step_start).count());
    step_start = std::chrono::steady_clock::now();
    show(cat("step ", i + 1, " of ", sampling_.steps));
  };
  return batch.run->advance(*velocity_, end, {before_step, after_step});
}

bool TrajectoryStage::compute(const std::vector<int64_t>& pieces) {
  const Stage stage("teacher");
  sigmas_.resize(size_t(sampling_.steps));
  std::vector<Batch> batches;
  const size_t at_once = size_t(job_.options.teacher_batch);
  for (size_t first = 0; first < pieces.size(); first += at_once)
    batches.push_back(start(std::span(pieces).subspan(first, std::min(at_once, pieces.size() - first))));
  int64_t high = 0;  // steps of the high-noise expert
  while (high < sampling_.steps && !velocity_->is_low(batches.front().run->timestep(high))) ++high;
  for (const int64_t end : {high, sampling_.steps})
    for (Batch& batch : batches)
      if (!advance(batch, end)) return false;
  std::vector<Trajectory> computed;
  for (Batch& batch : batches) {
    const int64_t size = element_count(picture_), B = int64_t(batch.records.size());
    std::vector<float> x0(size_t(B * size));
    batch.run->read(x0.data());
    for (int64_t b = 0; b < B; ++b) {
      finish(&batch.records[size_t(b)], x0.data() + b * size);
      computed.push_back(std::move(batch.records[size_t(b)]));
    }
  }
  std::move(computed.begin(), computed.end(), std::back_inserter(records_));
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
