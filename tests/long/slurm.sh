#!/usr/bin/env bash
# As tests/slurm/jobs.sh, with four tasks, started by srun and by mpirun: what takes longer, or ends less gently.
source "$(dirname "$0")/../lib.sh"
source tests/slurm/slurm.sh
slurm_start
source tests/slurm/drive.sh
train=jobs/train_one_node.sbatch
tasks=4
patience=200

submit whole $train -- "${options[@]}"
follow whole
well whole

limit() {  # the time is up, and neither the program nor the job was told before: SIGTERM, then KillWait
  submit limit $train --time=1 --signal=B:USR1@0 -- "${options[@]}" --time_margin 0
  hold limit
  follow limit
}
often() {
  local step
  submit often $train -- "${options[@]}"
  for step in 12 30 60 90; do
    hold often $step
    case $step in
      12 | 60) scontrol requeue "$(id often)" ;;
      *) scancel --signal=TERM "$(id often)" && sleep 2 && go_on often ;;
    esac
    wait_until job_is often JobState PENDING
  done
  echo 12 > "$work/often.held"
  follow often
}
# The processes of the job NAME, with the daemons that watch them.
processes() {
  local file pid parent
  for file in /proc/[0-9]*/environ; do
    grep -zqx "SLURM_JOB_ID=$(id "$1")" "$file" 2> /dev/null && grep -zqx "SLURM_CONF=$SLURM_CONF" "$file" || continue
    pid=$(basename "$(dirname "$file")")
    parent=$(ps -o ppid= -p "$pid") || continue  # it has just ended
    echo "$pid"
    [ "$(ps -o comm= -p "$parent")" != slurmstepd ] || echo "$parent"
  done | sort -u
}
node() {  # its node dies, all at once: none of its processes sees another's end and reports it
  local pids
  submit node jobs/train_many_nodes.sbatch --partition=pair --nodes=1 --nodelist=w3 -- "${options[@]}"
  hold node 45
  pids="$(cat "$slurm/slurmd_w3.pid") $(processes node)"
  kill -STOP $pids
  kill -KILL $pids
  scontrol update NodeName=w3 State=DOWN Reason=test  # as Slurm itself does after SlurmdTimeout
  rm -rf "$slurm"/w3/*pmix*                           # as its restart does
  env -i PATH="$PATH" SLURM_CONF="$SLURM_CONF" slurmd -f "$SLURM_CONF" -N w3
  follow node
}
killed() {  # a rank dies: an error, not a reason to start again
  submit killed $train -- "${options[@]}"
  hold killed 45
  kill -KILL "$(ranks killed | tail -n 1)"
  go_on killed
  follow killed
  job_field "$(id killed)" JobState > "$work/killed.state"
  mv "$work/killed.log" "$work/killed_first.log"
  submit killed $train -- "${options[@]}"
  follow killed
}
preempt() {
  submit preempt $train --partition=low --exclusive -- "${options[@]}"
  hold preempt
  MODEL=data/tiny-wan PROMPTS=$work/few.txt PICTURES=$work/higher submit higher jobs/sample.sbatch --partition=high \
    --exclusive -- --steps 2
  follow higher
  follow preempt
}
prompts 2 > /dev/null && mv "$work/prompts_2.txt" "$work/few.txt"

# back_at NAME: it lost what came after the checkpoint of its last whole epoch (of 37 steps), no more.
back_at() {
  local held resumed
  well "$1"
  held=$(cat "$work/$1.held") resumed=$(sed -nE 's/^resumed at step ([0-9]*),.*/\1/p' "$work/$1.log" | head -n 1)
  check "$1: held at step $held, resumed from the checkpoint at step $resumed" \
    test $((${resumed:-1} % 37)) = 0 -a "$held" -ge "${resumed:-999}" -a $((held - ${resumed:-0})) -le 37
  same_as_whole "$1"
}
scenarios=(limit often node killed preempt)
for LAUNCHER in srun mpirun; do
  export LAUNCHER
  echo "--- $LAUNCHER"
  for scenario in "${scenarios[@]}"; do
    $scenario > "$work/$scenario.driver" 2>&1 &
  done
  wait
  for scenario in limit often preempt; do disturbed $scenario; done
  check "limit: restarted by the job itself" said limit "^put back into the queue"
  check "often: four times" job_is often Restarts 4
  for scenario in limit preempt node; do check "$scenario: once" job_is $scenario Restarts 1; done
  back_at node
  check "killed: not put back into the queue" grep -q FAILED "$work/killed.state"
  back_at killed
  for scenario in "${scenarios[@]}"; do rm -rf "$work/$scenario"{,.log,.id,.held}; done
done
finish
