// `wandistill cache merge`.
#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "src/teacher/cache_shard.h"
#include "src/teacher/shard_writer.h"
#include "wandistill/commands.h"
#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/file_seal.h"
#include "wandistill/progress.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

constexpr int kStopped = 85;
constexpr int64_t kMostRecords = 4096;  // of a shard

/// Takes the settings, or requires that they are the same.
void agree(const fs::path& folder, const Json& found, Json* settings) {
  if (settings->is_null()) *settings = found;
  if (found.is_null()) return;
  for (const auto& [key, value] : settings->items())
    if (!found.contains(key) || found[key] != value)
      fail(folder.string(), ": this cache was made with ", key, " = ", found.value(key, Json()).dump(),
           ", the first one with ", value.dump(), "; only caches of the same settings can be merged");
}

/// Cuts a list where the next entry would make a shard larger than `most` bytes.
template <class T, class Bytes>
std::vector<std::vector<T>> cut(const std::vector<T>& all, int64_t most, const Bytes& bytes) {
  std::vector<std::vector<T>> shards;
  int64_t full = 0;
  for (const T& entry : all) {
    const int64_t size = bytes(entry);
    if (shards.empty() || full + size > most || int64_t(shards.back().size()) == kMostRecords) {
      shards.emplace_back();
      full = 0;
    }
    full += size;
    shards.back().push_back(entry);
  }
  return shards;
}

std::string shard_name(const char* kind, size_t number) {
  char name[32];
  std::snprintf(name, sizeof name, "%s_%06zu.h5", kind, number);
  return name;
}

/// The union of the caches, and which shards it is to be written to.
class Union {
 public:
  Union(const std::vector<std::string>& folders, int64_t shard_bytes) {
    std::map<CacheItem, Source> items;
    std::map<std::string, size_t> texts;
    for (const std::string& folder : folders) {
      caches_.push_back(std::make_unique<TeacherCache>(folder));
      const TeacherCache& cache = *caches_.back();
      if (cache.shards() == 0) fail(folder, ": there are no shards of a teacher cache in it");
      agree(folder, cache.settings(), &settings_);
      agree(folder, cache.text_settings(), &text_settings_);
      for (int64_t i = 0; i < cache.items(); ++i) {
        const auto [place, is_new] = items.try_emplace(cache.item(i), Source{caches_.size() - 1, i});
        if (is_new) continue;
        const Source& first = place->second;
        different_ += caches_[first.cache]->checksum(first.index) != cache.checksum(i);
      }
      for (const std::string& prompt : cache.texts()) texts.emplace(prompt, caches_.size() - 1);
    }
    if (text_settings_.is_null())  // all texts stand in shards of trajectories
      text_settings_ = {{"teacher_fingerprint", settings_["teacher_fingerprint"]}};
    count_ = int64_t(items.size());
    if (!items.empty()) {
      const TeacherCache& first = *caches_[items.begin()->second.cache];
      sigmas_ = first.sigmas();
      picture_ = first.picture();
      dtype_ = parse_stored_dtype(settings_["cache_dtype"]);
    }
    const int64_t bytes = (2 * int64_t(sigmas_.size()) + 1) * element_count(picture_) * stored_bytes(dtype_);
    items_ = cut(std::vector<ItemSource>(items.begin(), items.end()), shard_bytes,
                 [&](const auto&) { return bytes; });
    for (const auto& [prompt, cache] : texts) text_dim_ = caches_[cache]->text_dim();
    texts_ = cut(std::vector<TextSource>(texts.begin(), texts.end()), shard_bytes, [&](const auto& text) {
      return caches_[text.second]->tokens(text.first) * text_dim_ * int64_t(sizeof(float));
    });
  }

  int64_t trajectories() const { return count_; }
  /// Trajectories that two caches have with different values.
  int64_t different() const { return different_; }
  size_t shards() const { return items_.size() + texts_.size(); }
  std::string name(size_t shard) const {
    return shard < items_.size() ? shard_name("shard", shard) : shard_name("text", shard - items_.size());
  }

