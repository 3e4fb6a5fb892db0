#include "src/teacher/shard_writer.h"

#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/file_seal.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

/// The shard, whole and sealed, until it gets its name.
class UnfinishedShard {
 public:
  UnfinishedShard(const Leases& leases, const fs::path& shown, const std::function<void(H5File&)>& fill)
      : path_(leases.unfinished()) {
    try {
      H5File file = H5File::create(path_, shown);
      fill(file);
      file.close();
      seal_file(path_);
    } catch (...) {
      remove();
      throw;
    }
  }
  UnfinishedShard(const UnfinishedShard&) = delete;
  ~UnfinishedShard() { remove(); }
  const fs::path& path() const { return path_; }

 private:
  void remove() const {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  fs::path path_;
};

}  // namespace

void write_new_shard(const Leases& leases, const fs::path& prefix, int64_t* next,
                     const std::function<void(H5File&)>& fill) {
  const UnfinishedShard shard(leases, prefix.string() + "_*.h5", fill);
  for (;; ++*next) {
    char number[24];
    std::snprintf(number, sizeof number, "_%04ld.h5", long(*next));
    if (commit_new_file(shard.path(), prefix.string() + number)) return;
  }
}

void write_named_shard(const Leases& leases, const fs::path& path, const std::function<void(H5File&)>& fill) {
  const UnfinishedShard shard(leases, path, fill);
  commit_file(shard.path(), path);
}

}  // namespace wandistill
