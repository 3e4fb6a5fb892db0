// `wandistill train`: the whole job, from the teacher's folder to the student's.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "src/train/metrics.h"
#include "src/train/sample_round.h"
#include "src/train/trainer.h"
#include "wandistill/commands.h"
#include "wandistill/error.h"
#include "wandistill/export.h"
#include "wandistill/file.h"
#include "wandistill/progress.h"
#include "wandistill/projection.h"
#include "wandistill/prompts.h"
#include "wandistill/student_config.h"

namespace wandistill {
namespace fs = std::filesystem;
namespace {

constexpr int kRequeue = 85;          // stopped by a signal after a checkpoint: run the same command again
constexpr int64_t kSheetColumns = 8;  // epochs on the contact sheet
constexpr int64_t kDefaultSamplePrompts = 4;

/// One run of the job. Its members are built in the order in which the stages need them.
class TrainJob {
 public:
  TrainJob(Session& session, const TrainOptions& options, const std::string& effective_config)
      : session_(session), options_(options), effective_config_(effective_config), queue_{session.threads()} {}

  int run() {
    session_.collectively([&] { open(); });
    describe();
    if (!fill_teacher_cache(session_, cache_folder(), cache_settings(), *teacher_, prompts_, options_.repetitions,
                            options_.teacher_batch, stop_, queue_)) {
      say("stopped by a signal; the cache keeps what was computed, run the same command again to go on");
      return kRequeue;
    }
    session_.collectively([&] {
      cache_.emplace(cache_folder(), cache_settings());
      dataset_.emplace(*cache_, prompts_, options_.repetitions, options_.validation_fraction);
    });
    prepare_samples();
    TrainingState state = start_state();
    teacher_->release_experts();
    teacher_->release_text_encoder();
    if (!train(std::move(state))) {
      say("stopped by a signal after a checkpoint; run the same command again to go on");
      return kRequeue;
    }
    finish();
    return 0;
  }

 private:
  fs::path output() const { return options_.output_dir; }
  fs::path cache_folder() const { return options_.cache_dir.empty() ? output() / "cache" : fs::path(options_.cache_dir); }
  fs::path checkpoints() const { return output() / "checkpoints"; }
  fs::path best_checkpoint() const { return checkpoints() / "best.h5"; }

  void say(const std::string& text) const {
    if (session_.is_root()) std::fprintf(stderr, "%s\n", text.c_str());
  }

  double flow_shift() const {
    return options_.teacher.flow_shift > 0 ? options_.teacher.flow_shift : teacher_->scheduler().flow_shift;
  }

  CacheSettings cache_settings() const {
    return {.teacher_fingerprint = fingerprint_,
            .sampler = options_.teacher.teacher_sampler,
            .steps = options_.teacher.teacher_steps,
            .guidance = options_.teacher.guidance,
            .guidance_2 = options_.teacher.guidance_2,
            .flow_shift = flow_shift(),
            .negative_prompt = options_.teacher.negative_prompt,
            .height = student_config_.image_height,
            .width = student_config_.image_width,
            .seed = options_.seed};
  }

  SamplingSettings sampling(SamplerKind sampler, int64_t steps) const {
    SamplingSettings settings{sampler, steps, teacher_->scheduler()};
    settings.scheduler.flow_shift = flow_shift();
    return settings;
  }

  RunIdentity identity() const {
    return {student_->config().to_json(), options_.seed, options_.batch_size, int64_t(dataset_->training().size())};
  }

  /// Everything that can be wrong with the inputs is found here, before any work.
  void open() {
    teacher_.emplace(options_.teacher.teacher_path);
    student_config_ = StudentConfig::load(options_.student_config);
    student_config_.check_against_teacher(teacher_->transformer().config().text_dim, teacher_->vae_config().z_dim,
                                          teacher_->vae_config().scale());
    student_.emplace(student_config_.to_wan_config());
    std::tie(h_, w_) = teacher_->latent_size(student_config_.image_height, student_config_.image_width);
    prompts_ = read_prompts(options_.data_path);
    fingerprint_ = teacher_->fingerprint();
    make_directories(checkpoints());
    if (options_.save_samples) make_directories(sample_folder());
    if (session_.is_root()) write_file_atomically(output() / "config.ini", effective_config_);
  }

  fs::path sample_folder() const {
    return options_.sample_dir.empty() ? output() / "samples" : fs::path(options_.sample_dir);
  }