  /// Is this file that shard, whole?
  bool is_written(size_t shard, const fs::path& path) const {
    if (!fs::exists(path) || check_seal(path) != Seal::kIntact) return false;
    const H5File file = H5File::open_read(path);
    if (shard >= items_.size()) {
      std::vector<std::string> prompts;
      for (const auto& [prompt, cache] : texts_[shard - items_.size()]) prompts.push_back(prompt);
      const TextIndex index = TextIndex::read(file);
      return index.prompts == prompts && index.settings == text_settings_.dump();
    }
    std::vector<CacheItem> items;
    for (const auto& [item, source] : items_[shard]) items.push_back(item);
    const TrajectoryIndex index = TrajectoryIndex::read(file);
    return index.items == items && index.settings == settings_.dump();
  }

  void write(size_t shard, const Leases& leases, const fs::path& path) const {
    if (shard >= items_.size()) {
      std::vector<PromptText> records;
      for (const auto& [prompt, cache] : texts_[shard - items_.size()])
        records.push_back({prompt, caches_[cache]->read_text(prompt)});
      return write_named_shard(
          leases, path, [&](H5File& file) { write_texts(file, text_settings_.dump(), text_dim_, records); });
    }
    std::vector<Trajectory> records;
    for (const auto& [item, source] : items_[shard])
      records.push_back(caches_[source.cache]->read_trajectory(source.index));
    write_named_shard(leases, path, [&](H5File& file) {
      write_trajectories(file, settings_.dump(), dtype_, sigmas_, picture_, records);
    });
  }

 private:
  struct Source {
    size_t cache;
    int64_t index;
  };
  using ItemSource = std::pair<CacheItem, Source>;
  using TextSource = std::pair<std::string, size_t>;  // prompt, cache
  std::vector<std::unique_ptr<TeacherCache>> caches_;
  Json settings_, text_settings_;
  StoredDtype dtype_ = StoredDtype::kFloat32;
  std::vector<float> sigmas_;
  Shape picture_;
  int64_t text_dim_ = 0, count_ = 0, different_ = 0;
  std::vector<std::vector<ItemSource>> items_;
  std::vector<std::vector<TextSource>> texts_;
};

}  // namespace

int run_cache_merge(Session& session, const MergeOptions& options) {
  const StopSignals stop;
  const fs::path out = options.cache_dir;
  std::optional<Union> all;
  std::optional<Leases> leases;
  session.collectively([&] {
    all.emplace(options.from, options.shard_mb << 20);
    make_directories(out);
    std::set<std::string> names;
    for (size_t shard = 0; shard < all->shards(); ++shard) names.insert(all->name(shard));
    for (const fs::path& file : cache_files(out))
      if (!names.contains(file.filename().string()))
        fail(file.string(), ": this shard is none of the merged ones; choose a new folder for them");
    leases.emplace(out, CacheOptions().lease_seconds, "merge", session.rank());
  });
  session.collectively([&] {
    if (session.is_root()) leases->sweep();
    Progress progress(
        "merge, share of rank 0:", (int64_t(all->shards()) + session.world_size() - 1) / session.world_size(),
        "shards", session.is_root());
    for (size_t shard = size_t(session.rank()); shard < all->shards();
         shard += size_t(session.world_size())) {
      if (stop_everywhere(session, stop)) return;
      session.board().post(all->name(shard));
      const fs::path path = out / all->name(shard);
      if (!all->is_written(shard, path)) all->write(shard, *leases, path);
      progress.advance(1);
    }
  });
  if (session.any(stop_everywhere(session, stop))) {
    if (session.is_root()) print_line("stopped by a signal; run the same command again to go on");
    return kStopped;
  }
  if (session.is_root()) {
    print_line(cat("merged ", all->trajectories(), " trajectories into ", all->shards(), " shards in ",
                   out.string()));
    if (all->different() > 0)
      print_line(cat(all->different(),
                     " of them have other values in a later cache, made by another kind of machine "
                     "or teacher_dtype; those of the first were taken"));
  }
  return 0;
}

}  // namespace wandistill
