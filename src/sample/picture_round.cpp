#include "wandistill/picture_round.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <set>

#include "src/sample/picture_writer.h"
#include "src/sample/prompt_dealer.h"
#include "src/sample/round_limits.h"
#include "src/sample/round_report.h"
#include "wandistill/error.h"
#include "wandistill/fault.h"
#include "wandistill/fence.h"
#include "wandistill/picture_group.h"
#include "wandistill/rank_board.h"
#include "wandistill/stage.h"

namespace wandistill {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// This rank's part of a round.
class Drawing {
 public:
  Drawing(Session& session, const PictureRound& round, const PictureOptions& options, const StopSignals& stop,
          const Compute& compute, Progress* progress)
      : session_(session),
        round_(round),
        stop_(stop),
        compute_(compute),
        progress_(progress),
        limits_(round_limits(session, round, options, compute)),
        velocity_(round.model),
        writer_(int(options.png_compression)) {
    std::set<int64_t> there;
    for (const PictureRecord& record : round.there) {
      there.insert(record.prompt_index);
      taken_.insert(record.file);
    }
    for (int64_t prompt = 0; prompt < int64_t(round.prompts.size()); ++prompt)
      if (!there.contains(prompt)) todo_.push_back(prompt);
  }

  RoundResult run(Distribution distribution) {
    std::vector<double> costs;
    if (!round_.costs.empty())
      for (const int64_t prompt : todo_) costs.push_back(round_.costs[size_t(prompt)]);
    PromptDealer dealer(session_, int64_t(todo_.size()),
                        {.distribution = distribution,
                         .batch = limits_.batch,
                         .most_ranks = limits_.most_ranks,
                         .costs = costs});
    const double start = now();
    fault_point("start");
    while (auto assignment = next_of(dealer)) {
      if (assignment->ranks.size() > 1)
        draw_together(*assignment);
      else if (!stopped())
        draw(assignment->prompts);
    }
    writer_.finish();
    // A signal may come to a rank that has nothing left to draw.
    const double fence_wait = fence(session_, round_.what, 5, [this] { stopped(); }), seconds = now() - start;
    return report_round(
        session_, round_, take_records(),
        {.seconds = seconds, .busy = seconds - fence_wait - group_wait_, .fence_wait = fence_wait});
  }

 private:
  int64_t latent_count() const {
    return round_.model.transformer->config().out_channels * round_.h * round_.w;
  }

  bool stopped() { return stop_everywhere(session_, stop_); }
  bool stops_decode() {
    fault_point("decode");
    return stopped();
  }

  std::optional<Assignment> next_of(PromptDealer& dealer) {
    const double start = now();
    auto assignment = dealer.next();
    group_wait_ += now() - start;
    if (assignment)
      for (int64_t& prompt : assignment->prompts) prompt = todo_[size_t(prompt)];
    return assignment;
  }

  /// Draws prompts as one batch. A batch that fails as a whole (memory) is drawn again in halves.
  void draw(std::vector<int64_t> prompts) {
    std::vector<TextEmbedding> texts;
    std::vector<float> x;
    std::erase_if(prompts, [&](int64_t prompt) {
      return !attempt(prompt, [&] {
        fault_point("prompt", prompt);
        const std::vector<float> noise = round_.noise(prompt);
        TextEmbedding text = round_.text(prompt);
        x.reserve(x.size() + noise.size());  // text and noise are both there, or neither
        texts.push_back(std::move(text));
        x.insert(x.end(), noise.begin(), noise.end());
      });
    });
    if (prompts.empty()) return;
    const double start = now();
    try {
      std::vector<const TextEmbedding*> all;
      for (const TextEmbedding& text : texts) all.push_back(&text);
      fault_point("batch", int64_t(prompts.size()));
      if (!denoise(prompts, all, x.data(), [this] { return stopped(); })) return;
    } catch (const std::exception& error) {
      if (prompts.size() == 1) return failed(prompts.front(), error.what());
      print_line(cat("rank ", session_.rank(), ": ", prompts.size(),
                     " prompts at once failed, trying with half as many: ", error.what()));
      const auto middle = prompts.begin() + int64_t(prompts.size()) / 2;
      draw({prompts.begin(), middle});
      draw({middle, prompts.end()});
      return;
    }
    const double seconds = (now() - start) / double(prompts.size());
    const int64_t n = latent_count();
    for (size_t i = 0; i < prompts.size() && !stopped(); ++i) {
      attempt(prompts[i], [&] {
        const double decode_start = now();
        std::vector<float> x0(x.begin() + int64_t(i) * n, x.begin() + int64_t(i + 1) * n);
        check_latents(prompts[i], x0);
        session_.board().post(cat("prompt ", prompts[i], ", decoding"));
        std::optional<Image> image = decode_picture(*round_.vae, x0.data(), round_.h, round_.w, compute_,
                                                    limits_.tile_rows, [this] { return stops_decode(); });
        if (!image) return;
        write(prompts[i], std::move(*image), x0,
              {.batch = int64_t(prompts.size()),
               .denoise_seconds = seconds,
               .decode_seconds = now() - decode_start});
      });
    }
  }

