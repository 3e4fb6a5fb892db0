#!/usr/bin/env bash
# 1, 2 and 3 ranks at the same global batch follow one trajectory, two of them in micro batches. The batch divides by neither 2 nor 3, and the last
# one of an epoch is smaller than the number of ranks.
source "$(dirname "$0")/../lib.sh"

# 24 prompts of 3 points, 5 prompts held out: 57 samples, 8 batches of 7 and one of 1 per epoch; on 2 and 3 ranks the
# last one leaves ranks without a sample.
options=(--data_path "$(prompts 24)" --cache_dir "$work/cache" --teacher_steps 3 --validation_fraction 0.2
  --batch_size 7 --num_epochs 20 --num_steps 50)

compare() {  # NAME LOSS-BOUND OPTIONS...
  local name=$1 bound=$2 ranks
  shift 2
  for ranks in 1 2 3; do
    trains "$name start: 50 steps on $ranks ranks" $ranks "${name}_$ranks" "${options[@]}" "$@" \
      --micro_batch $((ranks == 2 ? 3 : 0))
    metric loss "$work/${name}_$ranks/metrics.jsonl" > "$work/loss_$ranks"
    epoch_metric validation_error "$work/${name}_$ranks/metrics.jsonl" > "$work/validation_$ranks"
  done
  check "one rank did 50 steps and 6 validations" \
    test "$(wc -l < "$work/loss_1") $(wc -l < "$work/validation_1")" = "50 6"
  check "the student learned something" \
    awk 'NR == 1 { first = $2 } END { exit !(NR > 1 && $2 < 0.9 * first) }' "$work/loss_1"
  for ranks in 2 3; do
    agree "losses of $ranks ranks and of one" "$bound" "$work/loss_1" "$work/loss_$ranks"
    agree "validation errors of $ranks ranks and of one" 1e-5 "$work/validation_1" "$work/validation_$ranks"
  done
}

compare random 1e-5 --init random
compare default 1e-5
finish
