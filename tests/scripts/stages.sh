#!/usr/bin/env bash
# The stages of a run as a profiler sees them: NVTX ranges, nested, none left open.
source "$(dirname "$0")/../lib.sh"

recorder=$PWD/bin/nvtx_recorder.so
if [ ! -e "$recorder" ]; then
  echo "SKIPPED: stages for profilers (built without CUDA's NVTX)"
  finish
fi
export NVTX_INJECTION64_PATH=$recorder NVTX_RECORD=$work/ranges
trains "a run on two ranks under a recorder of ranges" 2 run --data_path "$(prompts 9)" --batch_size 6 --save_samples \
  --sample_steps 2 --sample_prompts "a red star" "a blue ring"
check "both ranks have ranges" test "$(ls "$work"/ranges.* | wc -l)" = 2
for range in text teacher "training step" "  data" "  forward" "  backward" "  all-reduce" "  optimizer" validation \
  sampling decode; do
  check "every rank has '$range'" test "$(grep -lx "$range" "$work"/ranges.* | wc -l)" = 2
done
check "rank 0 copies and writes checkpoints" test "$(grep -lx "checkpoint copy" "$work"/ranges.* | wc -l) $(
  grep -lx "checkpoint" "$work"/ranges.* | wc -l)" = "1 1"
check "every range that ends has begun" not grep -q "had not begun" "$work"/ranges.*
finish