  /// Draws one prompt with other ranks: all denoise a part of it and decode a band of its rows; the leader
  /// has text and noise and writes the picture. What fails on one member in the middle cannot be undone on
  /// the others and ends the job.
  void draw_together(const Assignment& assignment) {
    const int64_t prompt = assignment.prompts.front();
    try {
      const double wait_start = now();
      const WanConfig& config = round_.model.transformer->config();
      const PictureGroup group(session_, assignment.ranks, round_.model.guided(),
                               config.tokens(round_.h, round_.w));
      group_wait_ += now() - wait_start;
      TextEmbedding text;
      std::vector<float> x;
      const bool ready = !group.is_leader() || attempt(prompt, [&] {
        fault_point("prompt", prompt);
        x = round_.noise(prompt);
        text = round_.text(prompt);
      });
      if (group.any(!ready || stopped())) return;
      const double start = now();
      group.broadcast(&text.rows);
      group.broadcast(&x);
      text.tokens = int64_t(text.rows.size()) / config.text_dim;
      velocity_.set_group(&group);
      const bool whole = denoise({prompt}, {&text}, x.data(), [&] { return group.any(stopped()); });
      velocity_.set_group(nullptr);
      if (!whole) return;
      const double decode_start = now();
      session_.board().post(cat("prompt ", prompt, ", decoding"));
      std::string problem;
      // Every member has the same latents, and so the same answer.
      if (!try_to([&] { check_latents(prompt, x); }, &problem)) {
        if (group.is_leader()) failed(prompt, problem);
        return;
      }
      // A member that sees the stop gives up its band at once and waits here for the others, who see it too,
      // within a part of their decode; if all were done before, the picture is whole.
      std::optional<std::vector<uint8_t>> band;
      problem = "a helping rank could not decode its rows";
      const bool able = try_to([&] { band = decode_band(group, x); }, &problem);
      if (group.any(able && !band)) return;
      if (group.any(!able)) {
        if (group.is_leader()) failed(prompt, problem);
        return;
      }
      Image image{.width = round_.w * round_.vae->config().scale(),
                  .height = round_.h * round_.vae->config().scale(),
                  .rgb = group.gather(*band),
                  .text = {}};
      if (!group.is_leader()) return;
      write(prompt, std::move(image), x,
            {.helpers = group.size() - 1,
             .batch = 1,
             .denoise_seconds = decode_start - start,
             .decode_seconds = now() - decode_start});
    } catch (const std::exception& error) {
      session_.abort(cat("prompt ", prompt, ", drawn by several ranks together: ", error.what()));
    }
  }

  bool denoise(const std::vector<int64_t>& prompts, const std::vector<const TextEmbedding*>& texts, float* x,
               const std::function<bool()>& stop) {
    const Stage stage("sampling");
    const std::string whom =
        cat("prompt ", prompts.front(),
            prompts.size() > 1 ? cat(" and ", prompts.size() - 1, " more") : std::string());
    double step_start = now();
    const auto before_step = [&](int64_t i, float, const float*) {
      session_.board().post(cat(whom, ", denoising step ", i + 1, " of ", round_.sampling.steps));
      show_progress();
      return !stop();
    };
    const auto after_step = [&](int64_t, const GuidedOutput&) {
      fault_point("denoising", int64_t(1e6 * (now() - step_start)));
      step_start = now();
    };
    const Compute& compute = round_.model.compute ? *round_.model.compute : compute_;
    return sample_latents(velocity_, round_.sampling, texts, round_.h, round_.w, x, compute,
                          {before_step, after_step});
  }

  void check_latents(int64_t prompt, std::vector<float>& x0) const {
    if (fault_strikes("latents", prompt)) x0.front() = std::numeric_limits<float>::quiet_NaN();
    if (!std::all_of(x0.begin(), x0.end(), [](float value) { return std::isfinite(value); }))
      fail("the latents are not finite");
  }

