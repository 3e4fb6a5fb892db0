#!/usr/bin/env bash
# A teacher of the real widths of Wan2.2-T2V-A14B (40 heads of 128, feed-forward 13824, text 4096), with random weights and one
# block per expert.
source "$(dirname "$0")/../lib.sh"
source tests/teacher.sh

check "a random teacher of the real widths" make_random_teacher random 40 128 13824 4096 10240
export OMP_NUM_THREADS
OMP_NUM_THREADS=$(nproc)
check "... forward passes at 1024 pixels agree with float64" bin/teacher_check "$work/random" 1024
sed 's/^/      /' "$work/check.log"
as_planned 10 random 1024
OMP_NUM_THREADS=1
shared_weights 10 random 128
finish
