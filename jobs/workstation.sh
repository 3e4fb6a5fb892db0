#!/usr/bin/env bash
# Distils a teacher on one machine. Start it anywhere; options are passed on:
#
#   jobs/workstation.sh --num_epochs 20
#   RANKS=4 TEACHER=Wan-AI/Wan2.2-T2V-A14B-Diffusers STUDENT=data/student_1024.json PROMPTS=data/static_prompts.txt \
#     OUTPUT=runs/wan14b jobs/workstation.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

# What to change: one rank per group of cores that share a memory is a good start; the cores are divided among the ranks.
: "${RANKS:=2}"
: "${TEACHER:=$root/data/tiny-wan}"
: "${STUDENT:=$root/data/student_tiny.json}"
: "${PROMPTS:=$root/data/prompts_shapes.txt}"
: "${OUTPUT:=run}"

source "$root/scripts/mpi_env.sh"  # root, oversubscription and thread counts
run_ranks "$RANKS" "$root/bin/wandistill" train \
  --teacher_path "$TEACHER" --student_config "$STUDENT" --data_path "$PROMPTS" --output_dir "$OUTPUT" \
  --save_samples "$@"
