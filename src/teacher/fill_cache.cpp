#include <algorithm>
#include <chrono>
#include <optional>
#include <random>
#include <thread>

#include "src/teacher/text_stage.h"
#include "src/teacher/trajectory_stage.h"
#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/teacher_cache.h"

namespace wandistill {
namespace fs = std::filesystem;
namespace {

/// A name for this job that no other has. Collective.
std::string job_name(const Session& session) {
  std::random_device random;
  char name[40];
  std::snprintf(name, sizeof name, "%08x%08x%08x%08x", random(), random(), random(), random());
  std::string text = name;
  session.broadcast(&text);
  return text;
}

/// Whether every rank sees what rank 0 has just put into the folder; network file systems may take a moment.
void check_shared(Session& session, Leases& leases) {
  constexpr auto kPatience = std::chrono::seconds(10);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  std::string name = leases.alive().filename().string();
  session.broadcast(&name);
  session.collectively([&] {
    const fs::path folder = leases.alive().parent_path();
    while (!fs::exists(folder / name)) {
      if (std::chrono::steady_clock::now() >= end)
        fail(folder.string(), ": on ", session.host(), " this is not the folder that rank 0 writes to: its ",
             name, " did not appear within ", kPatience.count(),
             " s; --cache_dir must be on a file system that all hosts mount");
      leases.look_anew();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
}

}  // namespace

bool fill_teacher_cache(Session& session, const fs::path& folder, const CacheSettings& settings,
                        Pipeline& teacher, const std::vector<std::string>& prompts,
                        const CacheOptions& options, const StopSignals& stop, const Compute& compute) {
  std::optional<TeacherCache> cache;
  std::vector<CacheItem> items;
  std::vector<std::string> texts;
  session.collectively([&] {
    make_directories(folder);
    cache.emplace(folder, settings);
    items = cache_items(prompts, options.repetitions);
    std::erase_if(items, [&](const CacheItem& item) { return cache->find(item) >= 0; });
    texts = prompts;
    const std::string& negative = settings.negative_prompt;
    if (!items.empty() && std::find(texts.begin(), texts.end(), negative) == texts.end())
      texts.push_back(negative);
    std::erase_if(texts, [&](const std::string& prompt) { return cache->has_text(prompt); });
  });
  const int64_t wanted = int64_t(prompts.size()) * options.repetitions;
  if (session.is_root())
    print_line(cat("teacher cache ", folder.string(), ": ", wanted - int64_t(items.size()), " of ", wanted,
                   " trajectories present"));
  session.barrier();  // nobody of this job writes before all have looked
  const bool texts_missing = session.any(!texts.empty()), items_missing = session.any(!items.empty());
  if (!texts_missing && !items_missing) {
    // Of a job that was killed behind its last piece.
    session.collectively([&] {
      if (session.is_root()) Leases::sweep_finished(folder, options.lease_seconds);
    });
    return true;
  }

  const std::string name = job_name(session);
  std::optional<Leases> leases;
  session.collectively([&] {
    leases.emplace(folder, options.lease_seconds, name, session.rank());
    if (session.is_root()) leases->sweep();
  });
  check_shared(session, *leases);
  const FillJob job{session, folder, settings, teacher, options, stop, compute, *cache, *leases};
  if (texts_missing && !TextStage(job, texts).run()) return false;
  if (!items_missing) return true;
  teacher.release_text_encoder();
  TrajectoryStage stage(job, items);
  const bool whole = stage.run();
  stage.say_rounding();
  return whole;
}

}  // namespace wandistill
