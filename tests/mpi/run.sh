#!/bin/bash
# Runs the MPI tests (the first argument is the program) on 1 to 4 ranks, then the jobs that must end abnormally.
set -u
tests=${1:?usage: run.sh bin/mpi_tests}
# As root and with more ranks than cores, as in a container.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1
export OMP_NUM_THREADS=1
failures=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

complain() {
  echo "FAILED: $*"
  sed 's/^/    /' "$out"
  failures=$((failures + 1))
}

passes() {
  timeout 150 "$@" >"$out" 2>&1 && tail -n 1 "$out" || complain "$@"
}

# scenario NAME TEXT: ends with an error within 30 s and says TEXT once.
scenario() {
  timeout 30 mpirun -n 2 "$tests" --scenario "$1" >"$out" 2>&1
  local code=$?
  [ $code -ne 0 ] && [ $code -ne 124 ] || complain "$1: exit code $code"
  [ "$(grep -c -- "$2" "$out")" -eq 1 ] || complain "$1: '$2' is not said once"
  echo "scenario $1: exit code $code"
}

passes "$tests" --ranks 1
for ranks in 1 2 3 4; do passes mpirun -n $ranks "$tests" --ranks $ranks; done

mpirun -n 2 "$tests" --ranks 3 >"$out" 2>&1 && complain "--ranks 3 on two ranks passed"
grep -q "the world has 2 ranks" "$out" || complain "--ranks 3 on two ranks: no message"
mpirun -n 2 "$tests" --ranks 2 -tc="*distinct messages*" >"$out" 2>&1 && complain "a 3-rank test passed on two ranks"
grep -q "this test needs 3 ranks" "$out" || complain "a 3-rank test on two ranks: no message"

scenario one_rank_throws "rank 1 on .*: out of luck"
scenario throw_past_main "out of luck"
scenario throw_past_session "left by an exception"
scenario collective_error "rank 1: no such prompt file"
scenario fence_timeout "fence after samples of epoch 10: waited"
scenario mpi_error "rank 0 on .*MPI_Send.*scenarios.cpp"

# mpirun hands USR1 to its ranks; all must stop at the same step and end well.
mpirun -n 2 "$tests" --scenario stop_signal >"$out" 2>&1 &
job=$!
for _ in $(seq 100); do grep -q running "$out" && break; sleep 0.1; done
kill -USR1 $job
wait $job && grep -q "all stopped at one step" "$out" || complain "stop_signal"
echo "scenario stop_signal: done"

[ $failures -eq 0 ] && echo "MPI tests: passed" || { echo "MPI tests: $failures FAILED"; exit 1; }
