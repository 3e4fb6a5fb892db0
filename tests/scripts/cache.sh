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
check "... no record is there twice" no_duplicates "$war"
check "... it verifies, nothing is missing" "$program" cache verify "$war" "${data[@]}"
check "... and is the same, record by record" same_records "$peace" "$war"

# A byte changed in each section of a shard, each in a shard of its own: numbers, their index, the prompts, the
# settings, the checksum of all. One is cut off, one shorter by the checksum, one is no HDF5.
# chunk FILE DATASET: where its values, or its first chunk of them, are; tree: where the index of its chunks is; at FILE TEXT: where this is.
chunk() { h5ls -v -a "$1/$2" | awk '$1 == "Address:" { at = $2 } $1 ~ /^0x/ { at = $3; exit } END { print at }'; }
tree() { h5ls -v -a "$1/$2" | awk '$1 == "Address:" { print $2; exit }'; }
at() { grep -abo -- "$2" "$1" | head -n 1 | cut -d: -f1; }
cp -r "$peace" "$work/damaged"
mapfile -t shards < <(find "$work/damaged" -name 'shard_*.h5' | sort)
text=$(find "$work/damaged" -name 'text_*.h5')
check "there are shards enough to be damaged" test ${#shards[@]} -ge 14 || finish
i=0
for dataset in latents velocity x0 repetition sigma checksum rounding; do
  flip_byte "${shards[i]}" $((5 + $(chunk "${shards[i]}" $dataset)))
  i=$((i + 1))
done
flip_byte "${shards[7]}" $((9 + $(tree "${shards[7]}" latents)))
flip_byte "${shards[8]}" $((3 + $(at "${shards[8]}" "background")))
flip_byte "${shards[9]}" $((3 + $(at "${shards[9]}" '"guidance"')))
flip_byte "${shards[10]}" $(($(size "${shards[10]}") - 5))
truncate -s -500 "${shards[11]}"
truncate -s -38 "${shards[12]}"
echo "something else" > "${shards[13]}"
flip_byte "$text" $((40 + $(chunk "$text" text/rows)))
damage=("${shards[@]:0:14}" "$text")
"$program" cache verify "$work/damaged" "${data[@]}" > "$work/verify.log" 2>&1
check "damaged shards: exit code 3" test $? = 3
for file in "${damage[@]}"; do
  check "... $(basename "$file") is named: $(grep -am1 -F "damaged: $file" "$work/verify.log" | cut -d: -f3- | cut -c 1-100)" \
    grep -aqF "damaged: $file" "$work/verify.log"
done
check "... and no other" test "$(grep -a "^damaged: " "$work/verify.log" | cut -d: -f2 | sort -u | wc -l)" = ${#damage[@]}
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
  awk '{ exit !($1 > 20 && $1 < 100) }' <(grep -o "[0-9]* of 160 trajectories present" "$work/remade.log")
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

# A full disk: no file of more than 256 KB.
fill_full() {
  run_ranks 2 bash -c 'trap "" XFSZ; ulimit -f 250; exec "$@"' _ "$program" cache --cache_dir "$work/full" \
    "${fill_options[@]}" "${data[@]}" > "$work/full.log" 2>&1
}
check "a full disk: an error" not fill_full
check "... that names file and reason" grep -q "$work/full/shard_rank_.*: File too large" "$work/full.log"
check "... and nothing half-written stays" nothing_left "$work/full"

# Parts that share some shards, merged.
mkdir "$work/first" "$work/last"
mapfile -t shards < <(find "$peace" -name 'shard_*.h5' | sort)
cp "${shards[@]:0:9}" "$peace"/text_*.h5 "$work/first"
cp "${shards[@]:6}" "$peace"/text_*.h5 "$work/last"
check "two parts of a cache merge" "$program" cache merge --from "$work/first" "$work/last" --cache_dir "$work/union"
check "... to the same records" same_records "$peace" "$work/union"

# Training takes what was filled as its own, in bfloat16 too.
data=(--data_path "$(prompts 40)")
check "bfloat16 into a float32 cache is an error" not fill 1 mixed "$work/first" "${data[@]}" --cache_dtype bfloat16
check "... that names the two" grep -q 'cache_dtype = "float32", this run has "bfloat16"' "$work/mixed.log"
check "a cache in bfloat16" fill 2 narrow "$work/narrow" "${data[@]}" --cache_dtype bfloat16
check "... states the error: $(grep "rounded to" "$work/narrow.log")" grep -q "rounded to bfloat16.*0.001" "$work/narrow.log"
check "... in its statistics too" grep -q "rounding error  latents 0.001" <("$program" cache stats "$work/narrow")
touch -d '1 day ago' "$work/war/gone-1-0123456789abcdef.alive" "$work/war/.gone-1-0123456789abcdef.tmp"
for cache in war narrow; do
  trains "a training from $cache" 2 "train_$cache" "${data[@]}" --teacher_steps 4 --cache_dir "$work/$cache" --batch_size 32
  check "... without teacher work" grep -q "40 of 40 trajectories present" "$work/train_$cache.log"
  metric loss "$work/train_$cache/metrics.jsonl" > "$work/$cache.loss"
done
check "... which removes what a killed job left in a whole cache" test -z "$(find "$work/war" -name '*gone-1*')"
agree "losses from float32 and bfloat16" 2e-2 "$work/war.loss" "$work/narrow.loss"
finish