  void describe() const {
    const WanConfig& t = teacher_->transformer().config();
    const WanConfig& s = student_->config();
    const int64_t parameters = student_->layout().total();
    const int64_t share = (options_.batch_size + session_.world_size() - 1) / session_.world_size();
    const int64_t micro = options_.micro_batch > 0 ? std::min(options_.micro_batch, share) : share;
    const double activations = double(WanActivations::bytes(
        s, options_.gradient_checkpointing ? Keep::kBlockInputs : Keep::kAll, micro, s.tokens(h_, w_), micro * 64));
    say(session_.placement());
    say(cat("teacher ", teacher_->folder().string(), ": ", teacher_->two_experts() ? 2 : 1, " x ",
            teacher_->transformer().layout().total() / 1000 / 1000.0, " M parameters, ", t.layers, " layers of ",
            t.hidden()));
    say(cat("student: ", parameters / 1000 / 1000.0, " M parameters, ", s.layers, " layers of ", s.hidden(), ", ",
            student_config_.image_height, " x ", student_config_.image_width, " pixels, ", s.tokens(h_, w_), " tokens"));
    say(cat("memory per rank in training: weights, gradients, moments, average ", int64_t(parameters * 20 / 1e6),
            " MB; activations of ", micro, " samples about ", int64_t(activations / 1e6), " MB"));
    say(cat(prompts_.size(), " prompts from ", options_.data_path));
  }

  /// Encodes the sample prompts, and draws the teacher's own pictures of them unless they are there.
  void prepare_samples() {
    if (!options_.save_samples) return;
    std::vector<std::string> prompts = options_.sample_prompts;
    if (prompts.empty())
      prompts.assign(prompts_.begin(), prompts_.begin() + std::min<int64_t>(kDefaultSamplePrompts, int64_t(prompts_.size())));
    session_.collectively([&] {
      samples_.emplace(session_, *teacher_, prompts, sample_folder(), student_config_.image_height,
                       student_config_.image_width, options_.sample_seed, queue_);
    });
    if (samples_->have_teacher_pictures()) return;
    std::optional<TextEmbedding> negative;
    GuidedModel model;
    session_.collectively([&] {
      negative = teacher_->encode(options_.teacher.negative_prompt, queue_);
      model = teacher_->guided(options_.teacher.guidance, options_.teacher.guidance_2, &*negative);
      teacher_->vae();
    });
    samples_->draw(model, sampling(parse_sampler(options_.teacher.teacher_sampler), options_.teacher.teacher_steps),
                   {.teacher = true});
  }

  /// The newest good checkpoint, or the projection of the teacher.
  TrainingState start_state() {
    std::optional<TrainingState> state;
    session_.collectively([&] {
      if (options_.resume == "auto")
        state = newest_checkpoint();
      else if (options_.resume != "none")
        state = load_checkpoint(options_.resume, student_->layout(), identity());
      if (state) return;
      const int64_t n = student_->layout().total();
      state.emplace();
      state->weights = projected_weights();
      state->m = Buffer<float>::zeros(n);
      state->v = Buffer<float>::zeros(n);
      state->ema = Buffer<float>::copy_of(state->weights.data(), n);
    });
    if (state->step > 0) say(cat("resumed at step ", state->step, ", epoch ", state->epoch));
    return std::move(*state);
  }

  std::optional<TrainingState> newest_checkpoint() {
    const std::vector<fs::path> files = list_checkpoints(checkpoints());
    for (const fs::path& file : files) try {
        return load_checkpoint(file, student_->layout(), identity());
      } catch (const Error& error) {
        // A damaged file is passed over by name; one of another run, or nothing but damaged ones, is refused.
        if (std::string(error.what()).find("was made with") != std::string::npos || file == files.back()) throw;
        say(cat("skipping a checkpoint: ", error.what()));
      }
    return std::nullopt;
  }

  Buffer<float> projected_weights() {
    // A few dozen points spread over the training samples.
    constexpr int64_t kPoints = 64;
    const std::vector<TrainingSample>& samples = dataset_->training();
    const int64_t size = teacher_->vae_config().z_dim * h_ * w_;
    const int64_t count = std::min<int64_t>(kPoints, int64_t(samples.size()));
    Calibration calibration{.height = h_, .width = w_, .latents = std::vector<float>(size_t(count * size)), .timesteps = {},
                            .texts = {}};
    std::vector<TextEmbedding> texts;
    std::vector<float> velocity(size_t(size), 0.0f);
    for (int64_t i = 0; i < count; ++i) {
      const TrainingSample& s = samples[size_t(i * int64_t(samples.size()) / count)];
      // Another point of every trajectory, so that all sigmas are seen.
      const int64_t point = i % cache_->points();
      cache_->read_point(s.item, point, calibration.latents.data() + i * size, velocity.data());
      calibration.timesteps.push_back(1000 * cache_->sigmas()[size_t(point)]);
      texts.push_back(cache_->read_text(s.item));
    }
    for (const TextEmbedding& t : texts) calibration.texts.push_back(&t);
    return initial_student(parse_init(options_.init), teacher_->guided(1, 1, nullptr), *student_,
                           student_config_.projection_factor, calibration, options_.seed, queue_);
  }

