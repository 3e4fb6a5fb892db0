#!/usr/bin/env bash
# Writes tests/simt/faults.txt: who catches the faults of the test kernels (mutants.sh) and those put into our own
# (product_mutants.sh). Exit code 1 if one is not caught.
set -uo pipefail
cd "$(dirname "$0")/../.."
table=$(mktemp)
trap 'rm -f "$table"' EXIT
{
  echo 'Who catches the faults that are put into kernels (make fault-table).'
  echo
  tests/simt/mutants.sh
  code=$?
  echo
  tests/simt/product_mutants.sh && exit $code
} | tee "$table"
code=$?
cp "$table" tests/simt/faults.txt
exit $code
