#!/usr/bin/env bash
# The benchmark of the GPU's kernels, tiny, by the SIMT layer: it runs, and leaves what its peers go on from.
source "$(dirname "$0")/../lib.sh"

results=$work/results/simt.json table=$work/results/simt.md
# A Python without PyTorch, whose peers would take minutes.
printf '#!/bin/sh\nexec python3 -S "$@"\n' > "$work/python"
chmod +x "$work/python"
check "every op, a decode and a training step" env OUT="$results" PYTHON="$work/python" scripts/gpu_bench.sh simt
check "a line for each" test "$(grep -c '"median_seconds":' "$results")" -ge 46
check "each has its bytes" not grep -v '"bytes":[1-9]' "$results"
check "... and its FLOP, where there are any" bash -c '! grep -v GB/s "$0" | grep -v "\"flop\":[1-9]"' "$results"
check "... and stands beside a ceiling" bash -c '! grep -v "(ceiling)" "$0" | grep -v "\"percent_of_ceiling\":[0-9]"' "$results"
for op in attention attention_backward conv2d vae_decode student_step transformer_forward; do
  # NaN would be null.
  check "$op: a sample of finite results" grep -qE "\"op\":\"$op\".*\"sample\":\{\"[a-z]+\":\[-?[0-9]" "$results"
  check "$op: nothing else" not grep -qE "\"op\":\"$op\".*\"sample\":.*null" "$results"
done
if command -v python3 > /dev/null; then
  # Two peers, as if there were PyTorch: one gives our results, one fails.
  cat > "$work/peers.py" << 'END'
import json, sys
sys.path.insert(0, "bench")
import gpu_peers


def peers(case):
    yield "twin", lambda: line["sample"], lambda: sum(range(1000))
    yield "broken", lambda: 1 / 0, None


gpu_peers.DEVICE = gpu_peers.DEVICE_NAME = "cpu"
with open(sys.argv[1]) as file:
    line = next(line for line in map(json.loads, file) if line["name"] == "attention")
gpu_peers.PARTS = {"attention": peers}
rows = []
assert gpu_peers.run_peers(line, rows.append)
with open(sys.argv[1], "a") as file:
    file.writelines(json.dumps(row) + "\n" for row in rows)
END
  check "a table of all rows" test "$(grep -c '^| gpu_bench | ' "$table")" = "$(wc -l < "$results")"
  check "... with FLOP, bytes, rate and share" grep -qE '^\| gpu_bench \| attention \| B 1[^|]* \| [0-9.]+ \| [0-9]+% \| 0\.001 \| 0\.04 \| [0-9.]+ TFLOP/s \| [0-9]+ \|$' "$table"
  check "peers beside ours" bash -c 'python3 "$0/peers.py" "$1" && python3 bench/table.py "$1" > "$2"' "$work" "$results" "$table"
  check "... with factor and difference" grep -qE '^\| gpu_peers \| attention \| .* \| twin \| .* \| [0-9]+ \| [0-9]+\.[0-9]{2} \| 0\.0000 \|  \|$' "$table"
  check "... and why one failed" grep -qE '^\| gpu_peers \| attention \| .* \| broken \| .* \| failed: ZeroDivisionError' "$table"
fi
if [ ! -e /dev/nvidiactl ]; then
  check "without a GPU it says so" bash -c 'bin/bench/gpu_bench --out "$0/none.json" | grep -q "has no GPU"' "$work"
  check "... and writes nothing" test ! -e "$work/none.json"
  if command -v python3 > /dev/null; then
    check "so do its peers" bash -c 'python3 bench/gpu_peers.py "$0" | grep -q "nothing to compare with"' "$results"
  fi
fi
finish
