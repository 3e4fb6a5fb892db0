#!/bin/bash
# Runs the MPI tests (the first argument is the program) on 1 to 4 ranks, then the jobs that must end abnormally.
set -u
tests=${1:?usage: run.sh bin/mpi_tests}
# As root and with more ranks than cores, as in a container.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1 PMIX_MCA_gds=hash
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

# scenario RANKS NAME TEXT...: ends with an error within 30 s and says each TEXT once.
scenario() {
  local ranks=$1 name=$2
  shift 2
  timeout 30 mpirun -n "$ranks" "$tests" --scenario "$name" >"$out" 2>&1
  local code=$?
  [ $code -ne 0 ] && [ $code -ne 124 ] || complain "$name: exit code $code"
  for text in "$@"; do
    [ "$(grep -c -- "$text" "$out")" -eq 1 ] || complain "$name: '$text' is not said once"
  done
  echo "scenario $name: exit code $code"
}

# late RANKS NAME WHAT RANK: as scenario; the job ends because of RANK alone, and that is said once.
late() {
  local start=$SECONDS
  scenario "$1" "$2" "$3: waited [0-9.]* s (limit 0.5 s, --fence_timeout) for rank $4\$" \
    "^  rank $4: prompt 5, denoising step 3 of 10 ([0-9.]* s ago)\$"
  [ "$(grep -c "waited\|s ago" "$out")" -eq 2 ] || complain "$2: other ranks are named, or more than one reports"
  [ $((SECONDS - start)) -le 15 ] || complain "$2: took $((SECONDS - start)) s"
}

passes "$tests" --ranks 1
for ranks in 1 2 3 4; do passes mpirun -n $ranks "$tests" --ranks $ranks; done

mpirun -n 2 "$tests" --ranks 3 >"$out" 2>&1 && complain "--ranks 3 on two ranks passed"
grep -q "the world has 2 ranks" "$out" || complain "--ranks 3 on two ranks: no message"
mpirun -n 2 "$tests" --ranks 2 -tc="*distinct messages*" >"$out" 2>&1 && complain "a 3-rank test passed on two ranks"
grep -q "this test needs 3 ranks" "$out" || complain "a 3-rank test on two ranks: no message"

scenario 2 one_rank_throws "rank 1 on .*: out of luck"
scenario 2 throw_past_main "out of luck"
scenario 2 throw_past_session "left by an exception"
scenario 2 collective_error "rank 1: no such prompt file"
WANDISTILL_FAULT=fail:collective:rank=1:n=5 scenario 2 sums "rank 1 on .*: a sum over the ranks failed at"
scenario 2 mpi_error "rank 0 on .*MPI_Send.*scenarios.cpp"

late 3 fence_timeout "rank 0 on .*: fence after samples of epoch 10" 2
late 2 sum_timeout "rank 0 on .*: a sum over the ranks" 1
late 2 gradients_timeout "rank 0 on .*: the gradients' all-reduce" 1
late 2 device_timeout "rank 0 on .*: a collective of the devices" 1
late 3 root_late "rank [12] on .*: fence after samples of epoch 10" 0
timeout 30 mpirun -n 2 "$tests" --scenario fence_notice >"$out" 2>&1 || complain "fence_notice: exit code $?"
text="^fence after samples of epoch 10: [0-9.]* s, still waiting for rank 1 (prompt 5, denoising step 3 of 10)\$"
grep -q "$text" "$out" && ! grep -vq "$text" "$out" || complain "fence_notice"
echo "scenario fence_notice: done"

# Without windows in shared memory, as across hosts: the board is kept by messages.
export OMPI_MCA_osc=^sm
passes mpirun -n 3 "$tests" --ranks 3
late 3 fence_timeout "rank 0 on .*: fence after samples of epoch 10" 2
late 3 root_late "rank [12] on .*: fence after samples of epoch 10" 0
unset OMPI_MCA_osc

# mpirun hands USR1 to its ranks; all must stop at the same step and end well.
mpirun -n 2 "$tests" --scenario stop_signal >"$out" 2>&1 &
job=$!
for _ in $(seq 100); do grep -q running "$out" && break; sleep 0.1; done
kill -USR1 $job
wait $job && grep -q "all stopped at one step" "$out" || complain "stop_signal"
echo "scenario stop_signal: done"

[ $failures -eq 0 ] && echo "MPI tests: passed" || { echo "MPI tests: $failures FAILED"; exit 1; }
