#include "src/teacher/cache_stage.h"

#include <thread>

#include "src/teacher/shard_writer.h"
#include "wandistill/error.h"
#include "wandistill/hash.h"
#include "wandistill/job_sizes.h"

namespace wandistill {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kShardSeconds =
    300;                            // a shard is written then though it is not full: what a killed job loses
constexpr double kLookSeconds = 1;  // between looks at what other jobs have done
constexpr double kNoticeSeconds = 60;  // between lines that say for whom this job waits
constexpr int64_t kUnwritten = 0;      // slot of the board: records computed and not yet in a shard

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

std::string claim_key(const std::string& kind, const std::string& name) {
  char digits[20];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(fnv1a(name)));
  return kind + "_" + digits;
}

CacheStage::CacheStage(const FillJob& job, std::string title, std::string what, std::string prefix,
                       std::vector<std::string> keys, int64_t batch)
    : job_(job),
      what_(std::move(what)),
      prefix_(std::move(prefix)),
      keys_(std::move(keys)),
      batch_(batch),
      progress_(std::move(title), int64_t(keys_.size()), what_, job.session.is_root() && !keys_.empty()) {}

bool CacheStage::run() {
  Session& session = job_.session;
  session.board().reset_slots(session);
  prepare();
  session.collectively([&] {
    try {
      take_and_compute();
    } catch (...) {
      session.board().raise_stop();  // what the others are computing would be of no use
      throw;
    }
  });
  job_.leases.release_all();
  const bool stopped_early = session.any(stopped());
  session.collectively([&] {
    job_.leases.look_anew();
    job_.cache.refresh();
  });
  show();
  progress_.finish();
  return !stopped_early;
}

void CacheStage::take_and_compute() {
  WorkList list(
      job_.leases, keys_, job_.session.rank(), job_.session.world_size(), [&] { job_.cache.refresh(); },
      [&](int64_t piece) { return present(piece); });
  while (!stopped()) {
    const std::vector<int64_t> taken = list.take(batch_);
    if (taken.empty()) {
      write_shard(&list);
      if (!wait_for_others(&list)) break;
      continue;
    }
    if (kept_.empty()) begun_ = Clock::now();
    if (!compute(taken)) break;
    kept_.insert(kept_.end(), taken.begin(), taken.end());
    job_.session.board().fetch_add(kUnwritten, int64_t(taken.size()));
    show();
    const int64_t count = int64_t(kept_.size()), bytes = kept_bytes();
    if (bytes + bytes / count * batch_ > job_.options.shard_mb << 20 || count + batch_ > kMostRecords ||
        seconds_since(begun_) > kShardSeconds)
      write_shard(&list);
  }
  write_shard(&list);
}

void CacheStage::write_shard(WorkList* list) {
  if (kept_.empty()) return;
  write_new_shard(job_.leases, job_.folder / prefix_, &next_number_, [&](H5File& file) { write(file); });
  drop();
  job_.cache.refresh();
  job_.session.board().fetch_add(kUnwritten, -int64_t(kept_.size()));
  list->release(kept_);
  kept_.clear();
}

/// True when there may be something to take; false when everything is in the folder, or other ranks of this
/// job are at it (the job's next collective call waits for them and says so), or a signal came.
bool CacheStage::wait_for_others(WorkList* list) {
  for (auto said = Clock::now();;) {
    const WorkList::Others others = list->others();
    show();
    if (others.free) return true;
    if (others.pieces == 0) return false;
    const std::string text =
        cat("waiting for ", others.pieces, " ", what_, " of another job (", others.who, ")");
    job_.session.board().post(text);
    if (job_.session.is_root() && seconds_since(said) > kNoticeSeconds) {
      print_line(text);
      said = Clock::now();
    }
    for (const auto looked = Clock::now(); seconds_since(looked) < kLookSeconds;) {
      if (stopped()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
}

void CacheStage::show(const std::string& note) {
  if (!job_.session.is_root()) return;
  if (job_.cache.shards() != shards_seen_) {
    shards_seen_ = job_.cache.shards();
    present_ = 0;
    for (int64_t piece = 0; piece < int64_t(keys_.size()); ++piece) present_ += present(piece);
  }
  // A shard that another rank has written is counted twice or not at all until it is seen.
  const int64_t done = std::min(present_ + job_.session.board().load(kUnwritten), int64_t(keys_.size()));
  progress_.advance(std::max<int64_t>(0, done - shown_), note);
  shown_ = std::max(shown_, done);
}

}  // namespace wandistill
