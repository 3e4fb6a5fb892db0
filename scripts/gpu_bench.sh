#!/usr/bin/env bash
# Times of the kernels on a GPU, then of cuDNN and PyTorch on the same inputs, where python3 (or PYTHON) has PyTorch with
# CUDA. The results as JSON lines in OUT.json and as a table in OUT.md; OUT is by default bench/results/HOST-gpu. Without a
# GPU it says so and exits with 0.
# usage: gpu_bench.sh [simt]    (simt: everything once, on small tensors, by the CPU; it says nothing about speed)
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda} peers=cuda
if [ "$device" = simt ]; then
  peers=cpu
elif ! ls /dev/nvidia[0-9]* > /dev/null 2>&1; then
  echo "gpu-bench: this machine has no GPU; nothing was measured"
  exit 0
else
  nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv,noheader 2> /dev/null || true
fi
out=${OUT:-bench/results/$(hostname)-gpu}
out=${out%.json}
bin/bench/gpu_bench --device "$device" --out "$out.json"
commit=$(git describe --always --dirty 2> /dev/null || echo unknown)
sed -i "s/^{/{\"commit\":\"$commit\",/" "$out.json"
python=${PYTHON:-python3}
if ! command -v "$python" > /dev/null; then
  echo "results in $out.json; without python3 there are no peers and no table"
  exit 0
fi
# Where a peer's result differs there is a table all the same.
status=0
"$python" bench/gpu_peers.py "$out.json" --device "$peers" || status=$?
"$python" bench/table.py "$out.json" > "$out.md.tmp"
mv "$out.md.tmp" "$out.md"
echo "results in $out.json and $out.md"
exit $status