  /// False if a signal stopped it.
  bool train(TrainingState start) {
    const LossSettings loss{.relative = options_.sigma_weighting == "relative",
                            .renoise_weight = options_.renoise_weight,
                            .flow_shift = flow_shift(),
                            .seed = options_.seed};
    const double high_noise_from = teacher_->two_experts() ? *teacher_->index().boundary_ratio * 1000 : 0;
    trainer_.emplace(session_, options_, *student_, *dataset_, Shape{teacher_->vae_config().z_dim, h_, w_}, loss,
                     high_noise_from, std::move(start), stop_, queue_);
    std::optional<MetricsFile> metrics;
    session_.collectively([&] { metrics.emplace(output() / "metrics.jsonl", session_.is_root()); });
    say(cat("training on ", dataset_->training().size(), " samples (", dataset_->validation().size(), " held out), ",
            trainer_->steps_per_epoch(), " steps per epoch, ", trainer_->total_steps(), " steps in all"));
    Progress progress("train", std::max<int64_t>(1, trainer_->total_steps() - trainer_->state().step), "steps",
                      session_.is_root());
    double epoch_loss = 0, epoch_start = wall(), sampling = 0;
    int64_t epoch_steps = 0, epoch_samples = 0;
    while (!trainer_->finished()) {
      const int64_t epoch = trainer_->state().epoch, position = trainer_->state().position;
      const double step_start = wall();
      const PhaseTimes before = trainer_->times();
      const StepResult step = trainer_->step();
      const TrainingState& state = trainer_->state();
      const bool epoch_done = state.epoch > epoch;
      const int64_t samples = (epoch_done ? int64_t(dataset_->training().size()) : state.position) - position;
      ++epoch_steps;
      epoch_samples += samples;
      epoch_loss += step.skipped ? 0 : step.loss;
      metrics->write(step_line(step, samples, wall() - step_start, before, trainer_->times()));
      if (step.skipped)
        say(cat("step ", state.step, ": loss or gradient is not finite; update skipped (", state.skipped, " so far)"));
      progress.advance(1, cat("loss ", rounded(step.loss)));
      if (step.stop) {
        save(state);
        return false;
      }
      if (!epoch_done && !trainer_->finished()) continue;

      const ValidationResult validation = trainer_->validate();
      const double seconds = wall() - epoch_start;
      const bool best = !(validation.all >= state.best_validation);  // without held-out prompts: the last one
      if (best) trainer_->state().best_validation = std::isfinite(validation.all) ? validation.all : 1e300;
      const bool last = trainer_->finished();
      const bool due = state.epoch % options_.checkpoint_interval == 0 || last;
      if (due || best) save(state, due, best);
      const int64_t shown_epoch = state.epoch + (epoch_done ? 0 : 1);  // an epoch cut short counts as itself
      sampling = 0;
      if (samples_ && (shown_epoch % options_.sample_interval == 0 || last)) sampling = draw_samples(shown_epoch);
      say(cat("epoch ", shown_epoch, ": loss ", rounded(epoch_loss / double(epoch_steps)), ", validation error ",
              rounded(validation.all), " (high noise ", rounded(validation.high_noise), ", low noise ",
              rounded(validation.low_noise), "), ", rounded(double(epoch_samples) / seconds), " samples/s",
              best ? ", best so far" : ""));
      metrics->write(epoch_line(shown_epoch, epoch_loss / double(epoch_steps), validation,
                                double(epoch_samples) / seconds, sampling));
      epoch_loss = 0;
      epoch_steps = epoch_samples = 0;
      epoch_start = wall();
    }
    progress.finish();
    return true;
  }

  static double wall() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  static std::string rounded(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", value);
    return text;
  }

