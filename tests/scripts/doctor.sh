#!/usr/bin/env bash
# wandistill doctor, and what train and sample look at before they start: the table, JSON, and everything that can be made
# to fail on one machine.
source "$(dirname "$0")/../lib.sh"

few=$(prompts 6)
wrapper=()  # in front of every rank's program

# doctor_run LOG RANKS ARGUMENTS...: the program's exit code.
doctor_run() {
  local log=$1 ranks=$2
  shift 2
  local start=(bash -c 'source scripts/mpi_env.sh && run_ranks "$@"' _ "$ranks")
  [ "$ranks" -gt 1 ] || start=()
  timeout --kill-after=5 90 "${start[@]}" "${wrapper[@]}" "$program" "$@" > "$log" 2>&1 < /dev/null
}
# ended TEXT CODE WANTED
ended() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1: exit code $2, not $3" "$work/out.log"; fi; }
# says TEXT CODE RANKS ARGUMENTS...: the program ends with CODE; its output is $work/out.log.
says() {
  local text=$1 wanted=$2
  shift 2
  doctor_run "$work/out.log" "$@"
  ended "$text" $? "$wanted"
}
# Blanks and line breaks count as one blank: the table breaks its lines.
also() { check "... $1" grep -aqE -- "$2" <(tr -s ' \n' ' ' < "$work/out.log"); }
# row NAME FILE: the result that a JSON output has for this check.
row() { python3 -c 'import json, sys
print(*[c["result"] for c in json.load(open(sys.argv[2]))["checks"] if c["check"] == sys.argv[1]])' "$1" "$2"; }

says "one rank without a launcher" 0 1 doctor
also "no launcher" "ok launcher no launcher, 1 rank"
also "what was not asked for" "– folders not checked: no --output_dir"
mkdir "$work/shared"
says "two ranks" 0 2 doctor --output_dir "$work/shared/run" --data_path "$few"
also "launcher" "ok launcher mpirun, PMIx [0-9.a-z]+, 2 ranks, Open MPI v[0-9.]+, MPI_THREAD_MULTIPLE"
also "versions" "ok versions .*HDF5 1\..*program's CRC-32C [0-9a-f]{8}, wandistill [0-9.]+"
also "bandwidth" "ok all-reduce, MPI 4 KiB in .* GB/s, bus .* 1 MiB in .* 64 MiB in .* GB/s"
also "folder" "ok folders $work/shared/run will be made, the same for all 2 ranks"
also "disk" "ok disk .*/shared: [0-9.]+ [kMG]B to write, "
also "clocks" "ok clocks "
check "... at most 100 columns" not grep -aqE '^.{101}' "$work/out.log"
check "... leaves nothing" test -z "$(ls -A "$work/shared")"

# As many threads as no machine has.
wrapper=(env OMP_NUM_THREADS=100000)
says "three ranks, oversubscribed, as JSON" 0 3 doctor --json --device simt --output_dir "$work/shared"
cp "$work/out.log" "$work/doctor.json"
wrapper=()
if command -v python3 > /dev/null; then
  check "... a warning" test "$(row "ranks and cores" "$work/doctor.json")" = warning
  check "... the SIMT devices' sums are right" test "$(row "all-reduce, SIMT" "$work/doctor.json")" = ok
  check "... rates and facts of all ranks" python3 -c "import json
doctor = json.load(open('$work/doctor.json'))
assert doctor['good'] and len(doctor['ranks']) == 3 and doctor['ranks'][2]['threads'] == 100000
assert [r['bytes'] for r in doctor['all_reduce']] == 2 * [4096, 2**20, 2**26]
assert all(r['algorithm_bytes_per_second'] > 0 for r in doctor['all_reduce'])"
else
  echo "SKIPPED: no python3 to read the JSON"
fi

# one_rank TEXT: bash code that rank 1 runs instead of the program; the others run it as it is.
one_rank() { wrapper=(bash -c '[ "$OMPI_COMM_WORLD_RANK" != 1 ] || { '"$1"'; }; exec "$@"' _); }

train_few=(train --config "$base" --data_path "$few" --batch_size 6)
mkdir "$work/bin" && ln -s "$PWD/data" "$work/data"
cp "$program" "$work/bin/other_build" && echo >> "$work/bin/other_build"
one_rank "shift; exec '$work/bin/other_build' \"\$@\""
says "a rank runs another build" 1 2 doctor --output_dir "$work/shared"
also "it is named" "FAILED versions rank 1 \([^)]+\): program's CRC-32C [0-9a-f]{8}, where rank 0 has [0-9a-f]{8}"
also "nothing more is tried" "– all-reduce, MPI not checked: the ranks run different programs"
says "... and a training does not start" 1 2 "${train_few[@]}" --output_dir "$work/none"
also "for that reason" "FAILED versions rank 1 "
check "... which is said once" test "$(grep -c "FAILED *versions" "$work/out.log")" = 1
check "... and nothing is written" test ! -e "$work/none"

wrapper=(env OMPI_COMM_WORLD_SIZE=3)
says "a launcher that started more than MPI has" 1 2 doctor
also "says so" "FAILED launcher the launcher started 3 processes, and MPI's world has 2"
wrapper=(env SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=0)
says "a launcher that MPI does not know" 1 1 doctor
also "says so" "2 processes were started, but each would be a world of its own"

wrapper=()

# These wait ten seconds for a file, and meanwhile the rest goes on. The same relative name is another folder for rank 1:
mkdir "$work/elsewhere"
one_rank "cd '$work/elsewhere'"
doctor_run "$work/relative.log" 2 doctor --output_dir "$work/shared" &
relative=$! mounted= mounted_cache=
# A file system of its own for rank 1, as a host's own /tmp is one.
mkdir "$work/mounted"
if unshare -m mount -t tmpfs none "$work/mounted" 2> /dev/null; then
  wrapper=(bash -c '[ "$OMPI_COMM_WORLD_RANK" != 1 ] || set -- unshare -m bash -c '"'mount -t tmpfs none $work/mounted"' && exec "$@"'"'"' _ "$@"; exec "$@"' _)
  doctor_run "$work/mounted.log" 2 "${train_few[@]}" --output_dir "$work/mounted/run" &
  mounted=$!
  doctor_run "$work/mounted_cache.log" 2 cache --data_path "$(prompts 4)" --teacher_steps 2 --cache_dir "$work/mounted/cache" &
  mounted_cache=$!
else
  echo "SKIPPED: a folder that is each host's own, by mount: no root, or no right to mount"
fi
wrapper=()

inject fail:sum:rank=1:id=67108864
says "a sum that is wrong on one rank" 1 2 doctor
also "rank, size and values" "FAILED all-reduce, MPI rank 1 \([^)]+\): a sum over 64 MiB: 1 of 16777216 values are wrong, the first is number 8388608: "
inject fail:sum:rank=0
says "... before a training" 1 2 "${train_few[@]}" --output_dir "$work/none"
also "says so" "FAILED all-reduce, MPI rank 0 .*: a sum over 4 KiB"
check "... and nothing is written" test ! -e "$work/none"
inject fail:clock:rank=1
says "a clock that is 10 s fast" 0 2 doctor
also "is a warning" "warning clocks the clock of rank 1 \([^)]+\) is 10\.0 s ahead of rank 0's"
inject delay:sum:rank=1:seconds=60
says "a rank that does not come back from a sum" 1 2 doctor --fence_timeout 1
also "after what was found before" "ok limits "
also "is reported" "waited [0-9.]+ s \(limit 1 s, --fence_timeout\) for rank 1 rank 1: all-reduce, MPI, 4 KiB"
inject

says "no GPU, or one each" $([ -e /dev/nvidiactl ] && echo 0 || echo 1) 1 doctor --device cuda
also "says which" "(ok|FAILED) GPUs .*(sees 1|no GPU)"
now=$(date +%s)
wrapper=(env SLURM_JOB_ID=1 SLURM_JOB_END_TIME=$((now + 60)))
says "a job with a minute left" 1 1 doctor
also "says so" "FAILED job's time this job's time ends in .* min, and --time_margin 2 would stop it"
wrapper=(env SLURM_JOB_ID=1 SLURM_JOB_END_TIME=$((now + 7200)))
says "a job with two hours left" 0 1 doctor
also "says so" "ok job's time this job's time ends in 1[12][0-9]\.?[0-9]* min"
wrapper=(bash -c 'ulimit -n 300; exec "$@"' _)
says "few open files" 0 2 doctor
also "is a warning" "warning limits ranks 0-1 .* fewer open files"
wrapper=()
says "a folder below a file" 1 2 doctor --output_dir "$few/run"
also "says so" "FAILED folders ranks 0-1 .*: $few/run: cannot make this folder: .* is a file"
says "a student that is not there" 1 1 doctor --output_dir "$work/shared" --student_config "$work/none.json"
also "says so" "FAILED disk $work/none.json: cannot read"
says "too little disk" 1 1 doctor --output_dir "$work/shared" --repetitions 100000000000
also "says so" "FAILED disk .* to write, .* free"
if mkdir "$work/small" && mount -t tmpfs -o size=1m none "$work/small" 2> /dev/null; then
  says "a file system of 1 MB" 1 2 doctor --output_dir "$work/small" --data_path "$few"
  also "says so" "ok folders .*FAILED disk .*/small: [0-9.]+ [MG]B to write, 1.0[0-9] MB free"
  dd if=/dev/zero of="$work/small/filled" bs=64k status=none 2> /dev/null
  says "... that is full" 1 2 doctor --output_dir "$work/small" --data_path "$few"
  also "says so" "FAILED folders rank 0 .*/small.*(disk full|No space)"
  check "... leaves nothing else" test "$(ls -A "$work/small")" = filled
  umount "$work/small"
else
  echo "SKIPPED: a full disk: no root, or no right to mount"
fi

# One thread each, and all on one core.
core=$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')
wrapper=(taskset -c "$core")
says "a training on too few cores" 0 2 "${train_few[@]}" --output_dir "$work/run" --num_steps 1
also "warns" "warning ranks and cores [^ ]+: oversubscribed, 2 threads of ranks 0-1 on 1 core \($core\)"
check "... and sums up in a line" test "$(grep -c "^preflight, [0-9]* checks: 1 warning" "$work/out.log")" = 1
check "... and says nothing of what is good" not grep -q "^  ok " "$work/out.log"
says "pictures" 0 2 sample --model "$teacher" --prompt "a red star" --steps 1 --out "$work/pictures"
check "... the same" test "$(grep -c "^preflight, [0-9]* checks: 1 warning" "$work/out.log")" = 1
wrapper=()

wait $relative
code=$?
cp "$work/relative.log" "$work/out.log"
ended "a folder that is not shared" $code 1
also "the rank is named" "FAILED folders rank 1 \([^)]+\): [^ ]+/elsewhere is not the folder that rank 0 writes to: .* within 10 s"
check "... leaves nothing" test -z "$(find "$work/elsewhere" "$work/shared" -type f)"
if [ -n "$mounted" ]; then
  wait "$mounted"
  code=$?
  cp "$work/mounted.log" "$work/out.log"
  ended "a folder that is each host's own" $code 1
  also "a training does not start" "FAILED folders rank 1 \([^)]+\): [^ ]+/mounted is not the folder that rank 0 writes to"
  wait "$mounted_cache"
  code=$?
  cp "$work/mounted_cache.log" "$work/out.log"
  ended "the same for a cache" $code 1
  also "the rank is named" "rank 1: .*/mounted/cache: on .* this is not the folder that rank 0 writes to: .* within 10 s"
  rmdir "$work/mounted/cache"
  check "... leaves nothing" test -z "$(ls -A "$work/mounted")"
fi
finish
