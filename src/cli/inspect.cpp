// `wandistill inspect`: what is in a model folder or an HDF5 file. Its output is the answer, so no options
// are printed.
#include "src/cli/subcommands.h"

namespace wandistill::cli {

Prepared prepare_inspect(const std::vector<std::string>& arguments) {
  InspectOptions options;
  OptionSet set(
      "inspect PATH",
      "Shows what is in a teacher's or student's folder (components, sizes, parameters, dtypes) or in a\n"
      "teacher cache or checkpoint (.h5).");
  set.group("Options");
  set.add("path", &options.path, "PATH",
          "a folder, a name in the local Hugging Face cache, or an .h5 file; required");
  set.positional("path");
  if (!set.parse(arguments)) return {set.help(), nullptr};
  require_option("path", options.path);
  return {"", [options](Session& session) { return run_inspect(session, options); }};
}

}  // namespace wandistill::cli
