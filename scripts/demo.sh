#!/usr/bin/env bash
# Distils the embedded teacher with two ranks and says where the pictures are. DEMO_MINUTES (default 7) is the time for
# teacher and training together; DEMO_DIR (default demo/) receives everything and is reused by a second run.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/mpi_env.sh

minutes=${DEMO_MINUTES:-7}
out=${DEMO_DIR:-demo}
ranks=${DEMO_RANKS:-2}
case $minutes in
  ''|*[!0-9]*|0) echo "demo: DEMO_MINUTES is '$minutes'; expected a whole number of minutes, at least 1" >&2; exit 2 ;;
esac

# About a quarter of the time for the teacher's pictures, at most all prompts; the rest for the student.
mkdir -p "$out"
total=$(wc -l < data/prompts_shapes.txt)
count=$((600 * minutes < total ? 600 * minutes : total))
head -n "$count" data/prompts_shapes.txt > "$out/prompts.txt"

started=$SECONDS
run_ranks "$ranks" bin/wandistill train \
  --teacher_path data/tiny-wan --teacher_steps 10 --student_config data/student_tiny.json \
  --data_path "$out/prompts.txt" --output_dir "$out" --validation_fraction 0.02 \
  --batch_size 16 --num_epochs $((2 * minutes)) --max_minutes "$(awk "BEGIN { print 0.68 * $minutes }")" \
  --save_samples --sample_interval $((minutes > 14 ? minutes / 7 : 1)) \
  --sample_prompts "a large red star on the left of a blue background" "a small yellow ring at the top of a purple background" \
  "a large white heart in the center of a green background" "a small black cross on the right of an orange background" \
  "a large pink triangle at the bottom of a gray background" "a small blue diamond on the left of a white background"

echo
echo "drawing 100 captions that were never trained on"
run_ranks "$ranks" bin/wandistill sample --model "$out/student" --prompt_file data/prompts_shapes_heldout.txt \
  --steps 10 --out "$out/heldout" > /dev/null
python=
for candidate in python3 /usr/bin/python3; do
  [ -n "$python" ] || ! "$candidate" -c 'import numpy, PIL' 2> /dev/null || python=$candidate
done
if [ -n "$python" ]; then
  "$python" scripts/caption_accuracy.py "$out/heldout/manifest.jsonl" | tee "$out/accuracy.txt"
else
  echo "to measure how many match their caption: python3 scripts/caption_accuracy.py $out/heldout/manifest.jsonl"
  echo "(needs the Debian packages python3-numpy and python3-pil)"
fi

echo
echo "done in $(((SECONDS - started) / 60)) min $(((SECONDS - started) % 60)) s"
echo "pictures from epoch to epoch, the teacher's last: $out/samples/contact_sheet.png"
echo "the student, for diffusers or 'bin/wandistill sample': $out/student/"
