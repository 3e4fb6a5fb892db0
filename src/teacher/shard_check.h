// Is a shard of the teacher cache as it was written, and if not, which of its records are?
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "src/teacher/leases.h"
#include "wandistill/teacher_cache.h"

namespace wandistill {

/// "\"a red star\", repetition 0".
std::string item_name(const CacheItem& item);

struct ShardCheck {
  std::vector<std::string> damage;  // a line for each damaged record, or for all at once; empty: none
  int64_t lost = 0;                 // records that are damaged; where nobody can tell how many there were: 0
  std::vector<int64_t> intact;      // rows
  std::vector<CacheItem> items;     // the intact trajectories
  std::vector<std::string> texts;   // the prompts of the intact embeddings
};

/// Reads the whole file. Where its seal is broken, every record is tried.
ShardCheck check_shard(const std::filesystem::path& file);

/// Writes the intact records of a damaged shard to a new one, if there are any, and removes the shard.
void repair_shard(const Leases& leases, int rank, const std::filesystem::path& file, const ShardCheck& check);

}  // namespace wandistill
