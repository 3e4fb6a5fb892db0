// `wandistill cache verify`.
#include <iostream>
#include <optional>
#include <set>

#include "src/teacher/shard_check.h"
#include "wandistill/commands.h"
#include "wandistill/error.h"
#include "wandistill/progress.h"
#include "wandistill/prompts.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

constexpr int kIncomplete = 3;

struct Totals {
  int64_t trajectories = 0, texts = 0, damaged_shards = 0, lost = 0;
};

/// What this rank found in its share of the shards.
struct Findings {
  Totals totals;
  std::string lines;
  std::vector<uint64_t> items;  // hashes of the intact trajectories
};

Findings check_shards(const Session& session, const std::vector<fs::path>& files, const Leases* repairs) {
  Findings found;
  Progress progress(
      "verify, share of rank 0:", (int64_t(files.size()) + session.world_size() - 1) / session.world_size(),
      "shards", session.is_root());
  for (size_t i = size_t(session.rank()); i < files.size(); i += size_t(session.world_size())) {
    session.board().post(files[i].filename().string());
    const ShardCheck check = check_shard(files[i]);
    for (const CacheItem& item : check.items) found.items.push_back(item.noise_stream());
    found.totals.trajectories += int64_t(check.items.size());
    found.totals.texts += int64_t(check.texts.size());
    found.totals.lost += check.lost;
    found.totals.damaged_shards += !check.damage.empty();
    for (const std::string& line : check.damage)
      found.lines += cat("damaged: ", files[i].string(), ": ", line, "\n");
    if (repairs && !check.damage.empty()) repair_shard(*repairs, session.rank(), files[i], check);
    progress.advance(1);
  }
  return found;
}

}  // namespace

int run_cache_verify(Session& session, const VerifyOptions& options) {
  std::vector<std::string> prompts;
  std::vector<fs::path> files;
  std::optional<Leases> leases;
  session.collectively([&] {
    if (!options.data_path.empty()) prompts = read_prompts(options.data_path);
    files = cache_files(options.cache_dir);
    if (files.empty()) fail(options.cache_dir, ": there are no shards of a teacher cache in it");
    if (options.repair)
      leases.emplace(options.cache_dir, CacheOptions().lease_seconds, "verify", session.rank());
  });
  session.barrier();  // nobody repairs before all have looked
  Findings found;
  session.collectively([&] {
    if (leases && session.is_root()) leases->sweep();
    found = check_shards(session, files, leases ? &*leases : nullptr);
  });
  const int64_t trajectories = session.sum(found.totals.trajectories),
                texts = session.sum(found.totals.texts), damaged = session.sum(found.totals.damaged_shards),
                lost = session.sum(found.totals.lost);
  const std::vector<std::string> lines = session.gather(found.lines);
  const std::vector<uint64_t> items_there = session.gather(found.items);
  const std::set<uint64_t> items(items_there.begin(), items_there.end());
  int64_t missing = 0;
  std::string missing_lines;
  for (const CacheItem& item : cache_items(prompts, options.repetitions))
    if (!items.contains(item.noise_stream())) {
      ++missing;
      missing_lines += "missing: " + item_name(item) + "\n";
    }
  if (session.is_root()) {
    for (const std::string& text : lines) std::cout << text;
    std::cout << missing_lines << files.size() << " shards: " << trajectories << " trajectories and " << texts
              << " texts are intact; " << damaged << " shards are damaged";
    if (damaged > 0) std::cout << ", " << lost << " of their records that can be named";
    if (!prompts.empty()) std::cout << "; " << missing << " trajectories are missing";
    std::cout << (damaged == 0     ? ""
                  : options.repair ? "; what is damaged was removed, fill the cache again"
                                   : "; --repair removes what is damaged")
              << std::endl;
  }
  return damaged + missing > 0 ? kIncomplete : 0;
}

}  // namespace wandistill
