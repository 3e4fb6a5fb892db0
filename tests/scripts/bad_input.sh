#!/usr/bin/env bash
# Bad input on two ranks: an error that says what is wrong, once; exit code not 0; no hang; nothing half-written.
source "$(dirname "$0")/../lib.sh"

few=$(prompts 6)
options=(--data_path "$few" --batch_size 6)
trains "a good run first" 2 good "${options[@]}" --cache_dir "$work/cache"
[ $failed = 0 ] || finish

# refused TEXT MESSAGE OPTIONS...: the run ends with an error within a minute and says MESSAGE, once.
refused() {
  local text=$1 message=$2 out=${out:-$work/out} log=$work/out.log code said left
  shift 2
  rm -rf "$out"
  timeout --kill-after=5 60 bash -c 'source scripts/mpi_env.sh && run_ranks "$@"' _ 2 "${wrapper[@]}" "$program" \
    train --config "$base" --output_dir "$out" "${options[@]}" "$@" > "$log" 2>&1
  code=$?
  said=$(grep -acF -- "$message" "$log")
  left=$(find "$work" -name '*.tmp*'; ls -d "$out/student" 2> /dev/null)
  if [ $code = 0 ] || [ $code -ge 124 ]; then
    fail "$text: exit code $code" "$log"
  elif [ "$said" != 1 ]; then
    fail "$text: said $said times: $message" "$log"
  elif [ -n "$left" ]; then
    fail "$text: left $left" "$log"
  else
    pass "$text: $(grep -aF -- "$message" "$log" | cut -c 1-180)"
  fi
}
wrapper=()
# also TEXT MESSAGE: the last refusal said this too.
also() { check "$1" grep -aqF -- "$2" "$work/out.log"; }

# with NAME FILE...: a teacher whose FILEs are copies (the others are links), as $changed.
with() {
  local name=$1 file
  shift
  changed=$work/teacher_$name
  cp -rs "$PWD/$teacher" "$changed"
  for file in "$@"; do
    rm "$changed/$file"
    cp "$teacher/$file" "$changed/$file"
  done
}
transformer=transformer/diffusion_pytorch_model-00001-of-00002.safetensors

refused "no such teacher" "no_such_folder: there is no such model folder" --teacher_path ./no_such_folder
HF_HUB_CACHE=$work/hub refused "a teacher that is not in the Hugging Face cache" "hf download Some/Model" \
  --teacher_path Some/Model
refused "cuDNN without a GPU" "--conv cudnn computes on GPUs, and this run on the CPU" --conv cudnn --device cpu
with no_index && rm "$changed/model_index.json"
refused "no model_index.json" "$changed: not a diffusers model folder" --teacher_path "$changed"
with no_vae && rm "$changed/vae/diffusion_pytorch_model.safetensors"
refused "no VAE weights" "$changed/vae" --teacher_path "$changed" --save_samples
check "... before the teacher works" test ! -e "$work/out/cache"
with no_shard && rm "$changed/$transformer"
refused "a shard is missing" "$changed/$transformer" --teacher_path "$changed"
with header text_encoder/model.safetensors && flip_byte "$changed/text_encoder/model.safetensors" 9
refused "a damaged safetensors header" "$changed/text_encoder/model.safetensors" --teacher_path "$changed"
with cut $transformer && truncate -s -1000 "$changed/$transformer"
refused "a truncated shard" "$changed/$transformer" --teacher_path "$changed"
with shape transformer/config.json transformer_2/config.json
sed -i 's/"ffn_dim": *[0-9]*/"ffn_dim": 96/' "$changed"/transformer*/config.json
refused "a tensor of the wrong shape" "blocks.0.ffn.net.0.proj" --teacher_path "$changed"
also "... with the shape that is expected" "[96, "
with unknown transformer/config.json transformer_2/config.json
sed -i 's/"num_layers": *[0-9]*/"num_layers": 1/' "$changed"/transformer*/config.json
refused "unknown tensors" "blocks.1." --teacher_path "$changed"

sed 's/"depth"/"depht"/' data/student_tiny.json > "$work/student_typo.json"
refused "an unknown key in the student's config" "depht" --student_config "$work/student_typo.json"
also "... with the file" "$work/student_typo.json"
sed '/"depth"/d' data/student_tiny.json > "$work/student_less.json"
refused "a key missing in the student's config" "depth" --student_config "$work/student_less.json"
sed 's/"text_encoder_output_dim": 96/"text_encoder_output_dim": 95/' data/student_tiny.json > "$work/student_text.json"
refused "a student that does not fit the teacher" "text_encoder_output_dim" --student_config "$work/student_text.json"

refused "an unknown option" "--batch_sise" --batch_sise 3
also "... suggests the right one" "did you mean 'batch_size'"
refused "a number that is none" "--repetitions" --repetitions many
printf '\n# comment\nlearning_rate = 1\n' > "$work/typo.ini"
cat "$base" >> "$work/typo.ini"
base_was=$base base=$work/typo.ini
refused "an unknown key in a config file" "$work/typo.ini:3" --seed 1
base=$base_was

