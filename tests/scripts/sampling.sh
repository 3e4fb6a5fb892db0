#!/usr/bin/env bash
# Rounds of pictures: the same ones however they are dealt, batched, split and decoded; what fails stays local; the fence
# says who is late.
source "$(dirname "$0")/../lib.sh"

prompts=("a large red star on the left of a blue background" "a small green square" "un cœur à droite" "two words"
  "the fifth")

# draw RANKS NAME OPTIONS...: pictures of the teacher into $work/NAME; the exit code is the program's.
draw() {
  local ranks=$1 name=$2
  shift 2
  run_ranks "$ranks" "$program" sample --model "$teacher" --out "$work/$name" --seed 11 --guidance 4 --guidance_2 3 "$@" \
    > "$work/$name.log" 2>&1
}
draws() {
  local text=$1
  shift
  if draw "$@"; then pass "$text"; else fail "$text: exit code $?" "$work/$2.log"; fi
}
# record NAME KEY: the value of every record in the manifest, in the order of the prompts; file_of NAME PROMPT.
record() { sed -nE "s/.*\"$2\":\"?([^,\"}]*).*/\1/p" "$work/$1/manifest.jsonl"; }
file_of() { record "$1" file | sed -n "$(($2 + 1))p"; }
# The same bytes, prompt by prompt.
same_pictures() {  # name name count
  local i
  for ((i = 0; i < $3; ++i)); do cmp "$work/$1/$(file_of "$1" $i)" "$work/$2/$(file_of "$2" $i)" || return 1; done
}
said() { grep -qE -- "$2" "$work/$1.log"; }
is() { [ "$1" "$2" "$3" ]; }

small=(--prompt "${prompts[@]}" --steps 3)
draws "five prompts, one by one on one rank" 1 one "${small[@]}" --sample_batch 1
for how in "2 dynamic auto" "3 block 2" "3 dynamic 1" "4 strided auto" "4 dynamic 1"; do
  read -r ranks mode batch <<< "$how"
  name=${mode}_$ranks
  draws "$ranks ranks, $mode, batch $batch" "$ranks" "$name" "${small[@]}" --sample_distribution "$mode" --sample_batch "$batch"
  check "... the same pictures to the byte" same_pictures one "$name" 5
done
check "block deals 5 prompts on 3 ranks 2, 2, 1" is "$(record block_3 rank | tr -d '\n')" = 00112
draws "all at once, two latent rows at a time" 1 batch "${small[@]}" --sample_batch 5 --vae_tile_rows 2
check "... the same pictures to the byte" same_pictures one batch 5
check "... as one batch" is "$(record batch batch | sort -u)" = 5
inject fail:batch:over=1
draws "a batch that fails is halved" 1 halved "${small[@]}" --sample_batch 5
check "... until it does not" is "$(record halved batch | sort -u)" = 1
check "... and says so" said halved "5 prompts at once failed, trying with half as many"
check "... the same pictures to the byte" same_pictures one halved 5
inject
draws "half precision in the decoder" 1 half "${small[@]}" --vae_dtype bfloat16
check "... is another picture" not same_pictures one half 5

# The folder's schedule, said aloud, and others.
draws "--flow_shift and --boundary_ratio as the folder has them" 1 as_folder "${small[@]}" --flow_shift 3 --boundary_ratio 0.875
check "... give the same pictures" same_pictures one as_folder 5
draws "another --flow_shift" 1 shifted "${small[@]}" --flow_shift 6
check "... is another picture" not same_pictures one shifted 5
draws "one expert for all steps" 1 bounded "${small[@]}" --boundary_ratio 0
check "... is another picture" not same_pictures one bounded 5

# 256 tokens twice, which is worth splitting.
large=(--prompt "${prompts[@]:0:3}" --steps 2 --image_size 256)
draws "three larger prompts on one rank" 1 large_1 "${large[@]}"
for how in "2 strided" "4 strided" "4 dynamic" "4 block"; do
  read -r ranks mode <<< "$how"
  name=large_${mode}_$ranks
  draws "... on $ranks ranks, $mode, the rest split" "$ranks" "$name" "${large[@]}" --sample_distribution "$mode"
  check "... some ranks helped" is "$(record "$name" helpers | sort -n | tail -n 1)" -gt 0
  check "... the same pictures to the byte" same_pictures large_1 "$name" 3
