#!/usr/bin/env bash
# Runs all tests that are built, LANES (2) suites at a time: many wait more than they compute. One line per suite when it
# ends, its output where it failed, and a closing line with the counts.
set -uo pipefail
cd "$(dirname "$0")/.."

lanes=${LANES:-2}
long=$([ "${1:-}" = --long ] && echo yes)
time_limit=$([ "$long" ] && echo 7200 || echo 900)  # seconds per suite
folder=$(mktemp -d)
results=$folder/results  # per suite: passed, failed, the name if it was skipped
started=0
trap 'rm -rf "$folder"' EXIT

# "passed failed" as the suite's output has them: doctest's summary, or the closing lines of mpi_tests, golden_check and
# the scripts that put faults into kernels; nothing where there are none.
counts() {
  sed -nE -e 's/.*test cases: *[0-9]+ \| *([0-9]+) passed \| *([0-9]+) failed.*/\1 \2/p' \
      -e 's/^mpi_tests on [0-9]+ ranks: ([0-9]+) test cases passed/\1 0/p' \
      -e 's/^mpi_tests on [0-9]+ ranks: ([0-9]+) test cases FAILED/0 1/p' \
      -e 's/^faults [a-z ]+: ([0-9]+) caught, ([0-9]+) not.*/\1 \2/p' \
      -e 's/^golden check: ([0-9]+) of ([0-9]+) quantities .*/\1 \2-\1/p' "$1" |
    while read -r good bad; do echo "$good $((bad))"; done |
    awk '{ good += $1; bad += $2 } END { if (NR) print good, bad }'
}

# suite NAME COMMAND...: when a lane is free, runs it there.
suite() {
  while [ "$(jobs -rp | wc -l)" -ge "$lanes" ]; do wait -n; done
  started=$((started + 1))
  run_suite "$folder/$started.log" "$@" &
}

# run_suite LOG NAME COMMAND...: counts the cases that its output reports, else the suite as one. Exit code 77: it cannot run
# here, and its last line says why.
run_suite() {
  local log=$1 name=$2 start=$SECONDS code good='' bad=''
  shift 2
  "$@" > "$log" 2>&1 < /dev/null
  code=$?
  if [ "$code" = 77 ]; then
    printf 'SKIP  %-30s %s\n' "$name" "$(tail -n 1 "$log")"
    echo "0 0 $name" >> "$results"
    return
  fi
  read -r good bad < <(counts "$log")
  if [ -z "$good" ]; then
    good=$((code == 0)) bad=$((code != 0))
  elif [ "$code" != 0 ] && [ "$bad" = 0 ]; then
    bad=1  # it failed outside of a case
  fi
  echo "$good $bad" >> "$results"
  {
    if [ "$code" = 0 ]; then
      printf 'ok    %-30s %5d passed %27s %4d s\n' "$name" "$good" "" $((SECONDS - start))
      grep -E '^(SKIPPED|faults )' "$log"
    else
      cat "$log"
      printf 'FAIL  %-30s %5d passed, %3d failed, exit code %3d %4d s\n' "$name" "$good" "$bad" "$code" $((SECONDS - start))
    fi
  } > "$log.report"
  cat "$log.report"
}
limited() { timeout --kill-after=10 "$time_limit" "$@"; }

suite "jobs under Slurm" limited bash tests/slurm/jobs.sh
suite "unit tests" limited bin/unit_tests
# Row by row the same bits with the products of a CPU without AVX-512, too.
suite "rows are independent, AVX2" limited env DNNL_MAX_CPU_ISA=AVX2 bin/unit_tests \
  --test-case="rows are independent*,*bit for bit"
suite "SIMT tests" limited bin/simt_tests
[ "$long" ] || suite "faults put into kernels, some" limited bash tests/simt/product_mutants.sh --some 5
suite "golden check (tiny-wan)" limited bin/golden_check --teacher data/tiny-wan --golden tests/golden/tiny-wan.h5
for dtype in float32 bfloat16; do
  suite "golden check, kernels in $dtype" limited bin/golden_check --teacher data/tiny-wan --golden tests/golden/tiny-wan.h5 \
    --device simt --dtype "$dtype"
done
suite "golden check, Hopper's kernels" limited bin/golden_check --teacher data/tiny-wan --golden tests/golden/tiny-wan.h5 \
  --device simt --dtype bfloat16 --compute_capability 90
suite "MPI tests, 1 to 4 ranks" limited bash tests/mpi/run.sh bin/mpi_tests
for script in tests/scripts/*.sh; do
  [ -e "$script" ] && suite "$(basename "$script" .sh)" limited bash "$script"
done
if [ "$long" ]; then
  suite "SIMT tests, ASan and UBSan" limited bin/simt_tests_asan
  suite "SIMT tests, race checker" limited bin/simt_tests_tsan
  suite "SIMT tests, seeded faults" limited bash tests/simt/mutants.sh
  suite "faults put into the kernels" bash tests/simt/product_mutants.sh
  for script in tests/long/*.sh; do
    [ -e "$script" ] && suite "$(basename "$script" .sh)" limited bash "$script"
  done
fi

while [ -n "$(jobs -rp)" ]; do wait -n; done
read -r passed failed skipped < <(awk '{ good += $1; bad += $2 } NF > 2 { $1 = $2 = ""; names = names (names ? "," : ", skipped:") substr($0, 2) }
  END { print good, bad, names }' "$results")
echo "$passed passed, $failed failed${skipped}"
[ "$(wc -l < "$results")" = "$started" ] && [ "$failed" = 0 ]
