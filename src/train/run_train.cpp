// `wandistill train`: the whole job, from the teacher's folder to the student's.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "src/plan/this_machine.h"
#include "src/train/epoch_samples.h"
#include "src/train/event_log.h"
#include "src/train/run_checkpoints.h"
#include "src/train/run_settings.h"
#include "src/train/trainer.h"
#include "src/train/training_log.h"
#include "wandistill/commands.h"
#include "wandistill/dry_run.h"
#include "wandistill/error.h"
#include "wandistill/export.h"
#include "wandistill/file.h"
#include "wandistill/job_sizes.h"
#include "wandistill/plan.h"
#include "wandistill/preflight.h"
#include "wandistill/progress.h"
#include "wandistill/projection.h"
#include "wandistill/prompts.h"
#include "wandistill/student_config.h"

namespace wandistill {
namespace fs = std::filesystem;
namespace {

constexpr int kIncomplete = 3;        // --strict_samples, and a picture is missing
constexpr int kRequeue = 85;          // stopped by a signal after a checkpoint: run the same command again
constexpr int64_t kSheetColumns = 8;  // epochs on the contact sheet

/// Ends the run on every rank, which all throw it together.
struct EndOfRun {
  int code;
  std::string message;
};

/// One run of the job. Its members are built in the order in which the stages need them.
class TrainJob {
 public:
  TrainJob(Session& session, const TrainOptions& options, const std::string& effective_config)
      : session_(session),
        options_(options),
        effective_config_(effective_config),
        device_(session, options.device, options.pictures.conv),
        compute_(device_.compute()) {}

  int run() {
    try {
      const int code = stages();
      events_->add("end", {{"exit_code", code}});
      return code;
    } catch (const std::exception& error) {
      if (events_) events_->add("error", {{"error", error.what()}});
      throw;
    }
  }

 private:
  /// The exit code.
  int stages() {
    try {
      stop_before_the_end(session_, options_.time_margin, &stop_);
      session_.collectively([&] { open(); });
      session_.collectively([&] {
        if (session_.is_root()) describe();
      });
      fill_cache();
      prepare_samples();
      TrainingState state = start_state();
      teacher_->release_experts();
      teacher_->release_text_encoder();
      train(std::move(state));
      finish();
      return 0;
    } catch (const EndOfRun& end) {
      if (end.code == kRequeue) events_->add("signal", {{"message", end.message}});
      if (checkpoints_ && !checkpoints_->finish()) {
        say("stopped, and the last checkpoint could not be written: the same command goes on from an older "
            "one");
        return 1;
      }
      say(end.message);
      return end.code;
    }
  }

  fs::path output() const { return options_.output_dir; }
  fs::path cache_folder() const { return run_cache_folder(options_); }

  void say(const std::string& text) const {
    if (session_.is_root()) print_line(text);
  }

  std::string stopped(const char* rest) const { return cat("stopped ", stop_.reason(), rest); }

  SamplingSettings sampling(SamplerKind sampler, int64_t steps) const {
    return {sampler, steps, teacher_->scheduler()};
  }

  RunIdentity identity() const {
    return {student_->config().to_json(), options_.seed, options_.batch_size,
            int64_t(dataset_->training().size())};
  }

  /// Everything that can be wrong with the inputs is found here, before any work.
  void open() {
    teacher_placement_of(options_.cache.placement);  // do the options agree?
    teacher_.emplace(options_.teacher.teacher_path, compute_,
                     parse_teacher_dtype(options_.teacher.teacher_dtype));
    teacher_->set_schedule(options_.teacher.flow_shift, options_.teacher.boundary_ratio);
    student_config_ = StudentConfig::load(options_.student_config);
    student_config_.check_against_teacher(teacher_->transformer().config().text_dim,
                                          teacher_->vae_config().z_dim, teacher_->vae_config().scale());
    student_.emplace(
        compute_.transformer(student_config_.to_wan_config(), parse_dtype(options_.student_dtype)));
    std::tie(h_, w_) = teacher_->latent_size(student_config_.image_height, student_config_.image_width);
    prompts_ = read_prompts(options_.data_path);
    teacher_->vae(
        parse_vae_dtype(options_.pictures.vae_dtype));  // without pictures, for the export: is it whole?
    if (!options_.save_samples) teacher_->release_vae();
    fingerprint_ = teacher_->fingerprint();
    make_directories(output() / "checkpoints");
    if (options_.save_samples) make_directories(sample_folder());
    events_.emplace(output(), session_.is_root());
    if (session_.is_root()) begin();
  }

