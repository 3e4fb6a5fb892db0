#include <algorithm>
#include <iostream>
#include <vector>

#include "wandistill/commands.h"
#include "wandistill/inspect.h"
#include "wandistill/model_folder.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

std::string describe(const std::string& name) {
  if (fs::is_regular_file(name)) return describe_h5(name);
  const fs::path folder = resolve_model_folder(name);
  if (fs::exists(folder / "model_index.json") || fs::exists(folder / "config.json"))
    return describe_model_folder(folder);
  // A teacher cache or a folder of checkpoints.
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".h5") files.push_back(entry.path());
  if (files.empty()) return describe_model_folder(folder);  // its error says what was looked for
  std::sort(files.begin(), files.end());
  std::string text;
  for (const fs::path& file : files) text += (text.empty() ? "" : "\n") + describe_h5(file);
  return text;
}

}  // namespace

int run_inspect(Session& session, const InspectOptions& options) {
  session.collectively([&] {
    if (session.is_root()) std::cout << describe(options.path) << std::flush;
  });
  return 0;
}

}  // namespace wandistill
