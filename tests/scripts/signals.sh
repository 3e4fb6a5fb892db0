#!/usr/bin/env bash
# What ends a run before its time: a second signal, the end of a Slurm job's time, a launcher that does not fit.
source "$(dirname "$0")/../lib.sh"

options=(--data_path "$(prompts 21)" --validation_fraction 0.08 --batch_size 4 --num_epochs 2 --keep_checkpoints 9
  --cache_dir "$work/cache" --save_samples --sample_steps 2)
last=step_00000020.h5
saved() { (cd "$work/$1/checkpoints" && ls -A && cksum -- *); }
at_step() { [ "$(metric loss "$work/$1/metrics.jsonl" | wc -l)" -ge "$2" ]; }

# A second signal, to a rank whose step takes longer than any test.
trains "an undisturbed run" 2 whole "${options[@]}"
start_train 2 twice "${options[@]}"
wait_until at_step twice 2
rank=$(cat "$work/twice.pid.0")
kill -CONT "$rank" && kill -USR1 "$rank" && kill -TERM "$rank"
wait $job
check "a first request, here by three signals: exit code 85" test $? = 85
inject delay:denoising:rank=1:seconds=600
start_train 2 twice "${options[@]}"
inject
wait_until grep -q "still waiting for rank 1" "$work/twice.log"
saved twice > "$work/saved"
while kill -USR1 "$(cat "$work/twice.pid.1")" 2> /dev/null; do sleep 1.5; done
wait $job
check "a second signal: the signal's exit code" test $? = 138
check "... and it says so, once" test "$(grep -c "a second signal: ends at once" "$work/twice.log")" = 1
check "... what was saved is still there" diff "$work/saved" <(saved twice)
trains "... and goes on" 2 twice "${options[@]}"
check "... to the same end" same_h5 "$work/whole/checkpoints/$last" "$work/twice/checkpoints/$last"

# While the teacher works: all ranks stop after a denoising step, though their batch would take seconds.
start_train 2 teacher --data_path "$(prompts 60)" --teacher_steps 200 --teacher_batch 30
wait_until grep -q "trajectories present" "$work/teacher.log"
sleep 0.5
kill -USR1 "$(cat "$work/teacher.pid.1")"
wait $job
check "a signal while the teacher works: exit code 85" test $? = 85
check "... in the middle of a batch" test -z "$(find "$work/teacher/cache" -name "shard_*")"

# The end of the job's time, by what squeue says.
mkdir "$work/bin"
export PATH=$PWD/$work/bin:$PATH SLURM_JOB_ID=7
unset SLURM_JOB_END_TIME
squeue_says() { printf '#!/bin/sh\n%s\n' "$1" > "$work/bin/squeue" && chmod +x "$work/bin/squeue"; }
# sample CODE OPTIONS...: its exit code must be CODE.
sample() {
  local code=$1
  shift
  run_ranks 2 "$program" sample --model $teacher --prompt "a red star" "a blue star" --out "$work/pictures" "$@" \
    > "$work/sample.log" 2>&1
  [ $? = "$code" ]
}
says() { [ "$(grep -c -- "$1" "$work/sample.log")" = 1 ]; }
squeue_says 'echo 1:30'
check "less time than the margin: an error" sample 1 --steps 1
check "... that says how much there is" says "job's time ends in 1.5 min, and --time_margin 2 would stop it at once"
check "... not with a smaller margin" sample 0 --steps 1 --time_margin 0.1
check "... which is said" says "the run saves and stops 0.1 min before"
squeue_says 'echo 0:04'
inject delay:denoising:rank=0:seconds=0.2
check "the margin before the end: exit code 85" sample 85 --steps 3000 --time_margin 0.05
inject
squeue_says 'echo UNLIMITED'
check "no time limit: nothing is said of it" sample 0 --steps 1
check "..." not says "job's time"
squeue_says 'echo no controller; exit 1'
check "squeue fails: the run goes on" sample 0 --steps 1
check "... and says why the time is not known" says "time ends is not known.*: 1 no controller"
unset SLURM_JOB_ID

# Processes that do not know of each other.
inspects() {
  env "$@" "$program" inspect $teacher > "$work/sample.log" 2>&1
}
check "a rank of srun without PMIx is refused" not inspects SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=0
check "... by name" says "2 processes were started, but each would be a world of its own"
check "... the other ranks without a word" not inspects SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1
check "..." test ! -s "$work/sample.log"
check "a rank of another library's mpiexec too" not inspects PMI_SIZE=2 PMI_RANK=0
check "... by name" says "2 processes were started, but each would be a world of its own"
finish
