#!/usr/bin/env bash
# The job scripts, unchanged, on a private Slurm: whatever stops a run, it ends where an undisturbed one ends.
source "$(dirname "$0")/../lib.sh"
source tests/slurm/slurm.sh
slurm_start
source tests/slurm/drive.sh
train=jobs/train_one_node.sbatch

# All at the same time, as most of it is waiting. A job is held while something happens to it.
whole() {  # an undisturbed run
  submit whole $train -- "${options[@]}"
  follow whole
}
signal() {  # --signal before the time limit, which reaches the batch script alone
  CACHE=$work/signal_cache submit signal $train --time=1 --signal=B:USR1@10 -- "${options[@]}" --time_margin 0
  hold signal
  wait_until signalled signal
  go_on signal
  follow signal
}
margin() {  # --time_margin, with mpirun in the batch script
  LAUNCHER=mpirun CACHE=$work/margin_cache submit margin $train --time=1 --signal=B:USR1@0 -- "${options[@]}" --time_margin 0.7
  hold margin
  sleep 16
  go_on margin
  follow margin
}
requeue() {
  submit requeue $train -- "${options[@]}"
  hold requeue
  scontrol requeue "$(id requeue)"
  follow requeue
}
cancel() {
  submit cancel $train -- "${options[@]}"
  hold cancel
  scancel "$(id cancel)"
  follow cancel
  cp "$work/cancel.id" "$work/cancelled.id"
  sleep 8  # longer than it takes to come back from the queue
  job_field "$(id cancel)" JobState > "$work/cancelled.state"
  mv "$work/cancel.log" "$work/cancelled.log"
  submit cancel $train -- "${options[@]}"
  follow cancel
}
preempt() {  # a job of a higher partition wants the node
  submit preempt $train --partition=low --exclusive -- "${options[@]}"
  hold preempt
  MODEL=data/tiny-wan PROMPTS=$work/few.txt PICTURES=$work/higher submit higher jobs/sample.sbatch --partition=high \
    --exclusive -- --steps 2
  follow higher
  follow preempt
}
nodes() {  # two nodes of one rank each
  OMPI_MCA_btl_tcp_if_include=lo submit nodes jobs/train_many_nodes.sbatch --partition=pair --nodes=2 --ntasks-per-node=1 -- "${options[@]}"
  follow nodes
}
doctor() {  # the same job looks at what it would run on
  OMPI_MCA_btl_tcp_if_include=lo COMMAND=doctor submit doctor jobs/train_many_nodes.sbatch --partition=pair --nodes=2 --ntasks-per-node=1 -- "${options[@]}"
  follow doctor
}
# other_program NAME TEXT: the jobs in $work/NAME, with a shell script in the program's place.
other_program() {
  mkdir -p "$work/$1/bin"
  cp -r jobs "$work/$1"
  printf '#!/bin/sh\n%s\n' "$2" > "$work/$1/bin/wandistill"
  chmod +x "$work/$1/bin/wandistill"
}
idle() {  # a program that never gets on is not restarted for ever
  other_program idle_root 'exit 85'
  (work=$PWD/$work && cd "$work/idle_root" && MAX_IDLE_RESTARTS=1 submit idle $train)
  follow idle
}
chain() {  # the cache stage as an array, and the training after all of it: as they are, in a folder where their logs may lie
  mkdir "$work/chain_root"
  cp -r jobs "$work/chain_root"
  ln -s "$PWD/bin" "$PWD/data" "$work/chain_root"
  OMP_THREAD_LIMIT=1 SBATCH_TIMELIMIT=5 PROMPTS=$PWD/$PROMPTS OUTPUT=out CACHE=out/cache \
    bash "$work/chain_root/jobs/cache_then_train.sh" "${options[@]}" > "$work/chain.log"
  sed -nE 's/.*training, .*: job ([0-9]*)$/\1/p' "$work/chain.log" > "$work/chain.id"
  follow chain
}
unstarted() {  # Slurm cannot start the tasks, here as a folder of theirs exists already; srun says nothing was wrong
  submit unstarted $train --hold -- "${options[@]}"
  mkdir "$slurm/w1/spmix_appdir_0_$(id unstarted).0"
  scontrol release "$(id unstarted)"
  follow unstarted
}
prompts 2 > /dev/null && mv "$work/prompts_2.txt" "$work/few.txt"
play() {
  local scenario
  for scenario in "$@"; do $scenario > "$work/$scenario.driver" 2>&1 & done
}
play signal margin  # these must be held before Slurm's time comes, which is 20 and 18 seconds after their start
wait_until test -e "$work/signal.held" -a -e "$work/margin.held"
whole
play requeue cancel preempt nodes doctor idle unstarted chain
wait

well whole
check "whole: knows when its time ends" said whole "this job's time ends in [45].*; the run saves and stops 2 min before"
for scenario in signal margin requeue cancel preempt; do disturbed $scenario; done
for scenario in requeue preempt; do restarted $scenario; done
# Where steps are slow the signal comes in the second start too.
check "signal: put back into the queue" test "$(job_field "$(id signal)" Restarts)" -ge 1
check "signal: the job itself asked for it" said signal "^put back into the queue"
check "margin: stopped for that reason" said margin "^stopped before the job's time ends "
check "margin: put back into the queue" said margin "^put back into the queue"
check "requeue: not asked for twice" said requeue "not put back into the queue from here"
check "cancel: stayed cancelled" grep -q CANCELLED "$work/cancelled.state"
check "cancel: saved before" said cancelled "^stopped by a signal "
check "preempt: the higher job ran meanwhile" job_is higher JobState COMPLETED
check "preempt: its pictures" test -s "$work/higher/rank_1_sample_00.png"
well nodes
same_as_whole nodes
well doctor
check "doctor: two ranks of srun" said doctor "ok  *launcher  *srun, PMIx.*, 2 ranks"
check "doctor: knows when its time ends" said doctor "ok  *job's time  *this job's time ends in [45]"
check "idle: ended" job_is idle ExitCode 85:0
check "idle: restarted so long as allowed" job_is idle Restarts 1
check "idle: said why no longer" said idle "not put back into the queue: 1 restarts brought nothing new"
check "unstarted: failed" job_is unstarted JobState FAILED
check "unstarted: says why" said unstarted "srun ended without an error, but started nothing"
check "chain: ended" job_is chain JobState COMPLETED
chain_said() { grep -lE -- "$1" "$work/chain_root"/wandistill_*.log | wc -l; }
check "chain: four cache jobs of four ranks" test "$(chain_said "^the teacher cache out/cache is complete")" = 4
bin/wandistill cache stats "$work/chain_root/out/cache" > "$work/chain.stats"
check "chain: its cache has 80 trajectories" grep -qE "trajectories +80\b" "$work/chain.stats"
check "chain: ... each computed once" not grep -q duplicates "$work/chain.stats"
check "chain: then one training, which finds all" \
  grep -q "out/cache: 80 of 80 trajectories present" "$work/chain_root/wandistill_$(id chain).log"
check "chain: the student is there" test -s "$work/chain_root/out/student/transformer/diffusion_pytorch_model.safetensors"

srun --mpi=none --ntasks=2 bin/wandistill inspect data/tiny-wan > "$work/none.log" 2>&1
check "srun without PMIx is refused" test $? = 1
check "... by name, once" test "$(grep -c "2 processes were started, but each .* srun --mpi=pmix" "$work/none.log")" = 1
finish
