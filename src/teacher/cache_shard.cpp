#include "src/teacher/cache_shard.h"

#include "wandistill/error.h"
#include "wandistill/hash.h"

namespace wandistill {
namespace {

uint64_t add(uint64_t hash, const std::string& text) {
  return checksum64(text.data(), text.size(), hash);
}
uint64_t add(uint64_t hash, const std::vector<float>& values) {
  return checksum64(values.data(), values.size() * sizeof(float), hash);
}

/// Of the record and of what makes it what it is.
uint64_t checksum_of(const std::string& settings, const std::vector<float>& sigmas,
                     const Trajectory& record) {
  uint64_t hash = add(add(0, settings), sigmas);
  hash = add(hash, cat(record.item.prompt, "\n", record.item.repetition));
  hash = add(add(add(hash, record.latents), record.velocity), record.x0);
  return checksum64(record.rounding, sizeof record.rounding, hash);
}
uint64_t checksum_of(const std::string& settings, const PromptText& record) {
  return add(add(add(0, settings), record.prompt), record.text.rows);
}

void require_checksum(const H5File& file, const std::vector<uint64_t>& checksums, int64_t row,
                      uint64_t found) {
  if (!checksums.empty() && checksums[size_t(row)] != found)
    fail(file.path().string(), ": record ", row, " does not agree with its checksum; the file is damaged");
}

int64_t rows_of(const H5File& file, const std::string& name) {
  const Shape shape = file.shape(name);
  return shape.empty() ? 0 : shape[0];
}

[[noreturn]] void fail_lengths(const H5File& file) {
  fail(file.path().string(),
       ": its datasets do not agree in length; the file is damaged: remove it and run again");
}

Json settings_of(const H5File& file, const std::string& text) {
  const Json settings = Json::parse(text, nullptr, false);
  if (settings.is_object()) return settings;
  fail(file.path().string(),
       ": its settings are not JSON; the file is damaged: remove it, or choose another --cache_dir");
}

}  // namespace

void Trajectory::round_to(StoredDtype dtype) {
  rounding[0] = float(round_values(dtype, &latents));
  rounding[1] = float(round_values(dtype, &velocity));
  round_values(dtype, &x0);
}

TrajectoryIndex TrajectoryIndex::read(const H5File& file) {
  TrajectoryIndex index;
  index.settings = file.read_string("settings");
  index.dtype = parse_stored_dtype(settings_of(file, index.settings).value("cache_dtype", "float32"));
  const std::vector<std::string> prompts = file.read_strings("prompt");
  const std::vector<int64_t> repetitions = file.read<int64_t>("repetition").second;
  index.sigmas = file.read<float>("sigma").second;
  if (file.exists("checksum")) {
    index.checksums = file.read<uint64_t>("checksum").second;
    index.rounding = file.read<float>("rounding").second;
  }
  const size_t n = prompts.size();
  const int64_t rows = int64_t(n) * index.points();
  if (n == 0 || repetitions.size() != n || rows_of(file, "latents") != rows ||
      rows_of(file, "velocity") != rows || rows_of(file, "x0") != int64_t(n) ||
      (!index.checksums.empty() && (index.checksums.size() != n || index.rounding.size() != 2 * n)))
    fail_lengths(file);
  index.picture = file.shape("x0");
  index.picture.erase(index.picture.begin());
  for (size_t i = 0; i < n; ++i) index.items.push_back({prompts[i], repetitions[i]});
  return index;
}

Trajectory read_trajectory(const H5File& file, const TrajectoryIndex& index, int64_t row) {
  const int64_t size = element_count(index.picture), P = index.points();
  Trajectory record{.item = index.items[size_t(row)],
                    .latents = std::vector<float>(size_t(P * size)),
                    .velocity = std::vector<float>(size_t(P * size)),
                    .x0 = std::vector<float>(size_t(size))};
  read_stored(file, "latents", index.dtype, row * P, P, P * size, record.latents.data());
  read_stored(file, "velocity", index.dtype, row * P, P, P * size, record.velocity.data());
  read_stored(file, "x0", index.dtype, row, 1, size, record.x0.data());
  if (!index.rounding.empty()) std::copy_n(index.rounding.begin() + 2 * row, 2, record.rounding);
  require_checksum(file, index.checksums, row, checksum_of(index.settings, index.sigmas, record));
  return record;
}

void write_trajectories(H5File& file, const std::string& settings, StoredDtype dtype,
                        const std::vector<float>& sigmas, const Shape& picture,
                        std::span<const Trajectory> records) {
  const int64_t n = int64_t(records.size()), P = int64_t(sigmas.size());
  std::vector<std::string> prompts;
  std::vector<int64_t> repetitions;
  std::vector<uint64_t> checksums;
  std::vector<float> rounding;
  for (const Trajectory& record : records) {
    prompts.push_back(record.item.prompt);
    repetitions.push_back(record.item.repetition);
    checksums.push_back(checksum_of(settings, sigmas, record));
    rounding.insert(rounding.end(), record.rounding, record.rounding + 2);
  }
  file.write_string("settings", settings);
  file.write_strings("prompt", prompts);
  file.write<int64_t>("repetition", {n}, repetitions.data());
  file.write<float>("sigma", {P}, sigmas.data());
  file.write<uint64_t>("checksum", {n}, checksums.data());
  file.write<float>("rounding", {n, 2}, rounding.data());
  for (const char* name : {"latents", "velocity", "x0"}) create_stored(file, name, dtype, picture);
  for (const Trajectory& record : records) {
    append_stored(file, "latents", dtype, P, record.latents);
    append_stored(file, "velocity", dtype, P, record.velocity);
    append_stored(file, "x0", dtype, 1, record.x0);
  }
}

TextIndex TextIndex::read(const H5File& file) {
  TextIndex index;
  if (!file.exists("text/rows")) return index;
  index.settings = file.read_string("settings");
  settings_of(file, index.settings);
  index.prompts = file.read_strings("prompt");
  index.offsets = file.read<int64_t>("text/offsets").second;
  index.text_dim = file.shape("text/rows").at(1);
  if (file.exists("text/checksum")) index.checksums = file.read<uint64_t>("text/checksum").second;
  const size_t n = index.prompts.size();
  if (n == 0 || index.offsets.size() != n + 1 || rows_of(file, "text/rows") != index.offsets.back() ||
      (!index.checksums.empty() && index.checksums.size() != n))
    fail_lengths(file);
  return index;
}

PromptText read_text(const H5File& file, const TextIndex& index, int64_t row) {
  const int64_t begin = index.offsets[size_t(row)], tokens = index.offsets[size_t(row) + 1] - begin;
  PromptText record{index.prompts[size_t(row)],
                    {tokens, std::vector<float>(size_t(tokens * index.text_dim))}};
  file.read_rows("text/rows", begin, tokens, record.text.rows.data());
  require_checksum(file, index.checksums, row, checksum_of(index.settings, record));
  return record;
}

void write_texts(H5File& file, const std::string& settings, int64_t text_dim,
                 std::span<const PromptText> records) {
  const int64_t n = int64_t(records.size());
  std::vector<std::string> prompts;
  std::vector<int64_t> offsets{0};
  std::vector<uint64_t> checksums;
  for (const PromptText& record : records) {
    prompts.push_back(record.prompt);
    offsets.push_back(offsets.back() + record.text.tokens);
    checksums.push_back(checksum_of(settings, record));
  }
  file.write_string("settings", settings);
  file.write_strings("prompt", prompts);
  file.write<int64_t>("text/offsets", {n + 1}, offsets.data());
  file.write<uint64_t>("text/checksum", {n}, checksums.data());
  // Small chunks: a prompt's rows are read without the others'.
  file.create_extendible<float>("text/rows", {text_dim}, 16);
  for (const PromptText& record : records)
    file.append_rows<float>("text/rows", record.text.tokens, record.text.rows.data());
}

}  // namespace wandistill
