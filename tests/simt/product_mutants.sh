#!/usr/bin/env bash
# Our own kernels with a fault put into each, one after the other (product_mutants.txt): its tests must fail, in one of
# the builds. A table of who catches what; exit code 1 if a fault is caught by none or fits its kernel no more.
# usage: product_mutants.sh [NAME ...]
#        product_mutants.sh --some N [SEED]   N faults, drawn by the seed (any word; today's date) from those that the
#                                             plain build caught in faults.txt: sanitizers are not asked
set -uo pipefail
cd "$(dirname "$0")/../.."
# As root and with more ranks than cores, as in a container.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=1
build=${BUILD:-build}
count=0 missed=0 drawn='' kinds_asked='plain asan tsan'

# The names of the faults that the plain build is known to catch without hanging.
caught_plainly() {
  awk -F'|' 'NR == FNR { split($0, w, " +"); if (w[3] ~ /^(plain|mpi):$/ && w[4] == "fails") known[w[1]] = 1; next }
    $1 in known { print $1 }' tests/simt/faults.txt tests/simt/product_mutants.txt
}
if [ "${1:-}" = --some ]; then
  some=${2:-} seed=${3:-$(date +%F)} kinds_asked=plain
  [[ $some =~ ^[1-9][0-9]*$ ]] || { echo 'FAIL: --some how many?'; exit 1; }
  mapfile -t names < <(caught_plainly)
  [ ${#names[@]} -gt 0 ] || { echo 'FAIL: tests/simt/faults.txt names none (make fault-table)'; exit 1; }
  drawn=", drawn by seed $seed from ${#names[@]}"
  mapfile -t names < <(for name in "${names[@]}"; do echo "$(sha256sum <<< "$seed $name") $name"; done | sort | awk '{ print $3 }')
  set -- "${names[@]:0:some}"
fi
row() { printf '%-54s %-42s %s\n' "$@"; }
row fault kernel 'caught by'

# verdict SECONDS PROGRAM FILTER LAUNCHER: empty if its tests pass, else how they failed.
verdict() {
  local log code
  log=$(mktemp)
  TSAN_OPTIONS=exitcode=66:halt_on_error=1 timeout "$1" $4 "$2" --test-case="$3" < /dev/null > "$log" 2>&1
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
    row "$name" "$subject" 'FAIL: the fault changes nothing'
    missed=$((missed + 1))
    continue
  fi
  caught=
  case $subject in *.cu) kinds=$kinds_asked ;; src/comm/*) kinds=mpi ;; *) kinds=plain ;; esac
  for kind in $kinds; do
    if ! make --no-print-directory -s "mutant-$kind" SUBJECT="$subject" MUTANT="$mutant" OUT="$folder/$kind" > "$folder/log" 2>&1; then
      caught='FAIL: does not compile'
      break
    fi
    # Sanitizers take minutes for what is right.
    case $kind in asan | tsan) limit=1200 ;; *) limit=300 ;; esac
    result=$(verdict $limit "$folder/$kind" "$filter" "$([ "$kind" != mpi ] || echo mpirun -n 2)")
    case $result in
      'NO TEST') caught="FAIL: no test '$filter'" && break ;;
      ?*) caught="$kind: $result" && break ;;
    esac
  done
  row "$name" "$subject" "${caught:=FAIL: nobody}"
  case $caught in FAIL*) missed=$((missed + 1)) ;; *) rm -r "$folder" ;; esac
done < tests/simt/product_mutants.txt
[ $count -gt 0 ] || { echo 'FAIL: no such fault'; exit 1; }
echo "faults put into the kernels: $((count - missed)) caught, $missed not$drawn"
[ $missed = 0 ]
