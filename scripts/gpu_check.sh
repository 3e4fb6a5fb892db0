#!/usr/bin/env bash
# What a machine with a GPU can show: every kernel and the SIMT layer's wrappers on the real instructions (bin/simt_tests
# runs all that it has on the GPU too), the golden check in both element types and with either convolution, the whole job,
# NCCL where there are two GPUs, and, where compute-sanitizer is installed, the kernels' tests under it. Without a GPU it
# says so and exits with 0.
set -uo pipefail
cd "$(dirname "$0")/.."
gpus=$(ls /dev/nvidia[0-9]* 2> /dev/null | wc -l)
if [ "$gpus" = 0 ]; then
  echo "gpu-check: this machine has no GPU; nothing was checked"
  exit 0
fi
failed=0
step() {
  echo "== $*"
  "$@" || { echo "FAIL: $*"; failed=1; }
}
step bin/simt_tests
convs=(own)
if ldd bin/golden_check | grep -q libcudnn; then convs+=(cudnn); else echo "built without cuDNN: --conv cudnn not checked"; fi
for dtype in float32 bfloat16; do
  for conv in "${convs[@]}"; do
    step bin/golden_check --teacher data/tiny-wan --golden tests/golden/tiny-wan.h5 --device cuda --dtype "$dtype" \
      --conv "$conv"
  done
done
# The whole job, and where there are two GPUs NCCL between ranks.
step env DEVICE=cuda RANKS=$((gpus > 1 ? 2 : 1)) tests/scripts/devices.sh
if [ "$gpus" -gt 1 ]; then
  source scripts/mpi_env.sh
  for ranks in 2 $((gpus > 2 ? 3 : 0)) $((gpus > 3 ? 4 : 0)); do
    [ "$ranks" = 0 ] || step run_ranks "$ranks" bin/mpi_tests --ranks "$ranks"
  done
else
  echo "one GPU: NCCL between ranks not checked"
fi
# The toolkit's folder is not always on the path.
sanitizer=$(PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin command -v compute-sanitizer)
if [ -n "$sanitizer" ]; then
  for tool in memcheck racecheck synccheck; do
    step "$sanitizer" --tool "$tool" --error-exitcode 1 bin/simt_tests --test-case-exclude="*cuDNN*"
  done
else
  echo "compute-sanitizer is not installed: not run"
fi
[ $failed = 0 ] && echo "gpu-check: passed on $gpus GPU(s)"
exit $failed
