#!/usr/bin/env bash
# Submits the cache stage as a job array and a training that starts when all of it is done:
#
#   TEACHER=Wan-AI/Wan2.2-T2V-A14B-Diffusers STUDENT=data/student_1024.json PROMPTS=data/static_prompts.txt \
#     OUTPUT=runs/wan14b jobs/cache_then_train.sh --num_epochs 50
#
# The options are those of `wandistill train`. TRAIN_JOB=jobs/train_many_nodes.sbatch trains on several nodes.
set -euo pipefail
cd "$(dirname "$0")/.."
source jobs/site.sh
: "${TRAIN_JOB:=jobs/train_one_node.sbatch}"

array=$(sbatch --parsable jobs/cache_array.sbatch)
train=$(sbatch --parsable --dependency="afterok:${array%%;*}" --kill-on-invalid-dep=yes "$TRAIN_JOB" "$@")
echo "cache: job array $array; training, once that is done: job $train"
