#!/usr/bin/env bash
# The benchmark of the GPU's kernels, tiny, by the SIMT layer: it runs, and leaves what its peers go on from.
source "$(dirname "$0")/../lib.sh"

results=$work/results/simt.json
check "every op, a decode and a training step" bin/bench/gpu_bench --device simt --out "$results"
check "a line for each" test "$(grep -c '"median_seconds":' "$results")" -ge 46
check "each has its bytes" not grep -v '"bytes":[1-9]' "$results"
check "... and its FLOP, where there are any" bash -c '! grep -v GB/s "$0" | grep -v "\"flop\":[1-9]"' "$results"
check "... and stands beside a ceiling" bash -c '! grep -v "(ceiling)" "$0" | grep -v "\"percent_of_ceiling\":[0-9]"' "$results"
for op in attention attention_backward conv2d vae_decode student_step transformer_forward; do
  # NaN would be null.
  check "$op: a sample of finite results" grep -qE "\"op\":\"$op\".*\"sample\":\{\"[a-z]+\":\[-?[0-9]" "$results"
  check "$op: nothing else" not grep -qE "\"op\":\"$op\".*\"sample\":.*null" "$results"
done
if [ ! -e /dev/nvidiactl ]; then
  check "without a GPU it says so" bash -c 'bin/bench/gpu_bench --out "$0/none.json" | grep -q "has no GPU"' "$work"
  check "... and writes nothing" test ! -e "$work/none.json"
  if command -v python3 > /dev/null; then
    check "so do its peers" bash -c 'python3 bench/gpu_peers.py "$0" | grep -q "nothing to compare with"' "$results"
  fi
fi
finish
