#include "wandistill/gradient_buckets.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "bucket_plan.h"
#include "wandistill/shard.h"

namespace wandistill {
namespace {

// Rejected: no pause (takes a core from the compute), 20 and 500 us (no better).
constexpr std::chrono::microseconds kPollInterval{100};
// Bytes of a sum that takes so many looks that the pauses between them count.
constexpr int64_t kLargeBytes = int64_t{1} << 20;
constexpr double kLookSeconds = 0.1;  // without a pause, of such a sum

}  // namespace

// Reductions progress only inside MPI calls, so a thread of our own makes these calls during the backward
// pass. Calls from ready() alone do about as well while ranges come often, but a long layer would stall them.
// Two ranks on two cores: 3.6 MB in 4 buckets, 19 ms of compute per step: wait() takes 0.3 ms, against 2.4 to
// 2.9 ms when the sums start after the backward pass. 48 MB in 24 buckets, 37 ms of compute: the step takes
// 60 ms against 105 ms; the summing itself needs a core's time, which no overlap hides.
struct GradientBuckets::Reduction {
  Reduction(const Session& over, float* of, BucketPlan cut)
      : session(over), comm(over.background()), gradients(of), plan(std::move(cut)) {}

  const Session& session;
  MPI_Comm comm;
  float* gradients;
  BucketPlan plan;  // without buckets in a world of one rank
  // Of a reduce-scatter: where the rank's piece of each bucket goes, and everybody's numbers.
  std::vector<float*> own;
  std::vector<std::vector<int>> counts;

  std::mutex mutex;  // guards all that follows
  std::condition_variable wake;
  std::vector<MPI_Request> running;
  bool drive = false;  // the thread is to drive `running`; else the main thread waits for them itself
  bool stop = false;
  std::thread thread;

  bool has_large_sums() const {
    for (int64_t i = 0; i < plan.count(); ++i)
      if (plan.bucket(i).size() * static_cast<int64_t>(sizeof(float)) >= kLargeBytes) return true;
    return false;
  }

  void start_ready() {
    for (int64_t next = plan.next(); next >= 0; next = plan.next()) {
      const Range& bucket = plan.bucket(next);
      const auto i = static_cast<size_t>(next);
      const std::lock_guard<std::mutex> lock(mutex);
      running.push_back(MPI_REQUEST_NULL);
      if (own.empty())
        WD_MPI(MPI_Iallreduce(MPI_IN_PLACE, gradients + bucket.begin, static_cast<int>(bucket.size()),
                              MPI_FLOAT, MPI_SUM, comm, &running.back()));
      else
        WD_MPI(MPI_Ireduce_scatter(gradients + bucket.begin, own[i], counts[i].data(), MPI_FLOAT, MPI_SUM,
                                   comm, &running.back()));
      if (!drive) {
        drive = true;
        wake.notify_one();
      }
    }
  }

  void run() {
    std::unique_lock<std::mutex> lock(mutex);
    while (true) {
      wake.wait(lock, [&] { return stop || drive; });
      if (stop) return;
      int done = 0;
      WD_MPI(MPI_Testall(static_cast<int>(running.size()), running.data(), &done, MPI_STATUSES_IGNORE));
      if (done) {
        running.clear();
        drive = false;
        continue;
      }
      lock.unlock();
      std::this_thread::sleep_for(kPollInterval);
      lock.lock();
    }
  }
};

GradientBuckets::GradientBuckets(const Session& session, float* gradients, const std::vector<Range>& order,
                                 int64_t bucket_bytes, float* own)
    : reduction_(std::make_unique<Reduction>(
          session, gradients,
          BucketPlan(session.world_size() == 1 ? std::vector<Range>() : order, bucket_bytes))) {
  Reduction& r = *reduction_;
  if (r.plan.count() == 0) return;
  if (own) {
    const int W = session.world_size();
    const Shard shard(order, bucket_bytes, W, session.rank());
    for (const Shard::Piece& piece : shard.pieces()) {
      r.own.push_back(own + piece.at);
      r.counts.emplace_back();
      for (int rank = 0; rank < W; ++rank)
        r.counts.back().push_back(static_cast<int>(piece_of(piece.bucket.size(), W, rank).size()));
    }
  }
  r.thread = std::thread([&r] { r.run(); });
}

GradientBuckets::~GradientBuckets() {
  if (!reduction_->thread.joinable()) return;
  {
    const std::lock_guard<std::mutex> lock(reduction_->mutex);
    reduction_->stop = true;
  }
  reduction_->wake.notify_one();
  reduction_->thread.join();
}

void GradientBuckets::ready(int64_t index) {
  Reduction& r = *reduction_;
  if (r.plan.count() == 0) return;
  r.plan.ready(index);
  r.start_ready();
}

void GradientBuckets::wait() {
  Reduction& r = *reduction_;
  if (r.plan.count() == 0) return;
  const double start = MPI_Wtime();
  r.plan.all_ready();
  r.start_ready();
  {
    const std::lock_guard<std::mutex> lock(r.mutex);
    const int count = static_cast<int>(r.running.size());
    const char* const what = "the gradients' all-reduce";
    const auto summed = [&] {
      int done = 0;
      WD_MPI(MPI_Testall(count, r.running.data(), &done, MPI_STATUSES_IGNORE));
      return done != 0;
    };
    if (r.has_large_sums()) {  // the ranks meet first: with all of them here there is no need to pause
      MPI_Request all_here;
      WD_MPI(MPI_Ibarrier(r.comm, &all_here));
      r.session.wait(&all_here, what);
      const auto summed_soon = [&] {
        const double look_until = MPI_Wtime() + kLookSeconds;
        while (!summed())
          if (MPI_Wtime() > look_until) return false;
        return true;
      };
      r.session.wait_until(summed_soon, what);
    } else {
      r.session.wait_until(summed, what);
    }
    r.running.clear();
    r.drive = false;
  }
  r.plan.start_again();
  wait_seconds_ += MPI_Wtime() - start;
}

int64_t GradientBuckets::bucket_count() const {
  return reduction_->plan.count();
}

}  // namespace wandistill
