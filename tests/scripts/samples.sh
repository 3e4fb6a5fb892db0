#!/usr/bin/env bash
# Pictures: who draws which, what the files are called and say, and that they are the same for any number of ranks and
# threads, before and after the export.
source "$(dirname "$0")/../lib.sh"

prompts=("a large red star on the left of a blue background" "un cœur à droite" "a small green square"
  "two words" "\"quotes\" & more" "the last one")

# Prompts are dealt strided: prompt i of n is sample i / ranks of rank i mod ranks.
expected_names() {  # count ranks prefix
  local i
  for ((i = 0; i < $1; ++i)); do printf '%srank_%d_sample_%02d.png\n' "$3" $((i % $2)) $((i / $2)); done | sort
}
names() { (cd "$1" && ls "$2"*.png) | sort; }
same_names() { diff <(expected_names "$2" "$3" "$4") <(names "$1" "$4"); }

# has FILE TEXT; says FILE KEY VALUE: the PNG text has it.
has() { picture_text "$1" | LC_ALL=C grep -aF -- "$2" > /dev/null; }
says() { has "$1" "$2=$3"; }
all_say() {  # folder count ranks epoch step
  local i file
  for ((i = 0; i < $2; ++i)); do
    printf -v file '%s/epoch_%04d_rank_%d_sample_%02d.png' "$1" "$4" $((i % $3)) $((i / $3))
    says "$file" step "$5" && says "$file" epoch "$4" && says "$file" seed 7 && says "$file" prompt_index $i &&
      says "$file" Software "wandistill $version" || { echo "$file"; picture_text "$file" | head -c 500; return 1; }
    # A text chunk (tEXt or iTXt); in the latter, fields of the language stand between key and text.
    has "$file" "Xtprompt=" && has "$file" "${prompts[i]}" || { echo "$file: no '${prompts[i]}'"; return 1; }
  done
}
version=$("$program" --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)

options=(--data_path "$(prompts 9)" --cache_dir "$work/cache" --validation_fraction 0 --batch_size 6 --save_samples
  --sample_seed 7 --sample_steps 2)
for count in 4 6 5 2; do
  run=dealt_$count folder=$work/dealt_$count/samples
  trains "$count sample prompts on 4 ranks" 4 $run "${options[@]}" --sample_prompts "${prompts[@]:0:count}"
  check "... the students' pictures have the names of a strided deal" same_names "$folder" $count 4 epoch_0001_
  check "... the teacher's too" same_names "$folder" $count 4 teacher_
  check "... each says prompt, seed, step, epoch, version" all_say "$folder" $count 4 1 3
  check "... contact sheet" test -s "$folder/contact_sheet.png"
done
check "no value for --sample_prompts is an error" not train 4 dealt_0 "${options[@]}" --sample_prompts
check "... that names the option" grep -q "sample_prompts" "$work/dealt_0.log"
check "... and leaves no pictures" test ! -e "$work/dealt_0/samples"

# pixels FILE: the compressed pixels; what comes before them in the file is text.
pixels() { tail -c "+$(LC_ALL=C grep -abo IDAT "$1" | head -n 1 | cut -d: -f1)" "$1"; }
same_pixels() { cmp <(pixels "$1") <(pixels "$2"); }

# The export draws what the run drew: without held-out prompts the last weights are the best ones.
trains "two epochs on 2 ranks" 2 run "${options[@]}" --num_epochs 2 --sample_prompts "${prompts[@]:0:3}"
check "... pictures of both epochs" test "$(ls "$work"/run/samples/epoch_000[12]_*.png | wc -l)" = 6
check "... they differ" not same_pixels "$work/run/samples/epoch_0001_rank_0_sample_00.png" \
  "$work/run/samples/epoch_0002_rank_0_sample_00.png"
draw() {  # ranks threads name options...
  local ranks=$1 threads=$2 name=$3
  shift 3
  OMP_NUM_THREADS=$threads run_ranks "$ranks" "$program" sample --out "$work/$name" "$@" > "$work/$name.log" 2>&1
}
check "the exported student draws" draw 2 1 export --model "$work/run/student" --prompt "${prompts[@]:0:3}" \
  --steps 2 --seed 7
for name in $(expected_names 3 2 ""); do
  check "... $name as in the last epoch" same_pixels "$work/export/$name" "$work/run/samples/epoch_0002_$name"
done
check "the contact sheet goes with the student" cmp "$work/run/samples/contact_sheet.png" \
  "$work/run/student/contact_sheet.png"

# The same bytes for any number of ranks and threads.
same_files() {  # ranks name: prompt by prompt as in one_1
  local i of_one of_ranks
  for ((i = 0; i < 5; ++i)); do
    printf -v of_one 'rank_0_sample_%02d.png' $i
    printf -v of_ranks 'rank_%d_sample_%02d.png' $((i % $1)) $((i / $1))
    cmp "$work/one_1/$of_one" "$work/$2/$of_ranks" || return 1
  done
}
teacher_draws=(--model "$teacher" --prompt "${prompts[@]:0:5}" --steps 3 --guidance 4 --guidance_2 3 --seed 11)
check "the teacher draws 5 prompts on one rank, one thread" draw 1 1 one_1 "${teacher_draws[@]}"
check "... the file names" same_names "$work/one_1" 5 1 ""
check "... a line for each in manifest.jsonl" test "$(wc -l < "$work/one_1/manifest.jsonl")" = 5
for how in "1 2" "2 1" "3 1" "2 2"; do
  read -r ranks threads <<< "$how"
  check "$ranks ranks of $threads threads draw" draw $ranks $threads "pictures_${ranks}_$threads" "${teacher_draws[@]}"
  check "... the same pictures to the byte" same_files $ranks "pictures_${ranks}_$threads"
done
check "another seed draws others" draw 1 1 other "${teacher_draws[@]:0:8}" --seed 12
check "... pixels differ" not same_pixels "$work/one_1/rank_0_sample_00.png" "$work/other/rank_0_sample_00.png"
finish