done
draws "... not split" 2 large_off "${large[@]}" --sample_split off
check "... nobody helped" is "$(record large_off helpers | sort -u)" = 0
check "... the same pictures to the byte" same_pictures large_1 large_off 3

# A prompt that fails is missing, and nothing else.
inject fail:prompt:id=1,fail:latents:id=3
check "two prompts fail: exit code 3" is "$(draw 3 faulty "${small[@]}" --sample_split off; echo $?)" = 3
check "... rank 1 says which and why" said faulty "rank 1: no picture of prompt 1 'a small green square': a fault"
check "... rank 0 too" said faulty "rank 0: no picture of prompt 3 'two words': the latents are not finite"
check "... the summary counts them" said faulty "2 MISSING"
check "... the others are there" is "$(ls "$work/faulty" | grep -c png)" = 3
check "... the page too" test -s "$work/faulty/index.html"
rest=(--data_path "$(prompts 9)" --cache_dir "$work/cache" --validation_fraction 0 --batch_size 6 --save_samples
  --sample_steps 4 --sample_prompts "${prompts[@]:0:3}")
inject fail:prompt:id=1
trains "training goes on without the picture" 3 missing "${rest[@]}"
check "... it names the prompt" said missing "prompt 1 'a small green square': a fault was injected"
check "... and draws the others" test -s "$work/missing/samples/epoch_0001_rank_2_sample_00.png"
check "--strict_samples ends it with exit code 3" is "$(train 3 strict "${rest[@]}" --strict_samples; echo $?)" = 3

# A picture that cannot be written: a folder has its name.
inject
mkdir -p "$work/blocked/rank_1_sample_00.png"
check "a picture cannot be written: exit code 3" is "$(draw 3 blocked "${small[@]}"; echo $?)" = 3
check "... its rank says so" said blocked "rank 1: no picture of prompt 1 .*rank_1_sample_00.png"
check "... the others are there" is "$(find "$work/blocked" -name '*.png' -type f | wc -l)" = 4

# Late ranks.
inject delay:start:rank=1:seconds=7
draws "a late rank is waited for" 2 late "${small[@]}" --sample_split off
check "... and named" said late "fence after sample: .*still waiting for rank 1"
seconds_of() {  # the exit code and whether it took at most N seconds: "code yes"
  local limit=$1 start=$SECONDS
  shift
  "$@"
  echo "$? $((SECONDS - start <= limit))"
}
draws "one that is to help, too" 2 late_helper "${small[@]}"
check "... and named" said late_helper "a picture drawn together: .*still waiting for rank 1"
draws "in dynamic mode, too" 2 late_dynamic "${small[@]}" --sample_distribution dynamic
check "... and named" said late_dynamic "still waiting for rank 1"
inject delay:start:rank=1:seconds=60
read -r code in_time < <(seconds_of 10 draw 2 timeout_dynamic "${small[@]}" --sample_distribution dynamic --fence_timeout 2)
check "--fence_timeout ends a wait for a rank to draw with" is "$code $in_time" = "1 1"
check "... and names it" said timeout_dynamic "last pictures with.* for rank 1"
read -r code in_time < <(seconds_of 10 draw 3 timeout_1 "${small[@]}" --sample_split off --fence_timeout 2)
check "--fence_timeout ends the job" is "$code $in_time" = "1 1"
check "... and names the late rank" said timeout_1 "fence after sample.* for rank 1"
inject delay:start:rank=0:seconds=60
read -r code in_time < <(seconds_of 15 draw 3 timeout_0 "${small[@]}" --sample_split off --fence_timeout 2)
check "... also when rank 0 is late" is "$code $in_time" = "1 1"
check "... and names it" said timeout_0 "fence after sample.* for rank 0"
inject kill:denoising:rank=1
read -r code in_time < <(seconds_of 5 draw 3 killed "${small[@]}")
check "a killed rank ends the job within 5 s" is "$in_time" = 1
check "... with an exit code" is "$code" -ne 0
check "... and a line" said killed "rank 1 .*signal 9"

# A signal stops a round within one step; the same command draws what is missing.
inject delay:denoising:seconds=0.4
start_train 2 stopped "${rest[@]}"
wait_until grep -q "training on" "$work/stopped.log"
sleep 0.5
kill -USR1 "$(cat "$work/stopped.pid.1")"
wait $job
code=$?
check "a signal while pictures are drawn: exit code 85" is "$code" = 85
check "... and it says why" said stopped "stopped by a signal while drawing pictures"
check "... with pictures missing" is "$(ls "$work"/stopped/samples/epoch_0000_*.png | wc -l)" -lt 3
inject
trains "... the same command goes on" 2 stopped "${rest[@]}"
for epoch in 0 1; do
  check "... and has the pictures of epoch $epoch" is "$(ls "$work"/stopped/samples/epoch_000${epoch}_*.png | wc -l)" = 3
