#!/usr/bin/env bash
# The teacher cache as a stage of its own: filled by several jobs at once that are killed, verified when damaged, merged,
# in 16 bits, stopped by a signal, and trained from.
source "$(dirname "$0")/../lib.sh"
source tests/cache_campaign.sh

data=(--data_path "$(prompts 40)" --repetitions 4)
peace=$work/peace war=$work/war

check "a cache made in peace, by one rank" fill 1 peace "$peace" "${data[@]}" --teacher_batch 5
check "... says that it is complete" grep -q "is complete" "$work/peace.log"
check "... each text once, and the negative prompt's" grep -q "texts *41 embeddings" <("$program" cache stats "$peace")
check "two jobs fill another, three kills" campaign 3 7 "$war" "${data[@]}" --teacher_batch 2
check "... nothing of the killed ones is left" nothing_left "$war"
check "... it verifies, nothing is missing" "$program" cache verify "$war" "${data[@]}"
check "... and is the same, record by record" same_records "$peace" "$war"

# A byte changed in each section of a shard, each in a shard of its own; one cut off, one that is no HDF5, one behind the
# last record.
address() { h5ls -v -a "$1/$2" 2> /dev/null | awk '$1 ~ /^0x/ { print $3; exit } $1 == "Location:" { print substr($2, 3); exit }'; }
cp -r "$peace" "$work/damaged"
mapfile -t shards < <(find "$work/damaged" -name 'shard_*.h5' | sort)
mapfile -t texts < <(find "$work/damaged" -name 'text_*.h5' | sort)
check "there are shards enough to be damaged" test ${#shards[@]} -ge 7
# at FILE TEXT: where this text is in the file.
at() { grep -abom1 -- "$2" "$1" | head -n 1 | cut -d: -f1; }
flip_byte "${shards[0]}" $((100 + $(address "${shards[0]}" latents)))
flip_byte "${shards[1]}" $((100 + $(address "${shards[1]}" velocity)))
flip_byte "${shards[2]}" $((100 + $(address "${shards[2]}" x0)))
flip_byte "${shards[3]}" $((3 + $(at "${shards[3]}" "background")))
flip_byte "${shards[4]}" $((3 + $(at "${shards[4]}" '"guidance"')))
flip_byte "${shards[5]}" $(($(size "${shards[5]}") - 5))
truncate -s -500 "${shards[6]}"
flip_byte "${texts[0]}" $((40 + $(address "${texts[0]}" text/rows)))
damage=("${shards[@]:0:7}" "${texts[0]}")
"$program" cache verify "$work/damaged" "${data[@]}" > "$work/verify.log" 2>&1
check "damaged shards: exit code 3" test $? = 3
for file in "${damage[@]}"; do
  check "... $(basename "$file") is named: $(grep -m1 -F "damaged: $file" "$work/verify.log" | cut -d: -f3- | cut -c 1-100)" \
    grep -qF "damaged: $file" "$work/verify.log"
done
check "... and no other" test "$(grep "^damaged: " "$work/verify.log" | cut -d: -f2 | sort -u | wc -l)" = ${#damage[@]}
check "... the records, too" grep -q "damaged: ${shards[0]}: \"a .* background\", repetition [0-3]: .*latents" "$work/verify.log"
check "... of a shard with one bad point, one" test "$(grep -c "damaged: ${shards[0]}" "$work/verify.log")" = 1
"$program" cache verify "$work/damaged" --repair > "$work/repair.log" 2>&1
check "--repair removes what is damaged: exit code 3" test $? = 3
"$program" cache verify "$work/damaged" "${data[@]}" > "$work/verify.log" 2>&1
check "... then records are missing, by name: exit code 3" test $? = 3
check "... $(tail -n 1 "$work/verify.log")" \
  grep -q "missing: \"a .* background\", repetition" "$work/verify.log"
check "... the next run makes them anew" fill 2 remade "$work/damaged" "${data[@]}"
check "... $(grep "present" "$work/remade.log"): only what was lost" \
  awk '{ exit !($1 > 60 && $1 < 160) }' <(grep -o "[0-9]* of 160 trajectories present" "$work/remade.log")
check "... to the same records" same_records "$peace" "$work/damaged"
check "... nothing else is left" nothing_left "$work/damaged"

# A signal in the middle of a batch.
start_fill 2 term "$work/stopped" "${data[@]}" --teacher_batch 4
wait_until grep -q "trajectories present" "$work/term.log"
sleep 1
kill -TERM "$(cat "$work/term.pid.1")"
wait $job
check "SIGTERM to a rank: exit code 85" test $? = 85
check "... what was computed is kept" test -n "$(find "$work/stopped" -name '*.h5')"
check "... and nothing is claimed" nothing_left "$work/stopped"
check "the same command again" fill 1 term "$work/stopped" "${data[@]}"
check "... completes it" same_records "$peace" "$work/stopped"

# Halves by different jobs, merged; and bfloat16.
head -n 20 "$(prompts 40)" > "$work/first.txt"
tail -n 25 "$(prompts 40)" > "$work/last.txt"
check "the first half of the prompts" fill 1 first "$work/first" --data_path "$work/first.txt" --repetitions 4
check "the second half, five of the first in it" fill 1 last "$work/last" --data_path "$work/last.txt" --repetitions 4
check "the two merge" "$program" cache merge --from "$work/first" "$work/last" --cache_dir "$work/union"
check "... to the same records" same_records "$peace" "$work/union"
check "bfloat16 into a float32 cache is an error" not fill 1 mixed "$work/first" "${data[@]}" --cache_dtype bfloat16
check "... that names the two" grep -q 'cache_dtype = "float32", this run has "bfloat16"' "$work/mixed.log"
check "a cache in bfloat16" fill 2 narrow "$work/narrow" "${data[@]}" --cache_dtype bfloat16
check "... states the error: $(grep "rounded to" "$work/narrow.log")" grep -q "rounded to bfloat16.*0.001" "$work/narrow.log"
check "... in its statistics too" grep -q "rounding error  latents 0.001" <("$program" cache stats "$work/narrow")

# Training takes it as its own.
for cache in war narrow; do
  trains "a training from $cache" 2 "train_$cache" "${data[@]}" --teacher_steps 4 --cache_dir "$work/$cache" --batch_size 64
  check "... without teacher work" grep -q "160 of 160 trajectories present" "$work/train_$cache.log"
  metric loss "$work/train_$cache/metrics.jsonl" > "$work/$cache.loss"
done
agree "losses from float32 and bfloat16" 2e-2 "$work/war.loss" "$work/narrow.loss"
finish
