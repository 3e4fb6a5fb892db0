#!/usr/bin/env bash
# The whole job with the CUDA kernels, which the SIMT layer runs on the CPU: teacher, training, validation, pictures,
# checkpoints. It follows the run on the CPU, in float32 and in bfloat16, and its files are as the CPU's.
# DEVICE=cuda: on GPUs, one for each of RANKS (2) ranks.
source "$(dirname "$0")/../lib.sh"
device=${DEVICE:-simt} ranks=${RANKS:-2}

# 6 prompts of 2 points, one held out; 3 samples on rank 0, 4 on rank 1, two micro batches.
training=(--data_path "$(prompts 6)" --validation_fraction 0.2 --batch_size 7 --micro_batch 2
  --init random --lr 1e-3 --warmup_steps 1 --num_epochs 4 --renoise_weight 0.5)
pictures=(--save_samples --sample_steps 2 --sample_interval 4)
options=("${training[@]}" "${pictures[@]}" --sample_prompts "a red star" "a blue ring")

losses() { metric loss "$work/$1/metrics.jsonl" > "$work/losses.$1"; }

trains "on the CPU" $ranks cpu "${options[@]}" --num_steps 4 --device cpu
trains "on devices, float32" $ranks float32 "${options[@]}" --num_steps 4 --device $device
trains "the same, teacher and student in bfloat16" $ranks bfloat16 "${options[@]}" --num_steps 4 --device $device \
  --teacher_dtype bfloat16 --student_dtype bfloat16
trains "the same with --gradient_checkpointing" $ranks recomputed "${training[@]}" --num_steps 4 --device $device \
  --cache_dir "$work/float32/cache" --gradient_checkpointing
check "the log says what a rank's memory goes to" \
  grep -q "^memory of a rank.*: text encoding .* training .* (weights, gradients, moments, average .* are free" "$work/recomputed.log"
# On the CPU products alone are rounded, where it has instructions for that; without them float32 is said and computed.
trains "on the CPU with --compute_dtype bf16" $ranks cpu_bf16 "${options[@]}" --num_steps 4 --device cpu --compute_dtype bf16
trains "the same by one rank" 1 cpu_bf16_one "${options[@]}" --num_steps 4 --device cpu --compute_dtype bf16
if grep -q "the student in bfloat16 by" "$work/cpu_bf16.log"; then rounds=yes; else rounds=no; fi
check "... says what it computes in" grep -q "the student in \(bfloat16 by A\|float32 (not every CPU\)" "$work/cpu_bf16.log"
# The optimizer's state shared: the sums of two ranks do not depend on the order. Rank 1 draws no picture.
shared() {
  local dtype=$1
  shift
  trains "the same in $dtype, the optimizer's state shared" $ranks "zero_$dtype" "${training[@]}" "$@" --num_steps 4 \
    --device $device --student_dtype "$dtype" --teacher_dtype "$dtype" --cache_dir "$work/$dtype/cache" --zero 1
  check "... to the same checkpoint, bit by bit" same_h5 "$work/$dtype/checkpoints/step_00000004.h5" \
    "$work/zero_$dtype/checkpoints/step_00000004.h5"
}
shared float32 "${pictures[@]}" --sample_prompts "a red star" --sample_split off
check "... and the same picture" cmp "$work/"{,zero_}float32/samples/epoch_0002_rank_0_sample_00.png
shared bfloat16
for run in cpu float32 bfloat16 recomputed cpu_bf16 cpu_bf16_one; do losses $run; done
check "four losses" test "$(wc -l < "$work/losses.cpu")" = 4
agree "losses, float32 and the CPU" 1e-4 "$work/losses.cpu" "$work/losses.float32"
check "losses with activations computed again, the same" cmp "$work/losses.float32" "$work/losses.recomputed"
agree "losses, bfloat16 and the CPU" 2e-2 "$work/losses.cpu" "$work/losses.bfloat16"
agree "losses, products of bfloat16 on the CPU" 5e-3 "$work/losses.cpu" "$work/losses.cpu_bf16"
agree "... by one rank and by two" 1e-3 "$work/losses.cpu_bf16_one" "$work/losses.cpu_bf16"
if [ $rounds = yes ]; then
  check "... which are rounded" not cmp -s "$work/losses.cpu" "$work/losses.cpu_bf16"
fi
for run in float32 bfloat16; do
  check "$run: pictures of all ranks and of the teacher" test "$(ls "$work/$run/samples/"*rank_*.png | wc -l)" -ge 6
  check "... of rank $((ranks - 1)) too" ls "$work/$run/samples/"epoch_*_rank_$((ranks - 1))_*.png
done
check "the trajectories of the teacher are the CPU's" h5diff --delta=1e-3 \
  "$work/cpu/cache/shard_rank_0_0000.h5" "$work/float32/cache/shard_rank_0_0000.h5" latents

trains "a checkpoint of the devices is gone on with on the CPU" $ranks float32 "${options[@]}" --num_steps 5 --device cpu
check "from where it was" grep -q "resumed at step 4" "$work/float32.log"
trains "one of a shared state too, by three ranks" 3 zero_float32 "${training[@]}" --num_steps 5 --device cpu --zero 1 \
  --cache_dir "$work/float32/cache"
check "from where it was" grep -q "resumed at step 4" "$work/zero_float32.log"
for run in float32 zero_float32; do losses $run; done
agree "... with its losses" 1e-5 "$work/losses.float32" "$work/losses.zero_float32"

# sample_on DEVICE OPTIONS...: two pictures by all ranks, the latents in $work/DEVICE.h5.
sample_on() {
  local where=$1
  shift
  run_ranks $ranks "$program" sample --model "$teacher" --prompt "a red star" "a blue ring" --steps 2 --image_size 64 \
    --out "$work/sample_$where" --save_latents "$work/$where.h5" --device "$where" "$@" > "$work/sample.log" 2>&1
}
check "the teacher's pictures on the CPU" sample_on cpu
check "and on devices" sample_on $device
check "have the same latents" h5diff --delta=1e-3 "$work/cpu.h5" "$work/$device.h5" latents
rm "$work/$device.h5"
check "one picture drawn by all devices" sample_on $device --prompt "a red star"
if [ ! -e /dev/nvidiactl ]; then
  check "--device cuda without a GPU is an error that says so" bash -c \
    "! '$program' sample --model $teacher --prompt x --out '$work/none' --device cuda > '$work/cuda.log' 2>&1 &&
      grep -q 'GPU\|CUDA' '$work/cuda.log'"
fi
# The experts in every place that they can have on a device: the same trajectories.
placed() {
  run_ranks 1 "$program" cache --device $device --image_size 32 --cache_dir "$work/$1" --data_path "$(prompts 2)" --teacher_steps 4 \
    --teacher_batch 1 --teacher_placement "$1" > "$work/$1.log" 2>&1
}
check "trajectories with --teacher_placement resident" placed resident
for placement in expert stream; do
  check "trajectories with --teacher_placement $placement" placed $placement
  for values in latents velocity x0; do
    check "... $values as with resident experts" \
      h5diff "$work/resident/shard_rank_0_0000.h5" "$work/$placement/shard_rank_0_0000.h5" $values
  done
done
check "... streamed" grep -q "block by block to the GPU" "$work/stream.log"
check "two placements are an error" not "$program" cache --cache_dir "$work/none" --teacher_placement expert --teacher_on_cpu
finish
