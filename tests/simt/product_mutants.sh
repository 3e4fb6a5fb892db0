#!/usr/bin/env bash
# Our own kernels with a fault put into each, one after the other (product_mutants.txt): its tests must fail, in one of
# the builds. A table of who catches what; exit code 1 if a fault is caught by none or fits its kernel no more.
# usage: product_mutants.sh [NAME ...]
set -uo pipefail
cd "$(dirname "$0")/../.."
# As root and with more ranks than cores, as in a container.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=1
build=${BUILD:-build}
bad=0 count=0
printf '%-34s %-30s %s\n' fault kernel 'caught by'

# verdict PROGRAM FILTER LAUNCHER: empty if its tests pass, else how they failed.
verdict() {
  local log code
  log=$(mktemp)
  TSAN_OPTIONS=exitcode=66:halt_on_error=1 timeout 300 $3 "$1" --test-case="$2" < /dev/null > "$log" 2>&1
  code=$?
  if grep -q 'ERROR: AddressSanitizer' "$log"; then echo asan
  elif grep -q 'runtime error' "$log"; then echo ubsan
  elif grep -q '^WARNING: ThreadSanitizer' "$log"; then echo race
  elif [ $code -eq 124 ]; then echo hangs
  elif grep -q 'test cases: *0' "$log"; then echo 'NO TEST'
  elif [ $code -ne 0 ]; then echo fails
  fi
  rm -f "$log"
}

while IFS='|' read -r name subject filter expression; do
  case $name in '' | '#'*) continue ;; esac
  [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
  count=$((count + 1))
  folder=$build/mutants/$name
  mkdir -p "$folder"
  mutant=$folder/$(basename "$subject")
  sed -E "$expression" "$subject" > "$mutant"
  if cmp -s "$subject" "$mutant"; then
    printf '%-34s %-30s %s\n' "$name" "$subject" 'FAIL: the fault changes nothing'
    bad=1
    continue
  fi
  caught=
  kinds=(plain asan tsan)
  case $subject in *.cu) ;; src/comm/*) kinds=(mpi) ;; *) kinds=(plain) ;; esac
  for kind in "${kinds[@]}"; do
    if ! make --no-print-directory -s "mutant-$kind" SUBJECT="$subject" MUTANT="$mutant" OUT="$folder/$kind" > "$folder/log" 2>&1; then
      caught='FAIL: does not compile'
      bad=1
      break
    fi
    result=$(verdict "$folder/$kind" "$filter" "$([ "$kind" != mpi ] || echo mpirun -n 2)")
    case $result in
      'NO TEST') caught="FAIL: no test '$filter'" bad=1 && break ;;
      ?*) caught="$kind: $result" && break ;;
    esac
  done
  [ -n "$caught" ] || { caught='FAIL: nobody' bad=1; }
  printf '%-34s %-30s %s\n' "$name" "$subject" "$caught"
done < tests/simt/product_mutants.txt
[ $count -gt 0 ] || { echo 'FAIL: no such fault'; bad=1; }
exit $bad
