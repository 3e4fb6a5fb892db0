#!/usr/bin/env bash
# A run that is stopped by a signal, or whose cache or checkpoints were damaged, ends where an undisturbed one ends.
source "$(dirname "$0")/../lib.sh"

# 38 training samples of 2 points, 10 batches of 4 per epoch.
options=(--data_path "$(prompts 21)" --validation_fraction 0.08 --batch_size 4 --num_epochs 3 --keep_checkpoints 9
  --cache_dir "$work/cache" --save_samples --sample_steps 2)
last=step_00000030.h5

at_step() { [ "$(metric loss "$1/metrics.jsonl" | wc -l)" -ge "$2" ]; }
scalar() { h5dump -A 0 -y -d "/$2" "$1" | sed -nE 's/^ +(-?[0-9]+)$/\1/p'; }

# stop_midway RANKS NAME: SIGUSR1 to the last rank alone, in the second epoch but not at its end (three attempts). The
# checkpoint is then $stopped.
stop_midway() {
  local attempt code position
  for attempt in 1 2 3; do
    rm -rf "${work:?}/$2"
    start_train "$1" "$2" "${options[@]}"
    wait_until at_step "$work/$2" 12
    kill -USR1 "$(cat "$work/$2.pid.$(($1 - 1))")"
    wait $job
    code=$?
    stopped=$(ls "$work/$2/checkpoints/"step_*.h5 | tail -n 1)
    position=$(scalar "$stopped" position)
    [ "$code" = 85 ] && [ "${position:-0}" != 0 ] && return
  done
  echo "exit code $code, checkpoint $stopped at position $position"
  return 1
}

same_end() {
  check "$1: the last checkpoint is the same to the bit" same_h5 "$2/checkpoints/$last" "$3/checkpoints/$last"
  check "$1: the best checkpoint too" same_h5 "$2/checkpoints/best.h5" "$3/checkpoints/best.h5"
  check "$1: the exported student too" diff -r -x README.md "$2/student" "$3/student"
  [ ! -e "$2/samples" ] ||
    check "$1: the pictures too" diff -r -x manifest.jsonl -x index.html "$2/samples" "$3/samples"
  agree "$1: every step's loss" 0 <(metric loss "$2/metrics.jsonl") <(metric loss "$3/metrics.jsonl")
  agree "$1: every epoch's validation error" 0 <(epoch_metric validation_error "$2/metrics.jsonl") \
    <(epoch_metric validation_error "$3/metrics.jsonl")
}

for ranks in 2 1; do
  whole=whole_$ranks parts=parts_$ranks
  trains "an uninterrupted run on $ranks ranks" $ranks $whole "${options[@]}"
  stop_midway $ranks $parts > "$work/stop.log"
  check "SIGUSR1 to one of $ranks ranks: exit code 85 and a checkpoint within an epoch" test $? = 0
  check "... and it says how to go on" grep -q "run the same command again" "$work/$parts.log"
  trains "the same command again" $ranks $parts "${options[@]}"
  check "... resumed at the step of the checkpoint" \
    grep -q "resumed at step $(scalar "$stopped" step)," "$work/$parts.log"
  same_end "stopped and resumed on $ranks ranks" "$work/$whole" "$work/$parts"
done

# The signal in the last step of an epoch, here of one step: what ends an epoch is done before the run stops. (Without
# pictures: a signal while they are drawn stops the run there.)
short=(--data_path "$(prompts 21)" --validation_fraction 0.08 --batch_size 64 --num_epochs 3 --keep_checkpoints 9
  --cache_dir "$work/cache")
trains "epochs of one step" 2 whole_short "${short[@]}"
start_train 2 parts_short "${short[@]}"
wait_until grep -q "trajectories present" "$work/parts_short.log"
kill -USR1 "$(cat "$work/parts_short.pid.1")"
wait $job
check "SIGUSR1 before the first of them: exit code 85" test $? = 85
check "... after one step" test "$(metric loss "$work/parts_short/metrics.jsonl" | wc -l)" = 1
trains "the same command again" 2 parts_short "${short[@]}"
last=step_00000003.h5
same_end "stopped at the end of an epoch" "$work/whole_short" "$work/parts_short"
last=step_00000030.h5

# Damaged checkpoints, newest first: cut off; a byte of a weight changed (in the middle of the file, which is weights).
cp -r "$work/whole_2" "$work/damaged"
checkpoints=$work/damaged/checkpoints
truncate -s 100000 "$checkpoints/$last"
flip_byte "$checkpoints/step_00000020.h5" $(($(size "$checkpoints/step_00000020.h5") / 2))
rm "$work/damaged/metrics.jsonl" "$checkpoints/best.h5"
trains "a run whose newest checkpoints are damaged" 2 damaged "${options[@]}"
for file in $last step_00000020.h5; do
  check "... passed over $file by name, once" \
    test "$(grep -c "skipping a checkpoint: $checkpoints/$file" "$work/damaged.log")" = 1
done
check "... and resumed from the older one" grep -q "resumed at step 10," "$work/damaged.log"
check "... to the same end" same_h5 "$checkpoints/$last" "$work/whole_2/checkpoints/$last"

# The teacher cache.
present() { grep -o "[0-9]* of [0-9]* trajectories present" "$work/$1.log"; }
check "a complete cache was reused" test "$(present whole_1)" = "21 of 21 trajectories present"
check "... without teacher work" not grep -q "^teacher: " "$work/whole_1.log"

cp -r "$work/cache" "$work/cache_less"
lost=$(h5ls "$work/cache/shard_rank_1_0000.h5/repetition" | sed -nE 's/.*\{([0-9]+)\}.*/\1/p')
rm "$work/cache_less/shard_rank_1_0000.h5"
trains "a run on 3 ranks whose cache lost a shard" 3 cache_less --data_path "$(prompts 21)" \
  --cache_dir "$work/cache_less"
check "... computed what was in it: $(present cache_less)" \
  test "$(present cache_less)" = "$((21 - lost)) of 21 trajectories present"

slow=(--data_path "$(prompts 60)" --num_steps 1 --teacher_steps 25 --teacher_batch 1)
start_train 2 cache_stopped "${slow[@]}"
wait_until grep -q "trajectories present" "$work/cache_stopped.log"
sleep 1
kill -USR1 "$(cat "$work/cache_stopped.pid.1")"
wait $job
check "SIGUSR1 while the teacher works: exit code 85" test $? = 85
check "... and it says that the cache is kept" grep -q "cache keeps what was computed" "$work/cache_stopped.log"
trains "the same command again" 2 cache_stopped "${slow[@]}"
check "... completes the cache: $(present cache_stopped)" \
  awk '{ exit !($1 > 0 && $1 < $3) }' <(present cache_stopped)
finish