done

# A signal while a picture is decoded stops that too. Each of a decode's 16 parts takes as long as the fault says.
# start_on RANKS NAME COMMAND OPTIONS...: in the background as start_train, pictures go to $work/NAME.
start_on() {
  local ranks=$1 name=$2 command=$3
  shift 3
  start "$ranks" "$name" "$command" --model "$teacher" --out "$work/$name" "$@"
}
# stops TEXT NAME RANK COUNT: rank RANK gets the signal when COUNT pictures are there and the next is being decoded.
pictures_in() { find "$work/$1" -name '*.png' | wc -l; }
has_pictures() { [ "$(pictures_in "$1")" -ge "$2" ]; }
stops() {
  local text=$1 name=$2 rank=$3 count=$4
  wait_until has_pictures "$name" "$count"
  sleep 0.6
  kill -USR1 "$(cat "$work/$name.pid.$rank")"
  wait $job
  check "$text: exit code 85" is $? = 85
  check "... the picture being decoded is not there" is "$(pictures_in "$name")" = "$count"
}
not_drawn() { said "$1" "prompt $2 .*: stopped by a signal before it was drawn"; }
inject delay:decode:rank=0:seconds=0.2
start_on 1 decoding sample "${small[@]}"
stops "a signal while the second of a batch's pictures is decoded" decoding 0 1
check "... it is reported as not drawn" not_drawn decoding 1
check "... not as failed" not said decoding "no picture of prompt"
start_on 2 waiting sample "${small[@]}" --sample_distribution strided --sample_split off
stops "a signal to a rank that waits at the fence for the one that decodes" waiting 1 2
check "... it is reported as not drawn" not_drawn waiting 0
# The same command draws the rest; with other options it draws all.
inject
kept=$(file_of decoding 0)
cp -p "$work/decoding/$kept" "$work/kept.png"
cp -rp "$work/decoding" "$work/other"
goes_on() {  # TEXT RANKS NAME OPTIONS...
  start_on "$2" "$3" sample "${small[@]}" "${@:4}"
  wait $job
  check "$1" is $? = 0
}
goes_on "an undisturbed run" 1 undisturbed
goes_on "the same command goes on, on two ranks" 2 decoding
check "... with what is missing" said decoding "^sample: 1 pictures were there already, 4 pictures by 2 ranks"
check "... what was there stays" is "$(stat -c %y "$work/decoding/$kept")" = "$(stat -c %y "$work/kept.png")"
check "... the same pictures to the byte" same_pictures undisturbed decoding 5
check "... in files of their own" is "$(record decoding file | sort -u | wc -l)" = 5
check "... no note of it stays" not test -e "$work/decoding/unfinished.json"
goes_on "with another seed all are drawn anew" 1 other --seed 9
check "..." not said other "were there already"
inject delay:decode:seconds=0.2
start_on 2 decoding_together sample "${large[@]}"
stops "a signal to one of the ranks that decode a picture together" decoding_together 1 2
check "... it is reported as not drawn" not_drawn decoding_together 2
check "... not as failed" not said decoding_together "no picture of prompt"
inject
draws "latents to decode" 1 latents "${small[@]}" --save_latents "$work/latents.h5"
inject delay:decode:seconds=0.2
start_on 2 decoding_only decode --latents "$work/latents.h5:latents"
stops "a signal to one of two ranks of the decode command" decoding_only 1 2
check "... it says how many there are" said decoding_only "^2 pictures in"
inject

# Another seed for every epoch.
trains "one seed for all epochs" 1 same_seed "${rest[@]}" --num_epochs 2
check "..." is "$(sed -nE 's/.*"seed":([0-9]+).*/\1/p' "$work/same_seed/samples/manifest.jsonl" | sort -u | wc -l)" = 1
trains "a seed for each epoch" 1 own_seed "${rest[@]}" --num_epochs 2 --sample_seed 7 --sample_seed_per_epoch
check "..." is "$(sed -nE 's/.*"seed":([0-9]+).*/\1/p' "$work/own_seed/samples/manifest.jsonl" | sort -un | tr '\n' ' ')" = "7 8 9 "
finish
