#include <algorithm>
#include <cstdio>

#include "src/train/training_state.h"

namespace wandistill {
namespace fs = std::filesystem;
namespace {

int64_t step_of(const fs::path& file) {
  long step = 0;
  std::sscanf(file.filename().c_str(), "step_%ld.h5", &step);
  return step;
}

}  // namespace

fs::path checkpoint_file(const fs::path& folder, int64_t step) {
  char name[64];
  std::snprintf(name, sizeof name, "step_%08ld.h5", long(step));
  return folder / name;
}

std::vector<fs::path> list_checkpoints(const fs::path& folder) {
  std::vector<fs::path> files;
  if (fs::is_directory(folder))
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".h5" && entry.path().filename().string().starts_with("step_"))
        files.push_back(entry.path());
  std::sort(files.rbegin(), files.rend());
  return files;
}

void prune_checkpoints(const fs::path& folder, const KeepCheckpoints& keep, int64_t step) {
  int64_t newer = 0;
  for (const fs::path& file : list_checkpoints(folder)) {
    const int64_t own = step_of(file);
    if (own > step || newer++ < keep.newest) continue;
    if (keep.every_steps > 0 && own % keep.every_steps == 0) continue;
    fs::remove(file);
  }
}

}  // namespace wandistill