  static Json step_line(const StepResult& step, int64_t samples, double seconds, const PhaseTimes& before,
                        const PhaseTimes& after, int64_t number) {
    return {{"step", number},
            {"loss", step.loss},
            {"gradient_norm", step.gradient_norm},
            {"lr", step.lr},
            {"skipped", step.skipped},
            {"samples_per_second", double(samples) / seconds},
            {"seconds",
             {{"data", after.data - before.data},
              {"forward", after.forward - before.forward},
              {"backward", after.backward - before.backward},
              {"all_reduce_wait", after.reduce_wait - before.reduce_wait},
              {"optimizer", after.optimizer - before.optimizer}}}};
  }
  Json step_line(const StepResult& step, int64_t samples, double seconds, const PhaseTimes& before,
                 const PhaseTimes& after) const {
    return step_line(step, samples, seconds, before, after, trainer_->state().step);
  }

  Json epoch_line(int64_t epoch, double loss, const ValidationResult& v, double rate, double sampling) const {
    return {{"epoch", epoch},
            {"step", trainer_->state().step},
            {"loss", loss},
            {"validation_error", v.all},
            {"validation_error_high_noise", v.high_noise},
            {"validation_error_low_noise", v.low_noise},
            {"validation_error_by_sigma", v.sigma_bin},
            {"samples_per_second", rate},
            {"sampling_seconds", sampling},
            {"skipped_updates", trainer_->state().skipped},
            {"elapsed_seconds", trainer_->state().elapsed}};
  }

  /// Seconds.
  double draw_samples(int64_t epoch) {
    const double start = wall();
    session_.collectively([&] { teacher_->vae(); });
    const GuidedModel model{.transformer = &*student_, .high_noise = trainer_->state().ema.data()};
    samples_->draw(model, sampling(SamplerKind::kDdim, options_.sample_steps),
                   {.epoch = epoch, .step = trainer_->state().step});
    return wall() - start;
  }

  void save(const TrainingState& state, bool numbered = true, bool best = false) {
    session_.collectively([&] {
      if (!session_.is_root()) return;
      if (numbered) {
        save_checkpoint(checkpoint_file(checkpoints(), state.step), student_->layout(), state, identity(),
                        effective_config_);
        prune_checkpoints(checkpoints(), options_.keep_checkpoints);
      }
      if (best) save_checkpoint(best_checkpoint(), student_->layout(), state, identity(), effective_config_);
    });
  }

  /// The student's folder, with the weights of the best checkpoint, and the contact sheet.
  void finish() {
    session_.collectively([&] {
      if (!session_.is_root()) return;
      if (samples_) samples_->write_contact_sheet(kSheetColumns);
      const bool have_best = fs::exists(best_checkpoint());
      const TrainingState best = have_best ? load_checkpoint(best_checkpoint(), student_->layout(), identity()) : TrainingState{};
      const TrainingState& chosen = have_best ? best : trainer_->state();
      ExportInfo info{.steps = options_.sample_steps,
                      .flow_shift = flow_shift(),
                      .height = student_config_.image_height,
                      .width = student_config_.image_width,
                      .teacher_name = fs::path(options_.teacher.teacher_path).filename().string(),
                      .training_facts = {},
                      .contact_sheet = samples_ ? samples_->contact_sheet() : fs::path()};
      info.training_facts = {{"parameters", cat(student_->layout().total())},
                             {"prompts", cat(prompts_.size())},
                             {"training samples", cat(dataset_->training().size())},
                             {"optimizer steps", cat(chosen.step)},
                             {"global batch", cat(options_.batch_size)},
                             {"initialised by", options_.init}};
      if (!dataset_->validation().empty())
        info.training_facts.emplace_back("validation error", rounded(chosen.best_validation));
      export_student(output() / "student", teacher_->folder(), *student_, chosen.ema.data(), info);
    });
    say(cat("student: ", (output() / "student").string()));
    if (samples_) say(cat("pictures: ", samples_->contact_sheet().string()));
  }

  Session& session_;
  const TrainOptions& options_;
  const std::string& effective_config_;
  Queue queue_;
  StopSignals stop_;
  std::optional<Pipeline> teacher_;
  StudentConfig student_config_;
  std::optional<WanTransformer> student_;
  int64_t h_ = 0, w_ = 0;
  uint64_t fingerprint_ = 0;
  std::vector<std::string> prompts_;
  std::optional<TeacherCache> cache_;
  std::optional<Dataset> dataset_;
  std::optional<SampleRound> samples_;
  std::optional<Trainer> trainer_;
};

}  // namespace

int run_train(Session& session, const TrainOptions& options, const std::string& effective_config) {
  return TrainJob(session, options, effective_config).run();
}

}  // namespace wandistill
