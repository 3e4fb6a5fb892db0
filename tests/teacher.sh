# To be sourced behind lib.sh by the scripts that make a teacher of some size with random weights.
#
# make_random_teacher NAME HEADS HEAD_DIM FFN TEXT_DIM TEXT_FFN: one block per expert and one layer of text encoder, into
# $work/NAME; and $work/NAME.json, a student for it.
make_random_teacher() {
  bin/make_teacher $teacher "$work/$1" transformer.num_attention_heads="$2" transformer.attention_head_dim="$3" \
    transformer.ffn_dim="$4" transformer.text_dim="$5" transformer.num_layers=1 transformer.rope_max_seq_len=1024 \
    text_encoder.d_model="$5" text_encoder.num_heads=$(($5 / 64)) text_encoder.d_kv=64 text_encoder.d_ff="$6" \
    text_encoder.num_layers=1 &&
    sed "s/\"text_encoder_output_dim\": *[0-9]*/\"text_encoder_output_dim\": $5/" data/student_tiny.json > "$work/$1.json"
}

# peak FILE FIELD COMMAND...: MB, the most that this field of this file in /proc, summed over the processes named wandistill
# that work in $work, came to while the command ran.
peak() {
  local file=$1 field=$2 job most=0 now
  shift 2
  "$@" > "$work/node.log" 2>&1 &
  job=$!
  while kill -0 $job 2> /dev/null; do
    now=$(for pid in $(pgrep -x wandistill); do grep -qs "$work/" "/proc/$pid/cmdline" && cat "/proc/$pid/$file" 2> /dev/null; done |
      awk -v field="$field:" '$1 == field { kb += $2 } END { printf "%d", kb / 1000 }')
    ((now > most)) && most=$now
    sleep 0.02
  done
  wait $job || { tail -n 5 "$work/node.log" >&2; return 1; }
  echo "$most"
}
# Of a node, pages that processes share counted once; and of one rank, which keeps its own record of its most.
node_peak() { peak smaps_rollup Pss "$@"; }
rank_peak() { peak status VmHWM "$@"; }

# fill_cache RANKS NAME PIXELS CACHE: a command line for the cache of RANKS prompts.
fill_cache() {
  run_ranks "$1" "$program" cache --teacher_path "$work/$2" --image_size "$3" --cache_dir "$work/$4" \
    --data_path "$(prompts "$1")" --teacher_steps 2 --teacher_batch 1
}

# planned RANKS NAME PIXELS: MB of a node while the cache is filled, as `plan` has it.
planned() {
  local stage
  "$program" plan --card cpu --teacher_path "$work/$2" --student_config "$work/$2.json" --image_size "$3" \
    --data_path "$(prompts "$1")" --teacher_steps 2 --teacher_batch 1 --world_size "$1" --threads 1 \
    --json "$work/plan.json" > "$work/plan.log" || return 1
  for stage in textencoding teachertrajectories; do
    tr -d ' \n' < "$work/plan.json" | grep -o "{[^{}]*\"$stage\"[^{}]*}" | sed -E 's/.*"node_in_all":([0-9]+).*/\1/'
  done | sort -n | awk 'END { printf "%d\n", $1 / 1e6 }'
}

# as_planned PERCENT NAME PIXELS: what one rank takes beyond what it takes with the embedded teacher (the program with its libraries is
# not a question of the plan) is as planned, within so many per cent. Measured up to three times: where memory is short,
# the system takes pages of mapped files back, and they do not count.
as_planned() {
  local percent=$1
  shift
  ln -sfn "$PWD/$teacher" "$work/tiny" && cp data/student_tiny.json "$work/tiny.json"
  local base planned_base peak plan try
  base=$(rank_peak fill_cache 1 tiny 64 tiny_cache) planned_base=$(planned 1 tiny 64)
  plan=$(($(planned 1 "$1" "$2") - planned_base))
  for try in 1 2 3; do
    peak=$(($(rank_peak fill_cache 1 "$1" "$2" "$1_cache_$try") - base))
    within "$percent" "$peak" "$plan" && break
  done
  check "memory of one rank at $2 pixels, $peak MB, is the planned $plan MB within $percent %" within "$percent" "$peak" "$plan"
}

# shared_weights PERCENT NAME PIXELS: a second rank on the node adds less than so many per cent. Measured up to three times, too.
shared_weights() {
  local percent=$1 try alone both
  for try in 1 2 3; do
    alone=$(node_peak fill_cache 1 "$2" "$3" "alone_$try") both=$(node_peak fill_cache 2 "$2" "$3" "both_$try")
    ((100 * both < (100 + percent) * alone)) && break
  done
  check "a second rank adds $((both - alone)) MB to $alone MB: less than $percent %" test $((100 * both)) -lt $(((100 + percent) * alone))
}

# within PERCENT A B: A differs from B by so much at most.
within() { awk -v p="$1" -v a="$2" -v b="$3" 'BEGIN { exit !(a > 0 && b > 0 && a / b < 1 + p / 100 && b / a < 1 + p / 100) }'; }