options=(--batch_size 6)
refused "no prompt file" "$work/none.txt: cannot read" --data_path "$work/none.txt"
printf '\n  \n' > "$work/empty.txt"
refused "an empty prompt file" "$work/empty.txt: no prompts" --data_path "$work/empty.txt"
printf 'a red star\na caf\xe9\n' > "$work/latin1.txt"
refused "prompts that are not UTF-8" "$work/latin1.txt:2" --data_path "$work/latin1.txt"

options=(--data_path "$few" --batch_size 6)
out=$few/out refused "an output folder below a file" "$few/out: cannot"
refused "a sample folder below a file" "$few/out: cannot" \
  --cache_dir "$work/cache" --sample_dir "$few/out" --save_samples
refused "another guidance than the cache's" 'guidance = 4' --guidance 5 --cache_dir "$work/cache"
also "... says what to do" "choose another --cache_dir"
refused "another boundary than the cache's" 'boundary_ratio = 0.875' --boundary_ratio 0.5 --cache_dir "$work/cache"
with one_expert model_index.json
sed -i 's/"boundary_ratio": *[0-9.]*/"boundary_ratio": null/' "$changed/model_index.json"
refused "a boundary for a teacher of one expert" "--boundary_ratio 0.5: $changed has one expert" \
  --teacher_path "$changed" --boundary_ratio 0.5

# address FILE DATASET: where its first chunk is, or all of it.
address() {
  h5ls -v -a "$1/$2" | awk '
    $1 == "Address:" { at = $2 }  # of a dataset in chunks: their index
    $1 ~ /^0x/ { at = $3; exit }
    END { print at }'
}
shard=shard_rank_0_0000.h5
cp -r "$work/cache" "$work/cache_cut" && truncate -s -500 "$work/cache_cut/$shard"
refused "a truncated cache shard" "$work/cache_cut/$shard" --cache_dir "$work/cache_cut"
cp -r "$work/cache" "$work/cache_flip" && \
  flip_byte "$work/cache_flip/$shard" $((100 + $(address "$work/cache/$shard" velocity)))
refused "a changed byte in a cache shard" "$work/cache_flip/$shard: 'velocity': cannot read" \
  --cache_dir "$work/cache_flip"

checkpoint=$(ls "$work"/good/checkpoints/step_*.h5)
cp "$checkpoint" "$work/cut.h5" && truncate -s -500 "$work/cut.h5"
refused "a truncated checkpoint" "$work/cut.h5: cannot open" --cache_dir "$work/cache" --resume "$work/cut.h5"
cp "$checkpoint" "$work/flip.h5" && flip_byte "$work/flip.h5" $((100 + $(address "$checkpoint" v/proj_out.weight)))
refused "a changed byte in a checkpoint" "$work/flip.h5: 'v/proj_out.weight': the data is damaged" --cache_dir "$work/cache" --resume "$work/flip.h5"
refused "a checkpoint of another seed" "made with seed 0, this run has 1" --seed 1 --resume "$checkpoint"
refused "a checkpoint that is none" "$few: cannot open" --cache_dir "$work/cache" --resume "$few"

refused "training that is not finite" "was not finite in 3 steps in a row" \
  --cache_dir "$work/cache" --lr 1e30 --clip 0 --num_epochs 9 --max_nonfinite 3 --validation_fraction 0.3
also "... the skipped updates are counted" "update skipped (2 so far)"
check "... and in the metrics" test "$(grep -c '"skipped":true' "$work/out/metrics.jsonl")" = 2
check "... and it is no best checkpoint" test ! -e "$work/out/checkpoints/best.h5"

# A full disk: the process may write no file of more than 10 MB; a checkpoint has 18.
cp -r "$work/good" "$work/full"
full=(--output_dir "$work/full" --cache_dir "$work/cache" --num_epochs 2)
before=$(cksum < "$work/full/checkpoints/$(basename "$checkpoint")")
run_full() {
  run_ranks 2 bash -c 'trap "" XFSZ; ulimit -f 10000; exec "$@"' _ "$program" train --config "$base" \
    --data_path "$few" --batch_size 6 "${full[@]}" > "$work/full.log" 2>&1
}
check "a full disk while checkpoints are written does not end the training" run_full
check "... file and reason are named, once for each" test "$(grep "could not be written" "$work/full.log" | sort -u |
  grep -c "$work/full/checkpoints/.*: File too large")" = 2
check "... no temporary file stays" test -z "$(find "$work/full" -name '*.tmp*')"
check "... the previous checkpoint is as it was" \
  test "$(cksum < "$work/full/checkpoints/$(basename "$checkpoint")")" = "$before"
trains "with room again the same command" 2 full "${options[@]}" --cache_dir "$work/cache" --num_epochs 2
check "... goes on from it" grep -q "resumed at step" "$work/full.log"

# Not bad at all.
trains "more ranks than prompts" 3 many --data_path "$(prompts 2)" --batch_size 2 --save_samples
check "... leaves a student" test -s "$work/many/student/transformer/diffusion_pytorch_model.safetensors"
finish
