# To be sourced by the scripts in tests/scripts and tests/long: a folder to work in, runs of the program, checks.
#
# A script prints every check and ends with `finish`: exit code 1 if one failed, and then the folder stays.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/mpi_env.sh
# Results do not depend on it, and threads that wait for each other on shared cores are slow.
export OMP_NUM_THREADS=1

plain_program=${WANDISTILL:-$PWD/bin/wandistill} program=$plain_program
teacher=data/tiny-wan
mkdir -p build
work=$(mktemp -d "build/test.$(basename "$0" .sh).XXXX")
passed=0 failed=0

pass() {
  echo "ok    $*"
  passed=$((passed + 1))
}
# fail TEXT [LOG]: and what the log has in the end.
fail() {
  echo "FAIL  $1"
  [ -z "${2:-}" ] || tail -n 25 "$2" | sed 's/^/        /'
  failed=$((failed + 1))
}
# check TEXT COMMAND...: the command must succeed.
check() {
  local text=$1
  shift
  if "$@" > "$work/check.log" 2>&1; then pass "$text"; else fail "$text" "$work/check.log"; fi
}
not() { ! "$@"; }

finish() {
  echo "$(basename "$0" .sh): $passed checks passed, $failed failed"
  if [ "$failed" = 0 ]; then
    rm -rf "$work"
    exit 0
  fi
  echo "what was written is in $work"
  exit 1
}

# prompts N: the file with the first N prompts of the data.
prompts() {
  head -n "$1" data/prompts_shapes.txt > "$work/prompts_$1.txt"
  echo "$work/prompts_$1.txt"
}

# Two denoising steps of the teacher, one epoch; options on a command line win over these.
base=$work/base.ini
cat > "$base" << END
teacher_path = $teacher
student_config = data/student_tiny.json
teacher_steps = 2
num_epochs = 1
END

# train RANKS NAME OPTIONS...: a run into $work/NAME, its output in $work/NAME.log; the exit code is the program's.
train() {
  local ranks=$1 name=$2
  shift 2
  run_ranks "$ranks" "$program" train --config "$base" --output_dir "$work/$name" "$@" > "$work/$name.log" 2>&1
}
# trains TEXT RANKS NAME OPTIONS...: the same, and it must succeed.
trains() {
  local text=$1
  shift
  if train "$@"; then pass "$text"; else fail "$text: exit code $?" "$work/$2.log"; fi
}

# start RANKS NAME ARGUMENTS...: the program in the background as $job, its output in $work/NAME.log; rank R's process id
# goes to $work/NAME.pid.R.
start() {
  local ranks=$1 name=$2
  shift 2
  run_ranks "$ranks" bash -c 'echo $$ > "$0.${OMPI_COMM_WORLD_RANK:-0}" && exec "$@"' "$work/$name.pid" \
    "$program" "$@" > "$work/$name.log" 2>&1 &
  job=$!
}
# start_train RANKS NAME OPTIONS...: a training run as train starts it, in the background.
start_train() {
  local ranks=$1 name=$2
  shift 2
  start "$ranks" "$name" train --config "$base" --output_dir "$work/$name" "$@"
}

# inject FAULTS: what is started from now on is the program with these faults (tests/faults/fault.h); inject: without.
inject() {
  export WANDISTILL_FAULT=${1:-}
  if [ -n "$WANDISTILL_FAULT" ]; then program=$PWD/bin/wandistill_faults; else program=$plain_program; fi
}

# wait_until COMMAND...: at most a minute, or $patience seconds.
wait_until() {
  local deadline=$((SECONDS + ${patience:-60}))
  until "$@" 2> /dev/null; do
    [ $SECONDS -lt $deadline ] || return 1
    sleep 0.02
  done
}

# metric KEY FILE: "step value" for every step in a metrics.jsonl; epoch_metric: "epoch value" for every epoch.
metric() { lines_of gradient_norm step "$@"; }
epoch_metric() { lines_of validation_error epoch "$@"; }
lines_of() {
  awk -v kind="$1" -v number="$2" -v key="$3" '
    function field(name) {
      return match($0, "\"" name "\":[^,}]*") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) : ""
    }
    index($0, "\"" kind "\":") { print field(number), field(key) }' "$4"
}

# deviation FILE FILE: "largest-relative-difference at count" of two lists of "number value"; fails where the lists have
# not the same numbers, or values that are none.
deviation() {
  paste "$1" "$2" | awk '
    NF != 4 || $1 != $3 || $2 !~ /^[-0-9]/ || $4 !~ /^[-0-9]/ { bad = 1; exit }
    { d = $2 - $4; if (d < 0) d = -d; s = $2 < 0 ? -$2 : $2; d = d == 0 ? 0 : d / s }
    NR == 1 || d > largest { largest = d; at = $1 }
    END { if (bad || NR == 0) exit 1; printf "%.2e %s %d\n", largest, at, NR }'
}
# agree TEXT BOUND FILE FILE: the lists' largest relative difference is at most BOUND.
agree() {
  local largest at count
  if ! read -r largest at count < <(deviation "$3" "$4"); then
    fail "$1: the two have different steps, or values that are no numbers"
  elif awk "BEGIN { exit !($largest <= $2) }"; then
    pass "$1: $count values, largest relative difference $largest (at $at; bound $2)"
  else
    fail "$1: $count values, largest relative difference $largest (at $at; bound $2)"
  fi
}

# same_h5 FILE FILE: the same objects with the same bits, but for what names the folder and the time.
same_h5() {
  [ "$(h5ls -r "$1")" = "$(h5ls -r "$2")" ] &&
    h5diff --compare --exclude-path=/elapsed --exclude-path=/effective_config "$1" "$2"
}

# flip_byte FILE OFFSET
flip_byte() {
  local byte
  byte=$(od -An -tu1 -j "$2" -N 1 "$1")
  printf "\\x$(printf '%02x' $((byte ^ 255)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
size() { stat -c %s "$1"; }

# picture_text FILE: the file with the zero bytes behind the keys of PNG text as '='.
picture_text() { tr '\000' '=' < "$1"; }
