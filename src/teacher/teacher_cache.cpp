#include "wandistill/teacher_cache.h"

#include <algorithm>

#include "wandistill/error.h"
#include "wandistill/hash.h"

namespace wandistill {
namespace fs = std::filesystem;

Json CacheSettings::to_json() const {
  return {{"teacher_fingerprint", cat(std::hex, teacher_fingerprint)},
          {"sampler", sampler},
          {"steps", steps},
          {"guidance", guidance},
          {"guidance_2", guidance_2},
          {"flow_shift", flow_shift},
          {"negative_prompt", negative_prompt},
          {"height", height},
          {"width", width},
          {"seed", seed}};
}

uint64_t CacheItem::noise_stream() const {
  return fnv1a(cat(prompt, "\n", repetition)) >> 1;
}

TeacherCache::TeacherCache(const fs::path& folder, const CacheSettings& settings) {
  if (!fs::exists(folder)) return;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".h5" && entry.path().filename().string().starts_with("shard_"))
      files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) open_shard(file, settings.to_json());
}

void TeacherCache::open_shard(const fs::path& file, const Json& settings) {
  auto shard = std::make_unique<H5File>(H5File::open_read(file));
  Json found;
  try {
    found = Json::parse(shard->read_string("settings"));
  } catch (const Json::exception&) {
    fail(file.string(),
         ": its settings are not JSON; the file is damaged: remove it, or choose another --cache_dir");
  }
  for (const auto& [key, value] : settings.items())
    if (!found.contains(key) || found[key] != value)
      fail(file.string(), ": this cache shard was made with ", key, " = ", found.value(key, Json()).dump(),
           ", this run has ", value.dump(), "; choose another --cache_dir, or remove the shards");
  const std::vector<std::string> prompts = shard->read_strings("prompt");
  const std::vector<int64_t> repetitions = shard->read<int64_t>("repetition").second;
  const std::vector<int64_t> offsets = shard->read<int64_t>("text/offsets").second;
  const std::vector<float> sigmas = shard->read<float>("sigma").second;
  const int64_t n = int64_t(prompts.size()), P = int64_t(sigmas.size());
  const auto rows = [&](const std::string& name) {
    const Shape shape = shard->shape(name);
    return shape.empty() ? 0 : shape[0];
  };
  if (n == 0 || int64_t(repetitions.size()) != n || int64_t(offsets.size()) != n + 1 ||
      rows("latents") != n * P || rows("velocity") != n * P || rows("x0") != n ||
      rows("text/rows") != offsets.back())
    fail(file.string(),
         ": its datasets do not agree in length; the file is damaged: remove it and run again");
  if (sigmas_.empty()) sigmas_ = sigmas;
  text_dim_ = shard->shape("text/rows").at(1);
  if (sigmas != sigmas_) fail(file.string(), ": its sigmas differ from those of the other shards; remove it");
  for (int64_t i = 0; i < n; ++i) {
    CacheItem item{prompts[size_t(i)], repetitions[size_t(i)]};
    if (!index_.emplace(item, items()).second) continue;  // two runs computed the same one: either will do
    items_.push_back({std::move(item), shards_.size(), i, offsets[size_t(i)], offsets[size_t(i) + 1]});
  }
  shards_.push_back(std::move(shard));
}

int64_t TeacherCache::find(const CacheItem& item) const {
  const auto found = index_.find(item);
  return found == index_.end() ? -1 : found->second;
}

void TeacherCache::read_point(int64_t index, int64_t point, float* latents, float* velocity) const {
  const Entry& e = items_[size_t(index)];
  shards_[e.shard]->read_rows("latents", e.row * points() + point, 1, latents);
  shards_[e.shard]->read_rows("velocity", e.row * points() + point, 1, velocity);
}

void TeacherCache::read_x0(int64_t index, float* x0) const {
  const Entry& e = items_[size_t(index)];
  shards_[e.shard]->read_rows("x0", e.row, 1, x0);
}

TextEmbedding TeacherCache::read_text(int64_t index) const {
  const Entry& e = items_[size_t(index)];
  const H5File& shard = *shards_[e.shard];
  TextEmbedding text{e.text_end - e.text_begin, {}};
  text.rows.resize(size_t(text.tokens * text_dim_));
  shard.read_rows("text/rows", e.text_begin, text.tokens, text.rows.data());
  return text;
}

}  // namespace wandistill
