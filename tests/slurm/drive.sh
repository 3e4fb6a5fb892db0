# To be sourced, after tests/slurm/slurm.sh: jobs that are submitted, disturbed and followed to their end.

patience=120  # seconds for what Slurm does in its own time

# The same training in every job: 146 samples, 37 steps per epoch. It takes a second or two, and waits where it is held.
prompts 80 > /dev/null
export PROMPTS=$work/prompts_80.txt CACHE=$work/cache TEACHER_OPTIONS="--teacher_steps 2"
options=(--batch_size 4 --validation_fraction 0.08 --num_epochs 3 --keep_checkpoints 9 --sample_steps 2)
last=step_00000111.h5

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
unset OMP_NUM_THREADS ${!SBATCH_*} ${!SLURM_JOB*}

# submit NAME SCRIPT [sbatch's options] [-- the job's arguments]: two tasks, or $tasks; output into $work/NAME, log in
# $work/NAME.log, the job's id in $work/NAME.id.
submit() {
  local name=$1 script=$2 sbatch=(--parsable --ntasks-per-node="${tasks:-2}" --cpus-per-task=1 --time=5)
  shift 2
  while [ $# -gt 0 ] && [ "$1" != -- ]; do sbatch+=("$1") && shift; done
  OUTPUT=$work/$name sbatch "${sbatch[@]}" --output="$work/$name.log" "$script" "${@:2}" > "$work/$name.id"
}
id() { cat "$work/$1.id"; }

# The ranks of the job NAME that run now.
ranks() {
  local pid
  for pid in $(pgrep -f -- "--output_dir $work/$1 "); do
    [ "$(cat "/proc/$pid/comm" 2> /dev/null)" = wandistill ] && echo "$pid"
  done
}
trained() { [ "$(metric loss "$work/$1/metrics.jsonl" | wc -l)" -ge "$2" ]; }

# hold NAME [STEP]: from its 12th step on, or this one, the job's ranks stand still, until a SIGCONT: ours, or the one that Slurm sends before
# SIGTERM.
hold() {
  wait_until trained "$1" "${2:-12}"
  kill -STOP $(ranks "$1")
  metric loss "$work/$1/metrics.jsonl" | wc -l > "$work/$1.held"
}
go_on() { kill -CONT $(ranks "$1"); }
# Whether SIGUSR1 waits for a rank that is held.
signalled() {
  local pid
  for pid in $(ranks "$1"); do
    (($(sed -nE 's/^ShdPnd:\t*/0x/p' "/proc/$pid/status") & 1 << 9)) && return
  done
  return 1
}

# ended ID: it will not run again by itself.
ended() {
  case $(job_field "$1" JobState) in COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL) ;; *) return 1 ;; esac
}
follow() { wait_until ended "$(id "$1")"; }

# Checks of the job NAME after its end.
said() { grep -q -- "$2" "$work/$1.log"; }
job_is() { test "$(job_field "$(id "$1")" "$2")" = "$3"; }
well() {
  if job_is "$1" JobState COMPLETED; then
    pass "$1: ended well, after $(job_field "$(id "$1")" Restarts) restarts"
  else
    fail "$1: is $(job_field "$(id "$1")" JobState)" "$work/$1.log"
  fi
}
same_as_whole() {
  check "$1: the last checkpoint is the undisturbed run's, to the bit" \
    same_h5 "$work/whole/checkpoints/$last" "$work/$1/checkpoints/$last"
  check "$1: the student too" diff -r -x README.md "$work/whole/student" "$work/$1/student"
}
# disturbed NAME: it was held midway, lost no step, and ended as the undisturbed job did.
disturbed() {
  local held resumed
  well "$1"
  held=$(cat "$work/$1.held")
  resumed=$(sed -nE 's/^resumed at step ([0-9]*),.*/\1/p' "$work/$1.log" | head -n 1)
  check "$1: held at step $held, resumed at step $resumed" \
    test "$held" -ge 12 -a "$held" -lt 111 -a "$resumed" -ge "$held"
  same_as_whole "$1"
}
restarted() { check "$1: put back into the queue once" job_is "$1" Restarts 1; }
