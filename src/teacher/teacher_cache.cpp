#include "wandistill/teacher_cache.h"

#include <algorithm>

#include "src/teacher/cache_shard.h"
#include "wandistill/error.h"
#include "wandistill/hash.h"

namespace wandistill {
namespace fs = std::filesystem;
namespace {

constexpr size_t kOpenFiles = 256;  // of a cache may have many thousands

bool is_text_shard(const fs::path& file) {
  return file.filename().string().starts_with("text_");
}

/// What `settings` (null: takes them) expects of a shard.
void check_settings(const fs::path& file, const Json& found, Json* settings) {
  if (settings->is_null()) *settings = found;
  for (const auto& [key, value] : settings->items())
    if (!found.contains(key) || found[key] != value)
      fail(file.string(), ": this cache shard was made with ", key, " = ", found.value(key, Json()).dump(),
           ", this run has ", value.dump(), "; choose another --cache_dir, or remove the shards");
}

/// Of a shard of trajectories; those from before there was a choice of numbers have float32.
Json trajectory_settings(const std::string& text) {
  Json settings = Json::parse(text);
  if (!settings.contains("cache_dtype")) settings["cache_dtype"] = "float32";
  return settings;
}

bool is_shard(const fs::path& file) {
  return file.extension() == ".h5" && (file.filename().string().starts_with("shard_") || is_text_shard(file));
}

}  // namespace

struct TeacherCache::Shard {
  fs::path path;
  TrajectoryIndex trajectories;
  TextIndex texts;
  std::unique_ptr<H5File> file;  // null: closed for now
};

CacheSettings CacheSettings::of(const TeacherOptions& options, const Pipeline& teacher, uint64_t fingerprint,
                                int64_t height, int64_t width, uint64_t seed, const std::string& dtype) {
  return {.teacher_fingerprint = fingerprint,
          .sampler = options.teacher_sampler,
          .steps = options.teacher_steps,
          .guidance = options.guidance,
          .guidance_2 = options.guidance_2,
          .flow_shift = teacher.scheduler().flow_shift,
          .boundary_ratio = teacher.index().boundary_ratio.value_or(0),
          .negative_prompt = options.negative_prompt,
          .height = height,
          .width = width,
          .seed = seed,
          .dtype = dtype};
}

Json CacheSettings::to_json() const {
  return {{"teacher_fingerprint", cat(std::hex, teacher_fingerprint)},
          {"sampler", sampler},
          {"steps", steps},
          {"guidance", guidance},
          {"guidance_2", guidance_2},
          {"flow_shift", flow_shift},
          {"boundary_ratio", boundary_ratio},
          {"negative_prompt", negative_prompt},
          {"height", height},
          {"width", width},
          {"seed", seed},
          {"cache_dtype", dtype}};
}

Json CacheSettings::text_json() const {
  return {{"teacher_fingerprint", cat(std::hex, teacher_fingerprint)}};
}

uint64_t CacheItem::noise_stream() const {
  return fnv1a(cat(prompt, "\n", repetition)) >> 1;
}

std::vector<CacheItem> cache_items(const std::vector<std::string>& prompts, int64_t repetitions) {
  std::vector<CacheItem> items;
  for (const std::string& prompt : prompts)
    for (int64_t repetition = 0; repetition < repetitions; ++repetition)
      items.push_back({prompt, repetition});
  return items;
}

std::vector<fs::path> cache_files(const fs::path& folder) {
  std::vector<fs::path> files;
  if (!fs::exists(folder)) return files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (is_shard(entry.path())) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

TeacherCache::TeacherCache(const fs::path& folder, const CacheSettings& settings)
    : folder_(folder), settings_(settings.to_json()), text_settings_(settings.text_json()) {
  refresh();
}

TeacherCache::TeacherCache(const fs::path& folder) : folder_(folder) {
  refresh();
}

TeacherCache::~TeacherCache() = default;

void TeacherCache::refresh() {
  for (const fs::path& file : cache_files(folder_)) try {
      if (known_.contains(file)) continue;
      add_shard(file);
      known_.insert(file);
    } catch (const Error&) {
      if (fs::exists(file)) throw;  // else it has been replaced meanwhile
    }
}

void TeacherCache::add_shard(const fs::path& path) {
  auto shard = std::make_unique<Shard>();
  shard->path = path;
  const H5File file = H5File::open_read(path);
  if (!is_text_shard(path)) shard->trajectories = TrajectoryIndex::read(file);
  shard->texts = TextIndex::read(file);
  const size_t number = shards_.size();
  if (is_text_shard(path)) {
    if (shard->texts.size() == 0)
      fail(path.string(), ": there are no texts in it; the file is damaged: remove it");
    check_settings(path, Json::parse(shard->texts.settings), &text_settings_);
  } else {
    const TrajectoryIndex& index = shard->trajectories;
    check_settings(path, trajectory_settings(index.settings), &settings_);
    if (sigmas_.empty()) sigmas_ = index.sigmas;
    if (index.sigmas != sigmas_)
      fail(path.string(), ": its sigmas differ from those of the other shards; remove it");
    for (int64_t row = 0; row < index.size(); ++row) {
      const CacheItem& item = index.items[size_t(row)];
      // Two jobs computed the same one: either will do.
      if (!index_.emplace(item, items()).second) {
        ++duplicates_;
        continue;
      }
      items_.push_back({item, number, row});
    }
  }
  for (int64_t row = 0; row < shard->texts.size(); ++row)
    texts_.emplace(shard->texts.prompts[size_t(row)], TextEntry{number, row});
  shards_.push_back(std::move(shard));
}

const H5File& TeacherCache::open(size_t number) const {
  Shard& shard = *shards_[number];
  if (!shard.file) {
    if (open_.size() == kOpenFiles) {
      shards_[open_.front()]->file.reset();
      open_.pop_front();
    }
    shard.file = std::make_unique<H5File>(H5File::open_read(shard.path));
    open_.push_back(number);
  }
  return *shard.file;
}

int64_t TeacherCache::find(const CacheItem& item) const {
  const auto found = index_.find(item);
  return found == index_.end() ? -1 : found->second;
}

int64_t TeacherCache::tokens(const std::string& prompt) const {
  const auto [shard, row] = texts_.at(prompt);
  const std::vector<int64_t>& offsets = shards_[shard]->texts.offsets;
  return offsets[size_t(row) + 1] - offsets[size_t(row)];
}

std::vector<std::string> TeacherCache::texts() const {
  std::vector<std::string> prompts;
  for (const auto& [prompt, entry] : texts_) prompts.push_back(prompt);
  return prompts;
}

uint64_t TeacherCache::checksum(int64_t index) const {
  const Entry& e = items_[size_t(index)];
  const std::vector<uint64_t>& checksums = shards_[e.shard]->trajectories.checksums;
  return checksums.empty() ? 0 : checksums[size_t(e.row)];
}

std::pair<float, float> TeacherCache::rounding(int64_t index) const {
  const Entry& e = items_[size_t(index)];
  const std::vector<float>& rounding = shards_[e.shard]->trajectories.rounding;
  if (rounding.empty()) return {0.0f, 0.0f};
  return {rounding[size_t(2 * e.row)], rounding[size_t(2 * e.row + 1)]};
}

int64_t TeacherCache::text_dim() const {
  return texts_.empty() ? 0 : shards_[texts_.begin()->second.shard]->texts.text_dim;
}

const Shape& TeacherCache::picture() const {
  return shards_[items_.at(0).shard]->trajectories.picture;
}

void TeacherCache::read_point(int64_t index, int64_t point, float* latents, float* velocity) const {
  const Entry& e = items_[size_t(index)];
  const TrajectoryIndex& of = shards_[e.shard]->trajectories;
  const int64_t row = e.row * points() + point, size = element_count(of.picture);
  read_stored(open(e.shard), "latents", of.dtype, row, 1, size, latents);
  read_stored(open(e.shard), "velocity", of.dtype, row, 1, size, velocity);
}

void TeacherCache::read_x0(int64_t index, float* x0) const {
  const Entry& e = items_[size_t(index)];
  const TrajectoryIndex& of = shards_[e.shard]->trajectories;
  read_stored(open(e.shard), "x0", of.dtype, e.row, 1, element_count(of.picture), x0);
}

TextEmbedding TeacherCache::read_text(const std::string& prompt) const {
  const auto found = texts_.find(prompt);
  if (found == texts_.end()) fail("the teacher cache has no text embedding of the prompt '", prompt, "'");
  const auto [shard, row] = found->second;
  return wandistill::read_text(open(shard), shards_[shard]->texts, row).text;
}

Trajectory TeacherCache::read_trajectory(int64_t index) const {
  const Entry& e = items_[size_t(index)];
  return wandistill::read_trajectory(open(e.shard), shards_[e.shard]->trajectories, e.row);
}

std::string cache_dtype(const fs::path& folder, const std::string& chosen) {
  if (chosen != "auto") return chosen;
  const std::vector<fs::path> files = cache_files(folder);
  if (files.empty() || is_text_shard(files.front())) return "float32";
  return trajectory_settings(TrajectoryIndex::read(H5File::open_read(files.front())).settings)["cache_dtype"];
}

std::string choose_cache_dtype(Session& session, const fs::path& folder, const std::string& chosen) {
  std::string dtype;
  session.collectively([&] {
    if (session.is_root()) dtype = cache_dtype(folder, chosen);
  });
  session.broadcast(&dtype);
  return dtype;
}

}  // namespace wandistill
