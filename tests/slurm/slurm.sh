# To be sourced, after tests/lib.sh: a private Slurm of four emulated nodes on this machine, without systemd, as root.
# Its daemons, ports, keys and files are its own (in $slurm); another Slurm here is neither used nor disturbed. Ends the
# script with code 77 (skipped) and the reason where it cannot be.

skip() {
  echo "skipped: $*"
  rm -rf "$work"
  exit 77
}

slurm=
slurm_start() {
  [ "$(id -u)" = 0 ] || skip "a private Slurm is started as root only"
  if ! { command -v slurmctld && command -v slurmd && command -v munged; } > /dev/null; then
    command -v apt-get > /dev/null || skip "Slurm is not installed, and there is no apt-get"
    scripts/deps.sh install slurm > "$work/install.log" 2>&1 ||
      skip "Slurm's packages could not be installed: $(tail -n 1 "$work/install.log")"
  fi
  slurm=$(mktemp -d "${TMPDIR:-/tmp}/wandistill_slurm.XXXX")  # sockets need short names
  trap slurm_stop EXIT
  # And should this script be killed: in a process group of its own, which `timeout` does not reach.
  set -m
  (
    trap '' TERM INT HUP
    while kill -0 $$; do sleep 0.5; done
    slurm_stop
  ) < /dev/null > /dev/null 2>&1 &
  disown
  set +m
  chmod 755 "$slurm"
  mkdir "$slurm"/{state,log,munge,w1,w2,w3,w4}
  chmod 700 "$slurm/munge"
  slurm_configure
  export SLURM_CONF=$slurm/slurm.conf
  if ! slurm_daemons > "$slurm/log/start" 2>&1; then
    mkdir -p "$work"
    cp -r "$slurm/log" "$work/slurm_log"
    fail "the private Slurm did not start" <(tail -n 5 "$slurm"/log/*)
    finish
  fi
}

# A port such that it and the 99 after it seem free.
free_ports() {
  local base port attempt
  for attempt in $(seq 50); do
    base=$((20000 + RANDOM % 200 * 50))
    for port in $(seq $base $((base + 99))); do
      if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then continue 2; fi
    done
    echo $base && return
  done
}

# main: a node for jobs side by side. low, high: a node on which jobs of the one preempt those of the other. pair: two.
slurm_configure() {
  local base i
  base=$(free_ports)
  cat > "$slurm/slurm.conf" << END
ClusterName=wandistill
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$slurm/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort=$base
SrunPortRange=$((base + 10))-$((base + 99))
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/%n
TmpFS=$slurm/%n
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/slurmd_%n.pid
SlurmctldLogFile=$slurm/log/slurmctld
SlurmdLogFile=$slurm/log/slurmd_%n
SlurmdParameters=config_overrides
SwitchType=switch/none
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,bf_interval=2,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=30
MinJobAge=3600
InactiveLimit=0
MessageTimeout=20
END
  for i in 1 2 3 4; do
    echo "NodeName=w$i NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((base + i)) CPUs=64 State=UNKNOWN"
  done >> "$slurm/slurm.conf"
  cat >> "$slurm/slurm.conf" << END
PartitionName=main Nodes=w1 Default=YES State=UP
PartitionName=low Nodes=w2 State=UP PriorityTier=1 GraceTime=20
PartitionName=high Nodes=w2 State=UP PriorityTier=10
PartitionName=pair Nodes=w[3-4] State=UP
END
}

slurm_daemons() {
  local node
  (umask 077 && head -c 128 /dev/urandom > "$slurm/munge/key")
  munged --key-file="$slurm/munge/key" --socket="$slurm/munge.socket" --pid-file="$slurm/munged.pid" \
    --log-file="$slurm/munge/log" --seed-file="$slurm/munge/seed" --num-threads=2 --force || return
  wait_until test -S "$slurm/munge.socket" || return
  env -i PATH="$PATH" SLURM_CONF="$SLURM_CONF" slurmctld -i -f "$SLURM_CONF" || return
  for node in w1 w2 w3 w4; do
    env -i PATH="$PATH" SLURM_CONF="$SLURM_CONF" slurmd -f "$SLURM_CONF" -N $node || return
  done
  wait_until nodes_idle
}
nodes_idle() { [ "$(timeout 5 sinfo --noheader --Node --states=idle --format=%N | sort -u | wc -l)" = 4 ]; }

# Ends all jobs, then the daemons, by what they wrote into their pid files.
slurm_stop() {
  local patience=3 file pids=()
  [ -d "$slurm" ] || return 0
  timeout 2 scancel --me > /dev/null 2>&1
  timeout 2 scancel --me --full --signal=KILL > /dev/null 2>&1
  wait_until no_jobs
  for file in "$slurm"/*.pid; do
    case $(cat "/proc/$(cat "$file")/comm" 2> /dev/null) in slurmd* | slurmctld* | munged*) pids+=("$(cat "$file")") ;; esac
  done
  kill "${pids[@]}"
  wait_until ended_all "${pids[@]}" || kill -KILL "${pids[@]}"
  rm -rf "$slurm"
}
ended_all() { ! kill -0 "$@"; }
no_jobs() { [ -z "$(timeout 2 squeue --noheader)" ]; }

# job_field ID FIELD: as `scontrol show job` has it.
job_field() { scontrol --oneliner show job "$1" | sed -nE "s/.* $2=([^ ]*).*/\1/p"; }
