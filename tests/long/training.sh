#!/usr/bin/env bash
# Longer runs on more ranks and prompts, and the options that must change how a loss is computed but not the loss.
source "$(dirname "$0")/../lib.sh"

# run NAME RANKS OPTIONS...: 40 steps; the losses go to $work/NAME.loss.
run() {
  local name=$1 ranks=$2
  shift 2
  trains "$name on $ranks ranks" "$ranks" "$name" --num_epochs 20 --num_steps 40 --init random "$@"
  metric loss "$work/$name/metrics.jsonl" > "$work/$name.loss"
  check "... 40 steps" test "$(wc -l < "$work/$name.loss")" = 40
}
same_loss() { agree "$1 as $2" 1e-5 "$work/$2.loss" "$work/$1.loss"; }
other_loss() { check "$1 is not $2" not cmp "$work/$2.loss" "$work/$1.loss"; }

data=(--data_path "$(prompts 60)" --cache_dir "$work/cache" --teacher_steps 4 --batch_size 22)
run plain 1 "${data[@]}"
run ranks_4 4 "${data[@]}"
same_loss ranks_4 plain
run checkpointing 2 "${data[@]}" --gradient_checkpointing
same_loss checkpointing plain
run micro_batch 2 "${data[@]}" --micro_batch 3
same_loss micro_batch plain
run both 3 "${data[@]}" --micro_batch 2 --gradient_checkpointing
same_loss both plain

run renoise 1 "${data[@]}" --renoise_weight 0.5
other_loss renoise plain
run renoise_4 4 "${data[@]}" --renoise_weight 0.5 --micro_batch 2
same_loss renoise_4 renoise

run repetitions 1 "${data[@]}" --repetitions 2
check "... the second repetition came into the cache" grep -q "60 of 120 trajectories present" "$work/repetitions.log"
other_loss repetitions plain
run repetitions_3 3 "${data[@]}" --repetitions 2
check "... and stayed there" grep -q "120 of 120 trajectories present" "$work/repetitions_3.log"
same_loss repetitions_3 repetitions

# Prompts that fill all 512 positions, and more: no padding key is left in cross-attention.
for count in 1 60 511 700; do
  yes "star" | head -n $count | tr '\n' ' '
  echo
done > "$work/long_prompts.txt"
long=(--data_path "$work/long_prompts.txt" --cache_dir "$work/cache_long" --batch_size 3 --validation_fraction 0
  --save_samples --sample_interval 20 --sample_steps 2)
run long_prompts 1 "${long[@]}"
run long_prompts_2 2 "${long[@]}"
same_loss long_prompts_2 long_prompts

# A student that is wider than high, through training, pictures and export.
sed 's/"image_size": *[0-9]*/"image_size": [64, 112]/' data/student_tiny.json > "$work/wide.json"
wide=(--student_config "$work/wide.json" --data_path "$(prompts 12)" --cache_dir "$work/cache_wide" --batch_size 7
  --validation_fraction 0 --save_samples --sample_interval 20 --sample_steps 2)
run wide 1 "${wide[@]}"
run wide_2 2 "${wide[@]}"
same_loss wide_2 wide
picture_size() { od -An -tu1 -j 16 -N 8 "$1" | awk '{ print $3 * 256 + $4, $7 * 256 + $8 }'; }
check "... pictures of 112 x 64" test "$(picture_size "$work/wide/samples/teacher_rank_0_sample_00.png")" = "112 64"
check "... drawn by the export too" run_ranks 2 "$program" sample --model "$work/wide/student" --prompt "a red star" \
  --height 64 --width 112 --steps 2 --out "$work/wide_out"
check "... of that size" test "$(picture_size "$work/wide_out/rank_0_sample_00.png")" = "112 64"
finish
