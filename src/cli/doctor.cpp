// `wandistill doctor`: what a job would run on. Its output is the answer, so no options are printed.
#include "src/cli/data_folder.h"
#include "src/cli/subcommands.h"

namespace wandistill::cli {

Prepared prepare_doctor(const std::vector<std::string>& arguments) {
  DoctorOptions options;
  OptionSet set(
      "doctor [options]",
      "Checks, on all ranks and before a big run, what `wandistill train` with the same options would "
      "run on:\nlauncher, versions, cores, GPUs, all-reduces and their bandwidth, output folder, disk, "
      "clocks, limits,\nthe job's time. Exit code 1 if a check failed. Start it as the run is started: "
      "mpirun -n N wandistill doctor\n--output_dir DIR ... Without --output_dir folder and disk are not "
      "checked.");
  set.group("Doctor");
  set.add("json", &options.json, "print one JSON object in place of the table");
  declare_train(set, options.train, find_data_folder());
  if (!set.parse(arguments)) return {set.help(), nullptr};
  require_option("teacher_path", options.train.teacher.teacher_path);
  require_option("student_config", options.train.student_config);
  require_option("data_path", options.train.data_path);
  return {"", [options](Session& session) { return run_doctor(session, options); }};
}

}  // namespace wandistill::cli
