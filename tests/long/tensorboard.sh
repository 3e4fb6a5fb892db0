#!/usr/bin/env bash
# TensorBoard (from PyPI, in build/tensorboard_venv) reads the event files of a run that was stopped, killed and gone on
# with: the scalars are those of metrics.jsonl, the pictures the PNG files.
source "$(dirname "$0")/../lib.sh"

python=build/tensorboard_venv/bin/python
if ! "$python" -c 'import tensorboard' 2> /dev/null; then
  python3 -m venv build/tensorboard_venv && "$python" -m pip install --quiet tensorboard > "$work/pip.log" 2>&1 ||
    fail "TensorBoard cannot be installed" "$work/pip.log"
fi
[ $failed = 0 ] || finish

options=(--data_path "$(prompts 21)" --validation_fraction 0.08 --batch_size 4 --num_epochs 4 --save_samples
  --sample_steps 2)
at_step() { [ "$(metric loss "$work/run/metrics.jsonl" | wc -l)" -ge "$1" ]; }
start_train 2 run "${options[@]}"
wait_until at_step 12
kill -USR1 "$(cat "$work/run.pid.1")"
wait $job
check "stopped in the second epoch" test $? = 85
start_train 2 run "${options[@]}"
wait_until at_step 24
kill -KILL "$(cat "$work/run.pid.1")"
wait $job
check "killed in the third" test $? != 0
trains "the same command again" 2 run "${options[@]}"
check "three files" test "$(ls "$work/run/tensorboard" | wc -l)" = 3
if "$python" tests/long/read_tensorboard.py "$work/run" > "$work/read.log" 2>&1; then
  pass "TensorBoard: $(tail -n 1 "$work/read.log")"
else
  fail "TensorBoard reads something else" "$work/read.log"
fi
finish
