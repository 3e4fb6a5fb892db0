#include "wandistill/launcher.h"

#include <cstdlib>
#include <initializer_list>

#include "wandistill/error.h"

namespace wandistill {
namespace {

/// The first of these variables that is set, as a number; -1 if none is.
int first_of(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const char* value = std::getenv(name)) return std::atoi(value);
  return -1;
}

[[noreturn]] void fail_unconnected(int size) {
  fail(size,
       " processes were started, but each would be a world of its own, as the launcher and the MPI library ",
       "do not fit each other. Under Slurm: srun --mpi=pmix (srun --mpi=list shows what there is), or mpirun "
       "in the ",
       "batch script. Else use the mpirun of the MPI library that the program is linked with");
}

}  // namespace

// mpirun's first: srun may have started mpirun. OMPI_: Open MPI's mpirun; PMIX_, PMI_: srun --mpi=pmix, pmi2,
// and the mpiexec of other MPI libraries. srun's own say how many there are, whatever --mpi is.
int launched_size() {
  return first_of({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"});
}

std::string launcher_name() {
  const char* const pmix = std::getenv("PMIX_VERSION");
  std::string name = std::getenv("OMPI_COMM_WORLD_SIZE")   ? "mpirun"
                     : std::getenv("SLURM_STEP_NUM_TASKS") ? "srun"
                     : std::getenv("PMI_SIZE")             ? "mpiexec"
                                                           : "none";
  // Where no launcher set it, the MPI library did.
  if (name != "none" && std::getenv("PMIX_RANK")) name += cat(", PMIx", pmix ? " " : "", pmix ? pmix : "");
  return name;
}

int launched_rank() {
  return first_of({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"});
}

void check_launcher() {
  const int size = launched_size();
  if (size > 1 && first_of({"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) < 0) fail_unconnected(size);
}

void check_launcher(int world_size) {
  if (world_size == 1 && launched_size() > 1) fail_unconnected(launched_size());
}

}  // namespace wandistill
