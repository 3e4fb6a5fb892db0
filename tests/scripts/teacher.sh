#!/usr/bin/env bash
# A teacher of widths between the embedded one's and a real one's, with random weights: one forward pass against float64,
# memory as planned, and shared by the ranks of a node. tests/long/teacher.sh has the real widths.
source "$(dirname "$0")/../lib.sh"
source tests/teacher.sh

check "a random teacher, 12 heads of 128" make_random_teacher random 12 128 4096 768 1536
check "... in several files" test "$(find "$work/random/transformer" -name '*.safetensors' | wc -l)" -ge 2
check "... forward passes agree with float64" bin/teacher_check "$work/random" 128
sed 's/^/      /' "$work/check.log"
as_planned 15 random 512  # a small process, beside which the system's own swings count
shared_weights 70 random 64  # with weights of its own: as much again
check "... and says what was read" grep -q "experts: mapped from its files, computed on the CPU in float32; read .* GB/s" "$work/node.log"
finish