  /// For rank 0. Folders outside of output_dir may be another run's too: nothing is removed there.
  void begin() {
    int64_t removed = 0;
    for (const char* folder : {".", "cache", "checkpoints", "samples"})
      removed += int64_t(remove_temporaries(output() / folder).size());
    events_->add("start", {{"version", WANDISTILL_VERSION},
                           {"ranks", session_.world_size()},
                           {"placement", session_.placement()},
                           {"removed_temporary_files", removed}});
    write_file_atomically(output() / "config.ini", effective_config_);
  }

  fs::path sample_folder() const { return run_sample_folder(options_); }

  void describe() const {
    const WanConfig& t = teacher_->transformer().config();
    const WanConfig& s = student_->config();
    const int64_t parameters = student_->layout().total();
    say(session_.placement());
    say(cat("each rank computes on ", compute_.on_host() ? "its CPU cores" : device_.name(),
            ", the student in ", compute_.products(parse_dtype(options_.student_dtype)), ", the teacher in ",
            compute_.products(parse_teacher_dtype(options_.teacher.teacher_dtype))));
    say(cat("teacher ", teacher_->folder().string(), ": ", teacher_->two_experts() ? 2 : 1, " x ",
            teacher_->transformer().layout().total() / 1000 / 1000.0, " M parameters, ", t.layers,
            " layers of ", t.hidden()));
    say(cat("student: ", parameters / 1000 / 1000.0, " M parameters, ", s.layers, " layers of ", s.hidden(),
            ", ", student_config_.image_height, " x ", student_config_.image_width, " pixels, ",
            s.tokens(h_, w_), " tokens"));
    const Shard shard = optimizer_shard(session_, options_, compute_, student_->layout());
    if (options_.zero > 0)
      say(cat("the optimizer's state (moments, average, float32 weights) is ",
              shard.is_whole() ? std::string("one rank's alone")
                               : cat("shared by ", session_.world_size(), " ranks"),
              " (--zero ", options_.zero, ")"));
    PlanInput input = PlanInput::load(options_, 0);
    input.prompts = count_prompts(teacher_->folder(), prompts_, options_.teacher.negative_prompt);
    input.machine = this_machine(session_, device_.device());
    input.placement = teacher_placement_of(options_.cache.placement);
    say(memory_line(input, chosen_placement(input)));
    say(cat(prompts_.size(), " prompts from ", options_.data_path));
  }

  void fill_cache() {
    const double start = wall();
    const CacheSettings settings =
        run_cache_settings(options_, *teacher_, student_config_, fingerprint_,
                           choose_cache_dtype(session_, cache_folder(), options_.cache.cache_dtype));
    if (!fill_teacher_cache(session_, cache_folder(), settings, *teacher_, prompts_, options_.cache, stop_,
                            compute_))
      throw EndOfRun{kRequeue,
                     stopped("; the cache keeps what was computed, run the same command again to go on")};
    session_.collectively([&] {
      log_.emplace(output(), session_.is_root());
      log_->teacher(wall() - start);
      cache_.emplace(cache_folder(), settings);
      dataset_.emplace(*cache_, prompts_, options_.cache.repetitions, options_.validation_fraction);
    });
  }

