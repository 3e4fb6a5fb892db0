#!/usr/bin/env bash
# Random ranks are killed (SIGKILL) at random times over a run, KILLS times (5), and the run is started again each time:
# it ends where an undisturbed one ends, bit by bit, and nothing half-written stays.
source "$(dirname "$0")/../lib.sh"

kills=${KILLS:-5} seed=${SEED:-$RANDOM}
RANDOM=$seed
echo "SEED=$seed KILLS=$kills"

# 38 training samples of 2 points, 10 batches of 4 per epoch.
options=(--data_path "$(prompts 21)" --validation_fraction 0.08 --batch_size 4 --num_epochs 6 --keep_checkpoints 2
  --keep_every 3 --save_samples --sample_interval 2 --sample_steps 2)
last=step_00000060.h5

same_end() {
  local a=$work/whole b=$work/killed
  check "... the same checkpoints are there" diff <(ls "$a/checkpoints") <(ls "$b/checkpoints")
  check "... the last one is the same to the bit" same_h5 "$a/checkpoints/$last" "$b/checkpoints/$last"
  check "... the best one too" same_h5 "$a/checkpoints/best.h5" "$b/checkpoints/best.h5"
  check "... the exported student too" diff -r -x README.md "$a/student" "$b/student"
  check "... the pictures too" diff -r -x manifest.jsonl -x index.html "$a/samples" "$b/samples"
  agree "... every step's loss" 0 <(metric loss "$a/metrics.jsonl") <(metric loss "$b/metrics.jsonl")
  agree "... every epoch's validation error" 0 <(epoch_metric validation_error "$a/metrics.jsonl") \
    <(epoch_metric validation_error "$b/metrics.jsonl")
  check "... no temporary file stays" test -z "$(find "$b" -name '*.tmp*')"
}

now_ms() { date +%s%3N; }
start=$(now_ms)
trains "an undisturbed run" 2 whole "${options[@]}"
[ $failed = 0 ] || finish
length=$(($(now_ms) - start))

landed=0 runs=0 resumed=0
while [ $landed -lt "$kills" ]; do
  runs=$((runs + 1))
  rm -f "$work"/killed.pid.*
  start_train 2 killed "${options[@]}"
  wait_until test -s "$work/killed.pid.0" -a -s "$work/killed.pid.1"
  sleep "$(awk -v ms=$((RANDOM * length / 32768)) 'BEGIN { printf "%.3f", ms / 1000 }')"
  kill -KILL "$(cat "$work/killed.pid.$((RANDOM % 2))")" 2> /dev/null
  wait $job
  code=$?
  cat "$work/killed.log" >> "$work/killed.all.log"
  grep -q "^resumed at step" "$work/killed.log" && resumed=$((resumed + 1))
  if [ $code != 0 ]; then
    landed=$((landed + 1))
  else  # it was faster
    same_end
    rm -rf "$work/killed"
  fi
  [ $failed = 0 ] || finish
done
pass "$landed of $runs runs were killed, $resumed had gone on from a checkpoint"
trains "the same command again finishes" 2 killed "${options[@]}"
same_end
finish
