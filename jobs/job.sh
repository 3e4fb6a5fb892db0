# To be sourced by the batch scripts, which then call run_job.
source jobs/site.sh

# What is computed, and where to: all jobs take these from the environment.
: "${TEACHER:=data/tiny-wan}"
: "${STUDENT:=data/student_tiny.json}"
: "${PROMPTS:=data/prompts_shapes.txt}"
: "${OUTPUT:=run}"
: "${CACHE:=$OUTPUT/cache}"
: "${TEACHER_OPTIONS:=}"  # as in "--teacher_steps 10 --guidance 5"; a cache is for one setting of them

# run_job FOLDER ARGUMENTS...: `wandistill ARGUMENTS...` on all tasks of the job. Exit code 85 says that it stopped
# before its end but can go on: then the job is put back into the queue. FOLDER: where its progress is seen.
run_job() {
  local folder=$1 started=$1/started_$SLURM_JOB_ID step code interrupted launch
  shift
  mkdir -p "$folder"
  rm -f "$started"
  export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
  export OMPI_MCA_mpi_yield_when_idle=1  # while ranks wait they leave the core to those that compute
  export PMIX_MCA_gds=hash  # no locks in shared memory: a rank killed at its start may leave them locked, and its job hung
  case $LAUNCHER in
    srun) launch=(srun --mpi="$SRUN_MPI" --cpus-per-task="$OMP_NUM_THREADS") ;;
    mpirun)
      launch=(mpirun --bind-to none)
      # mpirun and its daemons answer SIGTERM by killing the ranks within two seconds, too soon for a checkpoint. So they
      # do not get to see it, but the ranks do. (Where env is older than coreutils 8.31 there is no such protection.)
      if env --block-signal=TERM true 2> /dev/null; then
        launch=(env --block-signal=TERM "${launch[@]}")
        export OMPI_MCA_orte_launch_agent="env --block-signal=TERM orted"
      fi
      ;;
    *) echo "jobs/site.sh: LAUNCHER is '$LAUNCHER'; expected srun or mpirun" >&2 && return 2 ;;
  esac

  # USR1 reaches this script alone (#SBATCH --signal=B:...) and is passed on. TERM does not: Slurm sends it to the ranks
  # too, and two signals would be a second request.
  step='' interrupted=''
  trap 'interrupted=1; [ -z "$step" ] || kill -USR1 "$step" 2> /dev/null || true' USR1
  trap interrupted=1 TERM
  "${launch[@]}" bash -c ': > "$0" && exec "$@"' "$started" bin/wandistill "$@" &
  step=$!
  while true; do
    wait "$step" && code=0 || code=$?
    [ -n "$interrupted" ] || break  # else wait was left because of the signal
    interrupted=''
  done
  step=''
  if [ ! -e "$started" ] && [ "$code" = 0 ]; then  # srun (22.05) where Slurm cannot start the tasks
    echo "$LAUNCHER ended without an error, but started nothing" >&2
    code=1
  fi
  rm -f "$started"
  if [ "$code" = 85 ]; then requeue "$folder"; else rm -f "$folder/requeue_$SLURM_JOB_ID"; fi
  return "$code"
}

# requeue FOLDER: not where Slurm ends the job because it was cancelled, or has put it back itself; and not for ever
# without a new checkpoint, cache shard or picture.
requeue() {
  local note=$1/requeue_$SLURM_JOB_ID state files idle=0 before=
  state=$(scontrol --oneliner show job "$SLURM_JOB_ID" | sed -nE 's/.* JobState=([^ ]*) Reason=([^ ]*) .*/\1 \2/p')
  case $state in
    RUNNING*|*TimeLimit) ;;
    *) echo "Slurm is ending the job already ($state): not put back into the queue from here" && return ;;
  esac
  mkdir -p "$CACHE"
  files=$(find -L "$1" "$CACHE" -name '*.h5' -o -name '*.png' | sort | cksum)
  if [ -e "$note" ]; then read -r idle before < "$note"; fi
  if [ "$files" = "$before" ]; then idle=$((idle + 1)); else idle=0; fi
  if [ "$idle" -ge "$MAX_IDLE_RESTARTS" ]; then
    echo "not put back into the queue: $MAX_IDLE_RESTARTS restarts brought nothing new into $1 (more --time?)" >&2
    rm -f "$note"
    return
  fi
  echo "$idle $files" > "$note"
  echo "put back into the queue"
  scontrol requeue "$SLURM_JOB_ID"
}
