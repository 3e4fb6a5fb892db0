#!/usr/bin/env bash
# Times of the kernels on a GPU, then of cuDNN and PyTorch on the same inputs, where python3 (or PYTHON) has PyTorch with
# CUDA. The results as JSON lines in OUT, by default bench/results/HOST.json. Without a GPU it says so and exits with 0.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! ls /dev/nvidia[0-9]* > /dev/null 2>&1; then
  echo "gpu-bench: this machine has no GPU; nothing was measured"
  exit 0
fi
out=${OUT:-bench/results/$(hostname).json}
nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv,noheader 2> /dev/null || true
bin/bench/gpu_bench --out "$out"
"${PYTHON:-python3}" bench/gpu_peers.py "$out"
echo "results in $out"
