#!/usr/bin/env bash
# Checkpoints survive: a disk that fills up, a rank that is killed while one is written. Training ends where an
# undisturbed run ends, and says what happened.
source "$(dirname "$0")/../lib.sh"

# 38 training samples of 2 points, 10 batches of 4 per epoch.
options=(--data_path "$(prompts 21)" --validation_fraction 0.08 --batch_size 4 --num_epochs 3 --cache_dir "$work/cache")
last=step_00000030.h5
same_end() {  # name: as the run `whole`
  check "... to the end of an undisturbed run, bit by bit" same_h5 "$work/$1/checkpoints/$last" "$work/whole/checkpoints/$last"
  agree "... with its losses" 0 <(metric loss "$work/whole/metrics.jsonl") <(metric loss "$work/$1/metrics.jsonl")
  check "... and its student" diff -r -x README.md "$work/whole/student" "$work/$1/student"
  check "... no temporary file stays" test -z "$(find "$work/$1" -name '*.tmp*')"
}
# events NAME EVENT: how often it is in events.jsonl.
events() { grep -c "\"event\":\"$2\"" "$work/$1/events.jsonl"; }

trains "an undisturbed run" 2 whole "${options[@]}" --keep_checkpoints 1 --keep_every 2
check "... keeps the newest checkpoint, and that of every second epoch" \
  test "$(cd "$work/whole/checkpoints" && echo step_*)" = "step_00000020.h5 $last"
check "... start, three epochs' checkpoints and the end are in events.jsonl" \
  test "$(events whole start) $(grep -c 'checkpoints/step_' "$work/whole/events.jsonl") $(events whole end)" = "1 3 1"

# A small disk, which is full in the second epoch: 18 MB of checkpoint do not fit, the student does.
mkdir "$work/disk"
trap 'umount -q "$work/disk"' EXIT
if mount -t tmpfs -o size=80m tmpfs "$work/disk" 2> /dev/null; then
  start_train 2 disk "${options[@]}" --keep_checkpoints 1
  wait_until test -e "$work/disk/checkpoints/best.h5"
  kill -USR1 "$(cat "$work/disk.pid.1")"
  wait $job
  check "a run on a small disk is stopped" test $? = 85
  older=$(ls "$work/disk/checkpoints/"step_*.h5)
  sum=$(cksum < "$older")
  room=$(df --output=avail -B 1M "$work/disk" | tail -n 1)
  head -c "$((room - 14))M" /dev/zero > "$work/disk/ballast"
  trains "... goes on on a full disk (and shares the optimizer's state)" 2 disk "${options[@]}" --keep_checkpoints 1 --zero 1
  check "... trains to the end" test "$(metric loss "$work/disk/metrics.jsonl" | wc -l)" = 30
  check "... exports the student, of the last step" diff -r -x README.md "$work/whole/student" "$work/disk/student"
  check "... says that and why the last checkpoint could not be written" \
    grep -q "checkpoint of step 30 could not be written, .*$last: it takes .* MB and its disk has .* left" "$work/disk.log"
  check "... in events.jsonl too" grep -q "\"event\":\"failed_write\".*$last" "$work/disk/events.jsonl"
  check "... leaves the older one as it was" test "$(cksum < "$older")" = "$sum"
  check "... no temporary file stays" test -z "$(find "$work/disk" -name '*.tmp*')"
  rm "$work/disk/ballast"
  trains "... and with room again" 2 disk "${options[@]}" --keep_checkpoints 1
  check "... from the older one" grep -q "resumed at step $((10#$(basename "$older" .h5 | tr -dc 0-9)))," "$work/disk.log"
  same_end disk
else
  echo "SKIPPED: checkpoints on a full disk (a tmpfs cannot be mounted here)"
fi
umount -q "$work/disk"
trap - EXIT

# Killed before a checkpoint is written, and when all of it is there but its name (the fifth file that rank 0 puts in
# place: after config.ini, the first epoch's best and numbered one, and the second's best one).
for fault in kill:checkpoint:id=20 kill:rename:rank=0:n=5; do
  name=${fault//[:=]/_}
  inject "$fault"
  check "a rank is killed ($fault)" not train 2 "$name" "${options[@]}"
  check "... at the second checkpoint" test "$(cd "$work/$name/checkpoints" && echo step_*)" = step_00000010.h5
  inject
  [ "$fault" = kill:checkpoint:id=20 ] ||
    check "... a temporary file stays" test "$(find "$work/$name" -name '*.tmp' | wc -l)" = 1
  trains "... the same command again" 2 "$name" "${options[@]}"
  check "... goes on from the first" grep -q "resumed at step 10," "$work/$name.log"
  same_end "$name"
done

# Writing that fails once.
inject fail:checkpoint:id=10
trains "the first checkpoint cannot be written" 2 failed "${options[@]}"
inject
check "... it says so" grep -q "the checkpoint of step 10 could not be written, training goes on" "$work/failed.log"
check "... the others are" test "$(cd "$work/failed/checkpoints" && echo step_*)" = "step_00000020.h5 $last"
same_end failed
finish
