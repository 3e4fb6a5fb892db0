# To be sourced: run_ranks N COMMAND... starts N ranks on this machine, also as root and on fewer cores than ranks.

run_ranks() {
  local ranks=$1 cores threads
  shift
  cores=$(nproc)
  threads=$((cores / ranks > 0 ? cores / ranks : 1))
  local settings=(OMP_NUM_THREADS="${OMP_NUM_THREADS:-$threads}")
  # In containers the usual transports between ranks of one machine may be forbidden; copying through shared memory
  # always works. The caller may know better (cma: one copy instead of two).
  settings+=(OMPI_MCA_btl_vader_single_copy_mechanism="${OMPI_MCA_btl_vader_single_copy_mechanism:-none}")
  # PMIx's shared memory has locks; a rank that is killed while it holds one (in MPI_Init) leaves mpirun waiting for ever.
  # https://github.com/openpmix/openpmix/issues/1233
  settings+=(PMIX_MCA_gds=hash)
  if [ "$(id -u)" = 0 ]; then
    settings+=(OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1)
  fi
  if [ "$ranks" -gt "$cores" ]; then
    settings+=(OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1)
  fi
  # Ranks of several threads must not be bound to one core each.
  settings+=(OMPI_MCA_hwloc_base_binding_policy="${OMPI_MCA_hwloc_base_binding_policy:-none}")
  env "${settings[@]}" mpirun -n "$ranks" "$@"
}
