#!/usr/bin/env bash
# wandistill plan, and --dry_run of train and sample: what they say, their exit codes, and that nothing is written.
source "$(dirname "$0")/../lib.sh"

# says TEXT CODE RANKS ARGUMENTS...: the program ends with CODE; its output is $work/out.log.
says() {
  local text=$1 wanted=$2 ranks=$3 code
  shift 3
  local start=(bash -c 'source scripts/mpi_env.sh && run_ranks "$@"' _ "$ranks")
  [ "$ranks" -gt 1 ] || start=()
  timeout --kill-after=5 60 "${start[@]}" "$program" "$@" > "$work/out.log" 2>&1 < /dev/null
  code=$?
  if [ $code = "$wanted" ]; then pass "$text"; else fail "$text: exit code $code, not $wanted" "$work/out.log"; fi
}
also() { check "... $1" grep -aqE -- "$2" "$work/out.log"; }
narrow() { check "... at most 100 columns" not grep -aqE '^.{101}' "$work/out.log"; }

says "a plan of the embedded teacher" 0 1 plan --json "$work/plan.json"
also "its parameters" "each of two experts +2,472,448 "
also "prompts counted with its tokenizer" "7,100 prompts of 12 tokens at most"
narrow
check "... JSON" grep -q '"expert": 2472448' "$work/plan.json"
says "a plan on two ranks, said once" 0 2 plan --card cpu
check "... once" test "$(grep -c '^Plan for' "$work/out.log")" = 1

mkdir -p "$work/configs"
(cd "$teacher" && find . -name '*.json' ! -path './tokenizer/*' ! -name '*.index.json' -exec cp --parents {} "$OLDPWD/$work/configs" \;)
says "a folder of configs alone" 0 1 plan --teacher_path "$work/configs" --teacher_placement stream
also "says that prompts are not counted" "512 tokens \(the most there can be"
also "the chosen placement" '\* --teacher_placement stream'
says "... is refused by a run" 1 1 train --teacher_path "$work/configs" --output_dir "$work/none"
rm -rf "$work/none"

says "an unknown card" 2 1 plan --card h10
also "suggests one" "did you mean 'h100'"
says "too many tokens" 2 1 plan --prompt_tokens 513
also "says the limit" "prompt_tokens.*512"
says "a size that does not fit" 1 1 plan --image_size 100
also "names the key" "image_size.*multiple of 16"
says "a GPU's memory for a CPU" 1 1 plan --card cpu --gpu_memory 10
says "too little memory" 0 1 plan --gpu_memory 1.07
also "what would help" "DOES NOT FIT into a rank's GPU: training"
also "an option" "What would fit: --student_dtype bfloat16|What would fit: --micro_batch"

few=$(prompts 6)
dry=(train --dry_run --config "$base" --output_dir "$work/none" --data_path "$few" --save_samples)
# dry TEXT CODE PATTERN OPTIONS...: on two ranks; says PATTERN, and leaves nothing.
dry() {
  local text=$1 code=$2 pattern=$3
  shift 3
  says "$text" "$code" 2 "${dry[@]}" "$@"
  also "$pattern" "$pattern"
  check "... writes nothing" test ! -e "$work/none"
}
dry "a dry run of what is good" 0 "Nothing is wrong; nothing was written"
narrow
also "the plan" "^Plan for "
also "files" "ok +transformer_2 +123 tensors"
also "cache" "0 of 6 trajectories"
check "... no check failed" not grep -q FAILED "$work/out.log"

