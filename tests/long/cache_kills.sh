#!/usr/bin/env bash
# Teacher caches filled by two jobs at once that are killed twenty times, and shards with a byte changed anywhere.
source "$(dirname "$0")/../lib.sh"
source tests/cache_campaign.sh

data=(--data_path "$(prompts 60)" --repetitions 12)
check "a cache made in peace, by one rank" fill 1 peace "$work/peace" "${data[@]}" --teacher_batch 7
for seed in 1 2; do
  war=$work/war_$seed
  check "two jobs fill another, twenty kills, seed $seed" campaign 20 $seed "$war" "${data[@]}" --teacher_batch 2
  sed 's/^/      /' "$work/check.log"
  check "... nothing of the killed ones is left" nothing_left "$war"
  check "... no record is there twice" no_duplicates "$war"
  check "... it verifies, nothing is missing" "$program" cache verify "$war" "${data[@]}"
  check "... and is the same, record by record" same_records "$work/peace" "$war"
done

# Half of the changes are in the first bytes, where the file's structure is.
RANDOM=5
for kind in shard text; do
  folder=$work/flips_$kind
  mkdir "$folder"
  from=$(find "$work/peace" -name "${kind}_*.h5" | sort | head -n 1)
  for i in {1..200}; do
    to=$folder/${kind}_$i.h5 range=$(($(size "$from") / (i % 2 ? 1 : 40)))
    cp "$from" "$to"
    flip_byte "$to" $(((RANDOM * 32768 + RANDOM) % range))
  done
  run_ranks 2 "$program" cache verify "$folder" --repair > "$work/flips.log" 2>&1
  check "a changed byte in each of 200 copies of a $kind file: exit code 3" test $? = 3
  check "... all are found" test "$(grep -a "^damaged: " "$work/flips.log" | cut -d: -f2 | sort -u | wc -l)" = 200
  check "... after the repair it verifies" "$program" cache verify "$folder"
  check "... with the records that were whole: $(tail -n 1 "$work/check.log")" not grep -q "shards: 0 trajectories and 0 texts" "$work/check.log"
done
finish