  /// Encodes the sample prompts, and draws the teacher's own pictures of them unless they are there.
  void prepare_samples() {
    if (!options_.save_samples) return;
    std::vector<std::string> prompts = options_.sample_prompts;
    if (prompts.empty())
      prompts.assign(prompts_.begin(),
                     prompts_.begin() + std::min<int64_t>(kDefaultSamplePrompts, int64_t(prompts_.size())));
    teacher_->load_text_encoder(&session_);
    session_.collectively([&] {
      samples_.emplace(session_, *teacher_, options_, prompts, sample_folder(), log_->path(), h_, w_, stop_,
                       compute_);
    });
    TextEmbedding negative;
    session_.collectively([&] { negative = teacher_->encode(options_.teacher.negative_prompt); });
    teacher_->release_text_encoder();
    if (samples_->have({.teacher = true})) return;
    teacher_->load_experts(
        &session_, teacher_placement_of(options_.cache.placement),
        teacher_->bytes_beside(1, options_.teacher.guidance > 1, h_, w_, 2 * kTextPositions));
    draw(teacher_->guided(options_.teacher.guidance, options_.teacher.guidance_2, &negative),
         sampling(parse_sampler(options_.teacher.teacher_sampler), options_.teacher.teacher_steps),
         {.teacher = true});
  }

  void draw(const GuidedModel& model, const SamplingSettings& settings, const EpochSamples::Label& label) {
    const double start = wall();
    const RoundResult result = samples_->draw(model, settings, label);
    log_->samples(label.text(), wall() - start, result);
    if (!result.stopped) log_->pictures(result.records, samples_->folder());
    if (result.missing() > 0 && !result.stopped)
      events_->add("missing_pictures", {{"samples_of_epoch", label.text()}, {"missing", result.missing()}});
    if (result.stopped)
      throw EndOfRun{kRequeue, stopped(" while drawing pictures; run the same command again to go on")};
    if (options_.strict_samples && result.missing() > 0)
      throw EndOfRun{kIncomplete, "pictures are missing, and --strict_samples ends the run"};
  }

  /// The newest good checkpoint, or the projection of the teacher.
  TrainingState start_state() {
    std::optional<TrainingState> state;
    const Shard shard = optimizer_shard(session_, options_, compute_, student_->layout());
    session_.collectively([&] {
      checkpoints_.emplace(session_, compute_, options_, student_->layout(), identity(), effective_config_,
                           *events_);
      state = checkpoints_->load(shard);
    });
    const double found = state ? double(state->step) : -1;
    if (session_.any(found != session_.max(found)))
      throw CollectiveError(
          cat("the ranks found different checkpoints in ", output().string(),
              "/checkpoints; --output_dir must be on a file system that all of them share"));
    if (!state) {
      const WanWeights expert = options_.init == "random" ? WanWeights() : teacher_->main_expert(&session_);
      session_.collectively([&] {
        if (session_.is_root()) checkpoints_->remove_all();
        const int64_t n = shard.size();
        state.emplace();
        Buffer<float> weights = shard.kept(projected_weights(expert));
        state->m = OpBuffer<float>(Buffer<float>::zeros(n));
        state->v = OpBuffer<float>(Buffer<float>::zeros(n));
        state->ema = OpBuffer<float>(Buffer<float>::copy_of(weights.data(), n));
        state->weights = OpBuffer<float>(std::move(weights));
      });
    }
    session_.collectively([&] {
      log_->start_at(state->step);
      if (!samples_ || !session_.is_root()) return;
      samples_->start_after(state->step == 0 ? -1 : sample_epoch(*state));
      if (state->step == 0) log_->pictures(samples_->teacher_records(), samples_->folder());
    });
    if (state->step > 0) say(cat("resumed at step ", state->step, ", epoch ", state->epoch));
    return std::move(*state);
  }