# with NAME FILE...: a teacher whose FILEs are copies (the others are links), as $changed.
with() {
  changed=$work/teacher_$1
  cp -rs "$PWD/$teacher" "$changed"
  shift
  for file in "$@"; do rm "$changed/$file" && cp "$teacher/$file" "$changed/$file"; done
}
shard=transformer_2/diffusion_pytorch_model-00001-of-00002.safetensors
with no_shard && rm "$changed/$shard"
dry "a shard is missing" 1 "FAILED +transformer_2 +.*$shard" --teacher_path "$changed"
also "the other expert is well" "ok +transformer "
with shape vae/config.json && sed -i 's/"base_dim": *16/"base_dim": 32/' "$changed/vae/config.json"
dry "a tensor of another shape than the config's" 1 "FAILED +vae .*" --teacher_path "$changed"
also "the shape" "expected shape"
with cut text_encoder/model.safetensors && truncate -s -100 "$changed/text_encoder/model.safetensors"
dry "a truncated file" 1 "FAILED +text_encoder" --teacher_path "$changed"
with no_tokenizer && rm "$changed/tokenizer/spiece.model"
dry "no tokenizer" 1 "FAILED +prompts" --teacher_path "$changed"
sed 's/"depth"/"depht"/' data/student_tiny.json > "$work/typo.json"
dry "an unknown key in the student's config" 1 "FAILED +configs +.*typo.json" --student_config "$work/typo.json"
also "what to do" "What to do: correct --teacher_path, --student_config"
dry "too little disk" 1 "FAILED +disk .* to write, .* free" --repetitions 100000000000
dry "too little memory" 1 "FAILED +memory" --repetitions 1000000 --batch_size 10000000 --student_config data/student_tiny.json
also "what to do" "micro_batch"
dry "a cache folder below a file" 1 "FAILED +folders" --cache_dir "$few/cache"
says "an unknown option" 2 2 train --dry_run --output_dir "$work/none" --batch_sise 3

dry=(cache --dry_run --data_path "$few" --teacher_steps 2 --cache_dir "$work/none")
dry "a dry run of a cache" 0 "Nothing is wrong; nothing was written"
narrow
also "the plan" "cache: 6 trajectories of 2 points"
check "... of this stage alone" not grep -qE "student  |training|checkpoints" "$work/out.log"
also "the disk" "ok +disk .* to write"
dry "... of larger pictures, whatever the student" 0 "pictures of 256 x 256" --image_size 256
also "which take more" "^256 x 256 pixels"
dry "... that do not fit the teacher" 1 "FAILED +configs .*100 x 100" --image_size 100
dry "... without a shard" 1 "FAILED +transformer_2 +.*$shard" --teacher_path "$work/teacher_no_shard"
dry "... on too little disk" 1 "FAILED +disk .* to write, .* free" --repetitions 100000000000


says "a dry run of pictures" 0 2 sample --dry_run --model "$teacher" --prompt "a red star" --out "$work/none"
also "says so" "Nothing is wrong"
check "... writes nothing" test ! -e "$work/none"
says "... of a teacher without a shard" 1 2 sample --dry_run --model "$work/teacher_no_shard" --prompt x --out "$work/none"
also "names it" "FAILED +transformer_2"

# Where a cache and a checkpoint are.
trains "a short run" 2 good --data_path "$few" --batch_size 6
find "$work/good" -type f -exec cksum {} + | sort > "$work/before"
says "a dry run in its folder" 0 2 train --dry_run --config "$base" --output_dir "$work/good" --data_path "$few" --batch_size 6
also "the cache is complete" "6 of 6 trajectories"
also "it would go on" "the run goes on from"
check "... changes nothing" diff "$work/before" <(find "$work/good" -type f -exec cksum {} + | sort)
says "a dry run of its cache" 0 2 cache --dry_run --cache_dir "$work/good/cache" --data_path "$few" --teacher_steps 2
also "the cache is complete" "6 of 6 trajectories"
says "... with another seed" 1 2 cache --dry_run --cache_dir "$work/good/cache" --data_path "$few" --teacher_steps 2 --seed 5
also "the cache is another's" "FAILED +cache .*"
says "... with another guidance" 1 2 train --dry_run --config "$base" --output_dir "$work/good" --data_path "$few" --guidance 5
also "the cache is another's" "FAILED +cache .*"
finish
