// What started this process, as the environment says: known before MPI is started.
#pragma once

#include <string>

namespace wandistill {

/// The rank that mpirun or srun says this process has; -1 without them.
int launched_rank();

/// How many processes the launcher says that it started; -1 if it does not say, or without one.
int launched_size();

/// "mpirun, PMIx 4.2.2", "srun, PMIx" or "none".
std::string launcher_name();

/// Error where a launcher started several processes that MPI cannot connect: each would be a world of its
/// own, compute the same and write the same files. Before MPI is started; environments that some MPI library
/// might understand pass.
void check_launcher();
/// The same when MPI has said how many ranks there are.
void check_launcher(int world_size);

}  // namespace wandistill
