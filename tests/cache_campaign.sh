# To be sourced behind lib.sh: teacher caches filled by several jobs at once that are killed.

# fill RANKS NAME FOLDER OPTIONS...: `wandistill cache` with small shards, its output in $work/NAME.log.
fill_options=(--teacher_path "$teacher" --student_config data/student_tiny.json --teacher_steps 4 --shard_mb 1
  --lease_seconds 60)
fill() {
  local ranks=$1 name=$2 folder=$3
  shift 3
  local launcher=(run_ranks "$ranks")
  [ "$ranks" != 1 ] || launcher=()
  "${launcher[@]}" "$program" cache --cache_dir "$folder" "${fill_options[@]}" "$@" > "$work/$name.log" 2>&1
}
# start_fill: the same in the background, see `start`. Every denoising step takes 0.06 seconds more.
start_fill() {
  local ranks=$1 name=$2 folder=$3
  shift 3
  inject delay:denoising:seconds=0.06
  start "$ranks" "$name" cache --cache_dir "$folder" "${fill_options[@]}" "$@"
  inject
}

merge() { "$program" cache merge --from "$1" --cache_dir "$2"; }
# same_records FOLDER FOLDER: merged into one order, the records are the same bytes.
same_records() {
  rm -rf "$work/merged_a" "$work/merged_b"
  merge "$1" "$work/merged_a" && merge "$2" "$work/merged_b" && diff -r "$work/merged_a" "$work/merged_b"
}
# nothing_left FOLDER: neither claims nor unfinished files.
nothing_left() {
  local left
  left=$(find "$1" -mindepth 1 ! -name 'shard_*.h5' ! -name 'text_*.h5')
  echo "$left"
  [ -z "$left" ]
}

# no_duplicates FOLDER: no record was computed twice (and both kept).
no_duplicates() { "$program" cache stats "$1" | tee /dev/stderr | not grep -q duplicates; }

# campaign KILLS SEED FOLDER OPTIONS...: a job of two ranks and one of one fill the folder. One of them, drawn by lot, is
# killed (SIGKILL; one of its ranks or all) after up to 0.9 seconds and started again, until there were so many kills.
# Then both may end.
campaign() {
  local kills=$1 folder=$3 killed=0 victim name ranks pids pid
  RANDOM=$2
  shift 3
  local -A job_of=()
  begin() {
    rm -f "$work/$1.pid".*
    start_fill "$2" "$1" "$folder" "${@:3}"
    job_of[$1]=$job
  }
  begin two 2 "$@"
  begin one 1 "$@"
  while [ "$killed" -lt "$kills" ]; do
    sleep "0.$((RANDOM % 900 + 100))"
    if ((RANDOM % 2)); then name=two ranks=2; else name=one ranks=1; fi
    wait_until test -s "$work/$name.pid.$((ranks - 1))" || return 1
    mapfile -t pids < <(cat "$work/$name.pid".*)
    # All of its ranks at once, or one: then mpirun ends the other.
    if ((ranks == 1 || RANDOM % 2)); then victim=("${pids[@]}"); else victim=("${pids[RANDOM % ranks]}"); fi
    kill -KILL "${victim[@]}" 2> /dev/null || {
      echo "$name had ended before it was killed for the $((killed + 1))th time"
      return 1
    }
    killed=$((killed + 1))
    echo "kill $killed: $name, ${#victim[@]} of $ranks ranks, $(find "$folder" -name '*.h5' | wc -l) shards," \
      "$(find "$folder" -name '*.claim' | wc -l) claims"
    wait "${job_of[$name]}"
    begin "$name" "$ranks" "$@"
  done
  local code=0
  for name in one two; do
    wait "${job_of[$name]}" || { echo "$name: exit code $?"; tail -n 5 "$work/$name.log"; code=1; }
  done
  return $code
}
