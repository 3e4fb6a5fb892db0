#!/usr/bin/env bash
# Runs all tests that are built: one line per suite, its output where it failed, and a closing line with the counts.
set -uo pipefail
cd "$(dirname "$0")/.."

time_limit=900  # seconds per suite
passed=0 failed=0 skipped=
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# "passed failed" as the suite's output has them: doctest's summary, or the closing lines of mpi_tests and golden_check;
# nothing where there are none.
counts() {
  sed -nE -e 's/.*test cases: *[0-9]+ \| *([0-9]+) passed \| *([0-9]+) failed.*/\1 \2/p' \
      -e 's/^mpi_tests on [0-9]+ ranks: ([0-9]+) test cases passed/\1 0/p' \
      -e 's/^mpi_tests on [0-9]+ ranks: ([0-9]+) test cases FAILED/0 1/p' \
      -e 's/^golden check: ([0-9]+) of ([0-9]+) quantities .*/\1 \2-\1/p' "$1" |
    while read -r good bad; do echo "$good $((bad))"; done |
    awk '{ good += $1; bad += $2 } END { if (NR) print good, bad }'
}

# suite NAME COMMAND...: counts the cases that its output reports, else the suite as one. Exit code 77: it cannot run here,
# and its last line says why.
suite() {
  local name=$1 start=$SECONDS code good='' bad=''
  shift
  "$@" > "$log" 2>&1
  code=$?
  if [ "$code" = 77 ]; then
    printf 'SKIP  %-30s %s\n' "$name" "$(tail -n 1 "$log")"
    skipped="${skipped:+$skipped, }$name"
    return
  fi
  read -r good bad < <(counts "$log")
  if [ -z "$good" ]; then
    good=$((code == 0)) bad=$((code != 0))
  elif [ "$code" != 0 ] && [ "$bad" = 0 ]; then
    bad=1  # it failed outside of a case
  fi
  passed=$((passed + good)) failed=$((failed + bad))
  if [ "$code" = 0 ]; then
    printf 'ok    %-30s %5d passed %27s %4d s\n' "$name" "$good" "" $((SECONDS - start))
    grep '^SKIPPED' "$log"
  else
    cat "$log"
    printf 'FAIL  %-30s %5d passed, %3d failed, exit code %3d %4d s\n' "$name" "$good" "$bad" "$code" $((SECONDS - start))
  fi
}
limited() { timeout --kill-after=10 "$time_limit" "$@"; }

suite "unit tests" limited bin/unit_tests
suite "SIMT tests" limited bin/simt_tests
suite "golden check (tiny-wan)" limited bin/golden_check --teacher data/tiny-wan --golden tests/golden/tiny-wan.h5
for dtype in float32 bfloat16; do
  suite "golden check, kernels in $dtype" limited bin/golden_check --teacher data/tiny-wan --golden tests/golden/tiny-wan.h5 \
    --device simt --dtype "$dtype"
done
suite "MPI tests, 1 to 4 ranks" limited bash tests/mpi/run.sh bin/mpi_tests
for script in tests/scripts/*.sh; do
  [ -e "$script" ] && suite "$(basename "$script" .sh)" limited bash "$script"
done
suite "jobs under Slurm" limited bash tests/slurm/jobs.sh
if [ "${1:-}" = --long ]; then
  suite "SIMT tests, ASan and UBSan" limited bin/simt_tests_asan
  suite "SIMT tests, race checker" limited bin/simt_tests_tsan
  suite "SIMT tests, seeded faults" limited bash tests/simt/mutants.sh
  suite "faults put into the kernels" bash tests/simt/product_mutants.sh
  for script in tests/long/*.sh; do
    [ -e "$script" ] && suite "$(basename "$script" .sh)" limited bash "$script"
  done
fi

echo "$passed passed, $failed failed${skipped:+, skipped: $skipped}"
[ "$failed" = 0 ]
