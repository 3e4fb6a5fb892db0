#!/usr/bin/env bash
# The faults of tests/simt/fault.h under every build and order: a table of who catches what. Fails if a fault is caught
# by none, or if the faultless kernels are complained about. usage: mutants.sh [PROGRAM_FOLDER]
set -uo pipefail
cd "$(dirname "$0")/../.."
bin=${1:-bin}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
columns=(plain:forward plain:reverse plain:random asan:forward asan:random tsan:forward tsan:random)
mapfile -t faults < <("$bin/simt_tests" mutant 2>&1 | sed -n 's/^  //p')

# verdict PROGRAM FAULT ORDER: right, or how the fault was caught.
verdict() {
  local code races
  TSAN_OPTIONS=exitcode=66 timeout 120 "$@" > "$log" 2>&1
  code=$?
  races=$(grep -c '^WARNING: ThreadSanitizer' "$log")
  if grep -q DEADLYSIGNAL "$log"; then echo crash
  elif grep -q 'ERROR: AddressSanitizer' "$log"; then echo asan
  elif grep -q 'runtime error' "$log"; then echo ubsan
  elif [ "$races" -gt 0 ]; then echo "$races races"
  else
    case $code in 0) echo right ;; 1) echo wrong ;; 3) echo refused ;; 134 | 139) echo crash ;; *) echo "exit $code" ;; esac
  fi
}

bad=0 right=0 missed=0
printf '%-26s' fault
printf ' %-14s' "${columns[@]}"
echo
for fault in "${faults[@]}"; do
  caught=0
  printf '%-26s' "$fault"
  for column in "${columns[@]}"; do
    build=${column%:*} program=$bin/simt_tests
    [ "$build" = plain ] || program+=_$build
    result=$(verdict "$program" mutant "$fault" "${column#*:}")
    [ "$result" = right ] || caught=1
    printf ' %-14s' "${result/right/-}"
  done
  echo
  if [ "$fault" = none ]; then
    [ $caught = 0 ] || { echo 'FAIL: complaints without a fault'; bad=1; }
  elif [ $caught = 1 ]; then
    right=$((right + 1))
  else
    echo "FAIL: $fault"
    missed=$((missed + 1))
  fi
done
echo "faults of the test kernels: $right caught, $missed not"
[ $bad = 0 ] && [ $right -gt 0 ] && [ $missed = 0 ]
