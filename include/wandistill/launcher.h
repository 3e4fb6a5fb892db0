// What started this process, as the environment says: known before MPI is started.
#pragma once

namespace wandistill {

/// The rank that mpirun or srun says this process has; -1 without them.
int launched_rank();

/// Error where a launcher started several processes that MPI cannot connect: each would be a world of its
/// own, compute the same and write the same files. Before MPI is started; environments that some MPI library
/// might understand pass.
void check_launcher();
/// The same when MPI has said how many ranks there are.
void check_launcher(int world_size);

}  // namespace wandistill
