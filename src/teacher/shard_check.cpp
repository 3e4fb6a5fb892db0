#include "src/teacher/shard_check.h"

#include "src/teacher/cache_shard.h"
#include "src/teacher/shard_writer.h"
#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/file_seal.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

bool is_text_shard(const fs::path& file) {
  return file.filename().string().starts_with("text_");
}

/// Where damage has made it something else than UTF-8, the rest.
std::string quoted(const std::string& prompt) {
  return Json(prompt).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string name_of(const TrajectoryIndex& index, int64_t row) {
  return item_name(index.items[size_t(row)]);
}
std::string name_of(const TextIndex& index, int64_t row) {
  return "the text of " + quoted(index.prompts[size_t(row)]);
}

/// The error without the file's name, which stands before it in the report.
std::string reason(const fs::path& path, const std::exception& error) {
  const std::string text = error.what(), name = path.string() + ": ";
  return text.starts_with(name) ? text.substr(name.size()) : text;
}

void read_row(const H5File& file, const TrajectoryIndex& index, int64_t row) {
  read_trajectory(file, index, row);
}
void read_row(const H5File& file, const TextIndex& index, int64_t row) {
  read_text(file, index, row);
}

void keep_row(const TrajectoryIndex& index, int64_t row, ShardCheck* check) {
  check->intact.push_back(row);
  check->items.push_back(index.items[size_t(row)]);
}
void keep_row(const TextIndex& index, int64_t row, ShardCheck* check) {
  check->intact.push_back(row);
  check->texts.push_back(index.prompts[size_t(row)]);
}

template <class Index>
void check_rows(const fs::path& path, const H5File& file, const Index& index, ShardCheck* check) {
  const Seal seal = check_seal(path);
  for (int64_t row = 0; row < index.size(); ++row) try {
      if (seal != Seal::kIntact) read_row(file, index, row);
      keep_row(index, row, check);
    } catch (const std::exception& error) {
      check->damage.push_back(cat(name_of(index, row), ": ", reason(path, error)));
      ++check->lost;
    }
  // Without checksums it is from before there were seals.
  if (check->damage.empty() && seal != Seal::kIntact && !index.checksums.empty())
    check->damage.push_back("changed outside of its records, which are all there");
}

}  // namespace

std::string item_name(const CacheItem& item) {
  return cat(quoted(item.prompt), ", repetition ", item.repetition);
}

ShardCheck check_shard(const fs::path& path) {
  ShardCheck check;
  try {
    const H5File file = H5File::open_read(path);
    if (is_text_shard(path))
      check_rows(path, file, TextIndex::read(file), &check);
    else
      check_rows(path, file, TrajectoryIndex::read(file), &check);
    if (check.intact.empty() && check.damage.empty()) check.damage.push_back("nothing is in it");
  } catch (const std::exception& error) {
    check = {};
    check.damage.push_back("the whole shard: " + reason(path, error));
  }
  return check;
}

void repair_shard(const Leases& leases, int rank, const fs::path& path, const ShardCheck& check) {
  if (!check.intact.empty()) {
    const H5File file = H5File::open_read(path);
    int64_t number = 0;
    if (is_text_shard(path)) {
      const TextIndex index = TextIndex::read(file);
      std::vector<PromptText> records;
      for (const int64_t row : check.intact) records.push_back(read_text(file, index, row));
      write_new_shard(leases, path.parent_path() / cat("text_rank_", rank), &number,
                      [&](H5File& out) { write_texts(out, index.settings, index.text_dim, records); });
    } else {
      const TrajectoryIndex index = TrajectoryIndex::read(file);
      std::vector<Trajectory> records;
      for (const int64_t row : check.intact) records.push_back(read_trajectory(file, index, row));
      write_new_shard(leases, path.parent_path() / cat("shard_rank_", rank), &number, [&](H5File& out) {
        write_trajectories(out, index.settings, index.dtype, index.sigmas, index.picture, records);
      });
    }
  }
  remove_file(path);
}

}  // namespace wandistill
