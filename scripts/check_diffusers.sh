#!/usr/bin/env bash
# Compares this program with diffusers: scripts/check_diffusers.py says what is compared.
#
#   scripts/check_diffusers.sh [STUDENT_FOLDER]
#
# Without a folder, a short run makes a student. scripts/venv.sh says where torch and diffusers come from.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/mpi_env.sh

work=build/check-diffusers
mkdir -p "$work"

source scripts/venv.sh

student=${1:-}
if [ -z "$student" ]; then
  student=$work/run/student
  rm -rf "$work/run"
  head -n 8 data/prompts_shapes.txt > "$work/prompts.txt"
  echo "training a student for a moment"
  run_ranks 2 bin/wandistill train --teacher_path data/tiny-wan --student_config data/student_tiny.json \
    --data_path "$work/prompts.txt" --output_dir "$work/run" --num_epochs 1 --batch_size 4 --seed 1 \
    --save_samples --sample_interval 1 > "$work/train.log" 2>&1 || { cat "$work/train.log"; exit 1; }
fi

# torch_dtype has a new name in the newest diffusers; the old one works in all.
PYTHONWARNINGS=ignore::FutureWarning HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error DIFFUSERS_VERBOSITY=error \
  "$VENV/bin/python" scripts/check_diffusers.py --student "$student" --work "$work"