  /// This member's rows of the picture.
  std::optional<std::vector<uint8_t>> decode_band(const PictureGroup& group, const std::vector<float>& x0) {
    const auto border = [&](int64_t member) { return round_.h * member / group.size(); };
    return decode_picture_rows(*round_.vae, x0.data(), round_.h, round_.w, border(group.rank()),
                               border(group.rank() + 1), compute_, limits_.tile_rows,
                               [this] { return stops_decode(); });
  }

  /// The measured part of a record.
  void write(int64_t prompt, Image image, const std::vector<float>& x0, PictureRecord record) {
    if (round_.keep_latents) round_.keep_latents(prompt, x0);
    const std::string name = round_.file_name(session_.rank(), index_of(prompt));
    image.text = {{"prompt", round_.prompts[size_t(prompt)]},
                  {"prompt_index", cat(prompt)},
                  {"seed", cat(round_.seed)}};
    image.text.insert(image.text.end(), round_.png_text.begin(), round_.png_text.end());
    writer_.push(round_.folder / name, std::move(image),
                 [this, prompt, name, record](double seconds, const std::string& error) mutable {
                   record.write_seconds = seconds;
                   if (error.empty()) {
                     record.file = name;
                     keep(prompt, record);
                   } else {
                     failed(prompt, error);
                   }
                 });
    session_.board().fetch_add(kPicturesDone, 1);
    show_progress();
  }

  /// Runs `work` for a prompt; false, and a record of the reason, if it throws.
  bool attempt(int64_t prompt, const std::function<void()>& work) {
    index_of(prompt);
    std::string problem;
    if (try_to(work, &problem)) return true;
    failed(prompt, problem);
    return false;
  }

  static bool try_to(const std::function<void()>& work, std::string* problem) {
    try {
      work();
      return true;
    } catch (const std::exception& error) {
      *problem = error.what();
      return false;
    }
  }

  /// Also called by the writer's thread.
  void failed(int64_t prompt, const std::string& reason) {
    print_line(cat("rank ", session_.rank(), ": no picture of prompt ", prompt, " '",
                   round_.prompts[size_t(prompt)], "': ", reason));
    PictureRecord record;
    record.error = reason;
    keep(prompt, record);
  }

  void keep(int64_t prompt, PictureRecord record) {
    record.prompt = round_.prompts[size_t(prompt)];
    record.prompt_index = prompt;
    record.seed = round_.seed;
    record.epoch = round_.epoch;
    record.step = round_.step;
    record.rank = session_.rank();
    const std::lock_guard lock(records_mutex_);
    records_.push_back(std::move(record));
  }

  std::vector<PictureRecord> take_records() { return std::move(records_); }

  /// Pictures are numbered in the order in which their rank comes to them, drawn or not; names that an
  /// earlier attempt gave are left out.
  int64_t index_of(int64_t prompt) {
    const auto [known, is_new] = indices_.try_emplace(prompt, next_index_);
    if (!is_new) return known->second;
    while (taken_.contains(round_.file_name(session_.rank(), next_index_))) ++next_index_;
    return known->second = next_index_++;
  }

  void show_progress() {
    if (!progress_) return;
    const int64_t done = session_.board().load(kPicturesDone);
    progress_->advance(done - shown_);
    shown_ = done;
  }

  Session& session_;
  const PictureRound& round_;
  const StopSignals& stop_;
  const Compute& compute_;
  Progress* progress_;
  RoundLimits limits_;
  GuidedVelocity velocity_;
  std::vector<int64_t> todo_;    // prompts
  std::set<std::string> taken_;  // names of pictures that are there
  std::map<int64_t, int64_t> indices_;
  int64_t next_index_ = 0;
  std::mutex records_mutex_;
  std::vector<PictureRecord> records_;  // of this rank
  double group_wait_ = 0;
  int64_t shown_ = 0;
  PictureWriter writer_;  // last: its thread uses the rest
};

}  // namespace

int64_t RoundResult::missing() const {
  return std::count_if(records.begin(), records.end(), [](const PictureRecord& r) { return r.file.empty(); });
}

RoundResult draw_pictures(Session& session, const PictureRound& round, const PictureOptions& options,
                          const StopSignals& stop, const Compute& compute, Progress* progress) {
  RoundResult result = Drawing(session, round, options, stop, compute, progress)
                           .run(parse_distribution(options.sample_distribution));
  result.stopped = session.any(stop.requested() || session.board().stop_raised());
  return result;
}

}  // namespace wandistill
