// New shards in a folder that others write to at the same time.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "src/teacher/leases.h"
#include "wandistill/h5.h"

namespace wandistill {

/// Writes the shard under the temporary name, seals it and gives it its final one: PREFIX_NNNN.h5 with the
/// first number from *next on that is free.
void write_new_shard(const Leases& leases, const std::filesystem::path& prefix, int64_t* next,
                     const std::function<void(H5File&)>& fill);

/// The same under this very name; replaces what has it.
void write_named_shard(const Leases& leases, const std::filesystem::path& path,
                       const std::function<void(H5File&)>& fill);

}  // namespace wandistill
