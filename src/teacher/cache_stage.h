// One stage of filling the teacher cache: the records of one kind that are missing, shared out by claims.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "src/teacher/leases.h"
#include "src/teacher/work_list.h"
#include "wandistill/progress.h"
#include "wandistill/teacher_cache.h"

namespace wandistill {

/// What all stages of one filling have in common.
struct FillJob {
  Session& session;
  const std::filesystem::path& folder;
  const CacheSettings& settings;
  Pipeline& teacher;
  const CacheOptions& options;
  const StopSignals& stop;
  const Compute& compute;
  TeacherCache& cache;
  Leases& leases;
};

/// The claim on a record: "KIND_<hash of its name>".
std::string claim_key(const std::string& kind, const std::string& name);

class CacheStage {
 public:
  CacheStage(const CacheStage&) = delete;
  virtual ~CacheStage() = default;
  /// Returns when every record is in the folder, whoever put it there; false if a signal came before.
  /// Collective.
  bool run();

 protected:
  /// keys: of the missing records; batch: how many a rank claims and computes at once; prefix: of the names
  /// of shards.
  CacheStage(const FillJob& job, std::string title, std::string what, std::string prefix,
             std::vector<std::string> keys, int64_t batch);

  /// Loads what computing needs. Collective.
  virtual void prepare() {}
  virtual bool present(int64_t piece) const = 0;
  /// Computes these records and keeps them for the next shard. False: a signal came, none of them is kept.
  virtual bool compute(const std::vector<int64_t>& pieces) = 0;
  /// Bytes in a shard of what is kept.
  virtual int64_t kept_bytes() const = 0;
  virtual void write(H5File& file) = 0;
  /// Nothing is kept any more.
  virtual void drop() = 0;

  /// So many records instead of a batch.
  void claim_at_once(int64_t records) { batch_ = records; }
  bool stopped() const { return stop_everywhere(job_.session, job_.stop); }
  /// Shows how far all ranks are together.
  void show(const std::string& note = "");

  const FillJob& job_;

 private:
  void take_and_compute();
  void write_shard(WorkList* list);
  bool wait_for_others(WorkList* list);

  std::string what_, prefix_;
  std::vector<std::string> keys_;
  int64_t batch_, next_number_ = 0;
  std::vector<int64_t> kept_;  // the pieces that are kept
  std::chrono::steady_clock::time_point begun_;
  Progress progress_;
  size_t shards_seen_ = 0;
  int64_t present_ = 0, shown_ = 0;
};

}  // namespace wandistill
