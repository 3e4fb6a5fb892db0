#!/usr/bin/env bash
# A run goes on on other numbers of ranks, 2, then 3, then 1: the same samples with the same noise in the same order, and
# but for the order of additions the same losses. Likewise where the ranks share the optimizer's state.
#
# STEPS (30): of the run, which is stopped after about a fourth of them and again after about five eighths; if it is set,
# more changes of --zero are tried, else one.
source "$(dirname "$0")/../lib.sh"

steps=${STEPS:-30} zeros=("0 1 0")
[ -z "${STEPS:-}" ] || zeros+=("0 0 0" "1 1 1")
# 57 samples, 8 batches of 7 and one of 1 per epoch; the noise of the second loss depends on step and place in the batch.
options=(--data_path "$(prompts 24)" --cache_dir "$work/cache" --teacher_steps 3 --validation_fraction 0.2
  --batch_size 7 --num_epochs 20 --num_steps "$steps" --renoise_weight 0.5)

# stopped RANKS NAME STEP OPTIONS...: a run that SIGUSR1 stops after this step or one soon after.
stopped() {
  local ranks=$1 name=$2 step=$3
  shift 3
  start_train "$ranks" "$name" "${options[@]}" "$@"
  wait_until grep -q "\"step\":$step," "$work/$name/metrics.jsonl"
  kill -USR1 "$(cat "$work/$name.pid.$((ranks - 1))")"
  wait $job
  local code=$?
  check "$name: stopped on $ranks ranks after step $(metric loss "$work/$name/metrics.jsonl" | wc -l)" test $code = 85
}

# samples_of NAME: "step place number" of every sample that a rank had, by the key of its noise (step and place).
samples_of() {
  cat "$work/$1.had."* | awk '
    $1 == "sample" { sample = $2 }
    $1 == "noise" { print int($2 / 16777216), $2 % 16777216, sample }' | sort -n -k 1 -k 2
}

# Slow enough that a signal comes in time.
record() {
  export WANDISTILL_FAULT_LOG=$work/$1.had
  inject log:sample,log:noise,delay:step:seconds=0.03
}

same_run() {  # NAME: as the run `whole`
  check "$1: the same samples and noise in the same order" cmp <(samples_of whole) <(samples_of "$1")
  agree "$1: losses" 1e-5 <(metric loss "$work/whole/metrics.jsonl") <(metric loss "$work/$1/metrics.jsonl")
  agree "$1: validation errors" 1e-2 <(epoch_metric validation_error "$work/whole/metrics.jsonl") \
    <(epoch_metric validation_error "$work/$1/metrics.jsonl")
}

record whole
trains "an undisturbed run on 2 ranks" 2 whole "${options[@]}"
samples=$((steps / 9 * 57 + steps % 9 * 7))
check "... $samples samples, each once" \
  test "$(samples_of whole | wc -l) $(samples_of whole | cut -d ' ' -f 1,2 | uniq | wc -l)" = "$samples $samples"

for zero in "${zeros[@]}"; do
  read -r first second third <<< "$zero"
  name=zero_${zero// /}
  record "$name"
  stopped 2 "$name" $((steps / 4)) --zero "$first"
  stopped 3 "$name" $((steps * 5 / 8)) --zero "$second"
  trains "$name: and on 1 rank to the end" 1 "$name" "${options[@]}" --zero "$third"
  same_run "$name"
done

# On the same number of ranks the bits are the same, whether the state is shared, and whether the run was stopped.
record shared
stopped 2 shared $((steps / 4)) --zero 1
trains "shared: on 2 ranks to the end" 2 shared "${options[@]}" --zero 1
check "shared: the same samples" cmp <(samples_of whole) <(samples_of shared)
last=$(printf 'step_%08d.h5' "$steps")
check "shared: to the same checkpoint, bit by bit" same_h5 "$work/whole/checkpoints/$last" "$work/shared/checkpoints/$last"
check "... and the same student" diff -r -x README.md "$work/whole/student" "$work/shared/student"
agree "... with the same losses" 0 <(metric loss "$work/whole/metrics.jsonl") <(metric loss "$work/shared/metrics.jsonl")
finish
