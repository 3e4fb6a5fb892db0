#!/usr/bin/env bash
# Runs the benchmarks given (default: all that `make bench` builds) and writes their rows to OUT.json, a line each, and as a
# table to OUT.md. OUT is by default bench/results/HOST.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-bench/results/$(hostname)}
out=${out%.json}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for program in "$@"; do
  echo "== $program"
  "$program" | tee -a "$log" | grep -v '^{'
done
mkdir -p "$(dirname "$out")"
commit=$(git describe --always --dirty 2> /dev/null || echo unknown)
grep '^{' "$log" | sed "s/^{/{\"commit\":\"$commit\",/" > "$out.json.tmp"
mv "$out.json.tmp" "$out.json"
if command -v python3 > /dev/null; then
  python3 bench/table.py "$out.json" > "$out.md.tmp"
  mv "$out.md.tmp" "$out.md"
  echo "results in $out.json and $out.md"
else
  echo "results in $out.json; without python3 there is no table"
fi
