#!/usr/bin/env bash
# A disk that is full while caches, checkpoints, pictures and the student are written: the file and the cause are named, what was
# there before stays as it was, nothing half-written is left, and every rank ends with an error, but for what training
# can go on without.
source "$(dirname "$0")/../lib.sh"
source tests/cache_campaign.sh

disk=$work/disk
mkdir "$disk"
# small_disk MB: an empty disk of this size at $disk.
small_disk() {
  umount -q "$disk"
  mount -t tmpfs -o "size=$1m" tmpfs "$disk" 2> /dev/null
}
trap 'umount -q "$disk"' EXIT
if ! small_disk 1; then
  trap - EXIT
  echo "SKIPPED: full disks (a tmpfs cannot be mounted here)"
  finish
fi
# leave KB: leaves so much room on it; empty: as it was.
leave() {
  rm -f "$disk/ballast"
  head -c "$(($(df --output=avail -B 1K "$disk" | tail -n 1) - $1))K" /dev/zero > "$disk/ballast" 2> /dev/null
}
empty() { rm -f "$disk/ballast"; }

# ends CODE NAME ARGUMENTS...: the program on two ranks; each of them must end with this code, whatever mpirun says.
ends() {
  local code=$1 name=$2
  shift 2
  rm -f "$work/$name.code."*
  run_ranks 2 bash -c '"${@:2}"; echo $? > "$1.code.${OMPI_COMM_WORLD_RANK:-0}"' bash "$work/$name" "$program" "$@" \
    > "$work/$name.log" 2>&1
  [ "$(cat "$work/$name.code.0" "$work/$name.code.1")" = "$code"$'\n'"$code" ] || {
    cat "$work/$name.log" "$work/$name.code."*
    return 1
  }
}
says() { check "... it names the file and the cause" grep -qE -- "$2: .*(No space left on device|its disk has)" "$work/$1.log"; }
no_temporaries() { check "... no temporary file stays" test -z "$(find "$disk" -name '*.tmp*')"; }
whole_png() { [ "$(tail -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 49454e44ae426082 ]; }  # it ends as PNG files do
whole_pictures() {
  local file
  for file in "$1"/*.png; do
    whole_png "$file" || { echo "$file"; return 1; }
  done
}

# 38 training samples of 2 points, 10 batches of 4 per epoch.
options=(--data_path "$(prompts 21)" --validation_fraction 0.08 --batch_size 4 --cache_dir "$work/cache")
long=("${options[@]}" --num_epochs 3)
last=step_00000030.h5
trains "an undisturbed run" 2 whole "${long[@]}"

# A checkpoint: the disk fills up while it is written, after there had been room. Rank 0 waits at a write in the middle
# of the numbered one of the second epoch: about 100 writes, then 613 of the best one, then its own.
small_disk 80
mkdir "$disk/checkpoints"
cp "$work/whole/checkpoints/step_00000010.h5" "$disk/checkpoints"
inject delay:write:rank=0:n=813:seconds=4
start_train 2 disk "${long[@]}" --zero 1
writing() { [ "$(find "$disk/checkpoints" -name '.step_00000020.h5.*.tmp' -size +512k | wc -l)" = 1 ]; }
check "a checkpoint is being written" wait_until writing
leave 0
patience=20 check "... when the disk is full: it is reported" wait_until grep -q "checkpoint of step 20 could not be written" "$work/disk.log"
says disk "$disk/checkpoints/step_00000020.h5"
check "... the one before is as it was" cmp {"$work/whole","$disk"}/checkpoints/step_00000010.h5
empty
wait $job
check "... training goes on to the end" test $? = 0
inject
check "... it is in events.jsonl" grep -q '"event":"failed_write".*step_00000020.h5' "$disk/events.jsonl"
check "... the next checkpoint is as in an undisturbed run" same_h5 "$disk/checkpoints/$last" "$work/whole/checkpoints/$last"
no_temporaries

# The student, over an older one.
cp -r "$disk/student" "$work/student"
leave 4000
check "no room for the student: every rank ends with 1" \
  ends 1 disk train --config "$base" --output_dir "$disk" "${long[@]}"
says disk "$disk/student: cannot export the student: .*"
check "... the older student is as it was" diff -r "$disk/student" "$work/student"
check "... the checkpoints too" same_h5 "$disk/checkpoints/$last" "$work/whole/checkpoints/$last"
no_temporaries
rm -r "$disk/student"
leave 4000
check "the same without an older one" ends 1 disk train --config "$base" --output_dir "$disk" "${long[@]}"
check "... leaves none" test ! -e "$disk/student"
no_temporaries
empty
check "... and with room again it is written" ends 0 disk train --config "$base" --output_dir "$disk" "${long[@]}"
check "... as it was" diff -r -x README.md "$disk/student" "$work/student"

# A cache: what was complete stays, and the same command makes the rest. One trajectory takes 83 kB.
data=(--data_path "$(prompts 40)" --teacher_batch 4)
check "a cache" fill 2 cache "$work/peace" "${data[@]}"
small_disk 8
leave 2500  # for the texts and each rank's first shard of 1 MB, not for a second one of 0.7 MB
check "no room for all of a cache: every rank ends with 1" \
  ends 1 full cache --cache_dir "$disk/cache" "${fill_options[@]}" "${data[@]}"
says full "$disk/cache/(shard|text)_.*"
check "... neither claims nor temporary files stay" nothing_left "$disk/cache"
check "... what is there verifies" "$program" cache verify "$disk/cache"
empty
check "... and with room again the rest is made" ends 0 full cache --cache_dir "$disk/cache" "${fill_options[@]}" "${data[@]}"
check "... $(grep -o "[0-9]* of 40 trajectories present" "$work/full.log")" \
  awk '{ exit !($1 > 0 && $1 < 40) }' <(grep -o "[0-9]* of 40 trajectories present" "$work/full.log")
check "... record by record the same" same_records "$work/peace" "$disk/cache"

# From the start.
small_disk 1
leave 0
check "a disk without any room: every rank ends with 1" \
  ends 1 none train --config "$base" --output_dir "$disk/none" "${long[@]}"
no_temporaries

# The pictures of a training: it goes on.
small_disk 1
leave 16
pictures=(--save_samples --sample_dir "$disk" --sample_prompts "a red star" "a blue ring" "a green square" --sample_steps 2)
trains "no room for all pictures of a training: it goes on" 2 pictures "${options[@]}" "${pictures[@]}"
says pictures "no picture of prompt .*$disk/.*png"
check "... in events.jsonl" grep -q '"event":"missing_pictures"' "$work/pictures/events.jsonl"
check "... the student is there" test -e "$work/pictures/student/transformer/diffusion_pytorch_model.safetensors"
check "... there are pictures, all whole" whole_pictures "$disk"
no_temporaries
rm -r "$work/pictures" "$disk"/*.png
leave 16
check "with --strict_samples every rank ends with 3" ends 3 pictures train --config "$base" \
  --output_dir "$work/pictures" "${options[@]}" "${pictures[@]}" --strict_samples
no_temporaries

# Pictures from a folder.
small_disk 1
draw=(sample --model "$teacher" --prompt "a red star" "a blue ring" "a green square" "a large heart" --steps 2 --out "$disk")
check "pictures" ends 0 sample "${draw[@]}"
mkdir "$work/drawn" && cp "$disk"/*.png "$work/drawn"
rm "$disk"/*.png
leave 16
check "no room for all pictures: no rank ends with 0" ends 1 sample "${draw[@]}"
says sample "no picture of prompt .*$disk/.*png"
says sample "$disk/(manifest.jsonl|index.html)"
check "... there are pictures, all whole" whole_pictures "$disk"
no_temporaries
empty
check "... and with room again all are drawn" ends 0 sample "${draw[@]}"
for file in "$work/drawn"/*.png; do check "... ${file##*/} as it was" cmp "$file" "$disk/${file##*/}"; done
umount -q "$disk"
trap - EXIT
finish