  Buffer<float> projected_weights(const WanWeights& expert) {
    // A few dozen points spread over the training samples.
    const std::vector<TrainingSample>& samples = dataset_->training();
    const int64_t size = teacher_->vae_config().z_dim * h_ * w_;
    const int64_t count = std::min<int64_t>(kCalibrationPoints, int64_t(samples.size()));
    Calibration calibration{.height = h_,
                            .width = w_,
                            .latents = std::vector<float>(size_t(count * size)),
                            .timesteps = {},
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
    return initial_student(parse_init(options_.init), teacher_->transformer(), expert, *student_,
                           student_config_.projection_factor, calibration, options_.seed, compute_.host(),
                           &session_);
  }

  void train(TrainingState start) {
    const LossSettings loss{.relative = options_.sigma_weighting == "relative",
                            .renoise_weight = options_.renoise_weight,
                            .flow_shift = teacher_->scheduler().flow_shift,
                            .seed = options_.seed};
    const double high_noise_from = teacher_->two_experts() ? *teacher_->index().boundary_ratio * 1000 : 0;
    trainer_.emplace(session_, options_, *student_, *dataset_, Shape{teacher_->vae_config().z_dim, h_, w_},
                     loss, high_noise_from, std::move(start), stop_, compute_);
    say(cat("training on ", dataset_->training().size(), " samples (", dataset_->validation().size(),
            " held out), ", trainer_->steps_per_epoch(), " steps per epoch, ", trainer_->total_steps(),
            " steps in all"));
    const double time_left =
        options_.max_minutes > 0 ? std::max(1.0, 60 * options_.max_minutes - trainer_->state().elapsed) : 0;
    Progress progress("train", std::max<int64_t>(1, trainer_->total_steps() - trainer_->state().step),
                      "steps", session_.is_root(), time_left);
    // Pictures of the start: what the projection alone can do, and proof that sampling works before hours are
    // spent.
    // Or those of the epoch after which the run was stopped.
    const TrainingState& first = trainer_->state();
    const bool between_epochs = first.position == 0 || trainer_->finished();
    const int64_t epoch = sample_epoch(first);
    if (samples_ && between_epochs && samples_due(epoch) &&
        (first.step == 0 || !samples_->have({.epoch = epoch})))
      draw_samples(epoch);
    EpochSummary summary;
    double epoch_start = wall();
    while (!trainer_->finished()) {
      const StepResult step = trainer_->step();
      summary.samples += step.samples;
      for (const StepOutcome& outcome : step.outcomes) {
        if (!outcome.skipped) {
          ++summary.steps;
          summary.loss += (outcome.loss - summary.loss) / double(summary.steps);
        }
        log_->step(outcome);
        if (outcome.skipped)
          events_->add(
              "skipped_update",
              {{"step", outcome.step}, {"loss", outcome.loss}, {"gradient_norm", outcome.gradient_norm}});
        progress.advance(1, cat("loss ", short_number(outcome.loss)));
      }
      // After an epoch's last step the epoch is ended though a signal came: the resumed run would not do it.
      if (step.epoch_done || trainer_->finished()) {
        end_epoch(step, epoch_start, &summary);
        summary = {};
        epoch_start = wall();
      } else if (step.stop) {
        save(true, false);
      }
      checkpoints_->poll();
      if (step.stop && !trainer_->finished())
        throw EndOfRun{kRequeue, stopped(" after a checkpoint; run the same command again to go on")};
    }
    progress.finish();
  }

  /// The epoch that the pictures of this state are of; one cut short counts as itself.
  static int64_t sample_epoch(const TrainingState& state) {
    return state.epoch + (state.position > 0 ? 1 : 0);
  }
  bool samples_due(int64_t epoch) const {
    return trainer_->finished() || epoch % options_.sample_interval == 0;
  }

  /// Validation, checkpoint, pictures, log.
  void end_epoch(const StepResult& step, double epoch_start, EpochSummary* summary) {
    TrainingState& state = trainer_->state();
    const bool last = trainer_->finished();
    summary->epoch = state.epoch + (step.epoch_done ? 0 : 1);  // one cut short counts as itself
    summary->validation = trainer_->validate();
    const double error = summary->validation.all;
    // Where no prompt is held out there is no error: the last epoch is the best.
    summary->best = dataset_->validation().empty() || error < state.best_validation;
    if (error < state.best_validation) state.best_validation = error;
    const bool saved = last || step.stop || checkpoints_->due(state.epoch);
    summary->seconds = wall() - epoch_start;
    log_->epoch(state, *summary);  // first: a run that goes on from this checkpoint does not do it again
    save(saved, summary->best);
    if (!samples_ || !samples_due(summary->epoch)) return;
    try {
      draw_samples(summary->epoch);
    } catch (const EndOfRun&) {
      if (!saved) save(true, false);
      throw;
    }
  }

  void save(bool numbered, bool best) {
    checkpoints_->save(
        trainer_->state(), [&](size_t section) { return trainer_->optimizer().whole(section); }, numbered,
        best);
  }

  static double wall() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  void draw_samples(int64_t epoch) {
    draw({.transformer = &*student_, .high_noise = trainer_->optimizer().averaged_weights()},
         sampling(SamplerKind::kDdim, options_.sample_steps),
         {.epoch = epoch, .step = trainer_->state().step});
  }

  /// Where it is; nowhere if it cannot be written (a full disk, say): that is reported, and the student does
  /// without.
  fs::path contact_sheet() {
    if (!samples_) return {};
    const fs::path file = samples_->contact_sheet();
    try {
      samples_->write_contact_sheet(kSheetColumns);
      return file;
    } catch (const std::exception& error) {
      events_->add("failed_write", {{"file", file.string()}, {"error", error.what()}});
      print_line(cat("there is no new contact sheet: ", error.what()));
      return {};
    }
  }

  /// The student's folder, with the weights of the best checkpoint, and the contact sheet.
  void finish() {
    checkpoints_->finish();
    const bool best = session_.any(session_.is_root() && checkpoints_->have_best());
    const float* last = best ? nullptr : trainer_->optimizer().whole(kEmaSection);
    session_.collectively([&] {
      if (!session_.is_root()) return;
      TrainingState chosen;
      if (best) {
        chosen = checkpoints_->load_best();
      } else {
        static_cast<TrainingCounters&>(chosen) = trainer_->state();
        Buffer<float> average(student_->layout().total());
        download(compute_, average.data(), last, average.size());
        chosen.ema = OpBuffer<float>(std::move(average));
      }
      ExportInfo info{.steps = options_.sample_steps,
                      .flow_shift = teacher_->scheduler().flow_shift,
                      .height = student_config_.image_height,
                      .width = student_config_.image_width,
                      .teacher_name = fs::path(options_.teacher.teacher_path).filename().string(),
                      .example_prompt = options_.sample_prompts.empty() ? prompts_.front()
                                                                        : options_.sample_prompts.front(),
                      .training_facts = {},
                      .contact_sheet = contact_sheet()};
      info.training_facts = {{"parameters", cat(student_->layout().total())},
                             {"prompts", cat(prompts_.size())},
                             {"training samples", cat(dataset_->training().size())},
                             {"optimizer steps", cat(chosen.step)},
                             {"global batch", cat(options_.batch_size)},
                             {"initialised by", options_.init}};
      if (!dataset_->validation().empty())
        info.training_facts.emplace_back("validation error", short_number(chosen.best_validation));
      export_student(output() / "student", teacher_->folder(), *student_, chosen.ema.data(), info);
    });
    say(cat("student: ", (output() / "student").string()));
    if (samples_) say(cat("pictures: ", samples_->page().string(), " and contact_sheet.png beside it"));
  }

  Session& session_;
  const TrainOptions& options_;
  const std::string& effective_config_;
  const ComputeDevice device_;
  const Compute& compute_;
  StopSignals stop_;
  std::optional<Pipeline> teacher_;
  StudentConfig student_config_;
  std::optional<WanTransformer> student_;
  int64_t h_ = 0, w_ = 0;
  uint64_t fingerprint_ = 0;
  std::vector<std::string> prompts_;
  std::optional<TeacherCache> cache_;
  std::optional<Dataset> dataset_;
  std::optional<EpochSamples> samples_;
  std::optional<TrainingLog> log_;
  std::optional<EventLog> events_;
  std::optional<RunCheckpoints> checkpoints_;
  std::optional<Trainer> trainer_;
};

}  // namespace

int run_train(Session& session, const TrainOptions& options, const std::string& effective_config) {
  if (options.dry_run) return dry_run_train(session, options);
  session.set_collective_timeout(options.pictures.fence_timeout);
  preflight(session, options.device, run_folders(options));
  return TrainJob(session, options, effective_config).run();
}

}  // namespace wandistill
