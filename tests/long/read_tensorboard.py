"""Reads a run's event files with TensorBoard and compares them with its metrics and pictures.

usage: read_tensorboard.py OUTPUT_DIR
"""
import json
import struct
import sys
from collections import defaultdict
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

output = Path(sys.argv[1])
board = EventAccumulator(str(output / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
board.Reload()


def float32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def numbers(path, value):
    if isinstance(value, dict):
        for key, part in value.items():
            yield from numbers(f"{path}/{key}", part)
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from numbers(f"{path}/{i}", part)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, float32(value)


expected = defaultdict(list)
for text in open(output / "metrics.jsonl", encoding="utf-8"):
    line = json.loads(text)
    kind = "epoch" if "epoch" in line else "train"
    if "step" in line:
        for tag, value in numbers(kind, {key: value for key, value in line.items() if key != "step"}):
            expected[tag].append((line["step"], value))
# NaN is null in metrics.jsonl.
found = {tag: [(e.step, e.value) for e in board.Scalars(tag) if e.value == e.value] for tag in board.Tags()["scalars"]}
found = {tag: values for tag, values in found.items() if values}
assert found.keys() == expected.keys(), (sorted(found), sorted(expected))
for tag, values in expected.items():
    assert found[tag] == values, (tag, found[tag], values)

# Older summaries of pictures become tensors: width, height, then the PNG files.
pictures = {}
for record in map(json.loads, open(output / "samples" / "manifest.jsonl", encoding="utf-8")):
    tag = f"{'teacher' if record['epoch'] == 'teacher' else 'samples'}/{record['prompt_index']} {record['prompt']}"
    pictures[tag, record["step"]] = (output / "samples" / record["file"]).read_bytes()
shown = {}
for tag in board.Tags()["tensors"]:
    for event in board.Tensors(tag):
        assert (tag, event.step) not in shown, (tag, event.step)
        shown[tag, event.step] = event.tensor_proto.string_val[2]
for tag in board.Tags()["images"]:
    for event in board.Images(tag):
        assert (tag, event.step) not in shown, (tag, event.step)
        shown[tag, event.step] = event.encoded_image_string
assert shown.keys() == pictures.keys(), (sorted(shown), sorted(pictures))
assert all(shown[key] == pictures[key] for key in pictures)
print(f"{sum(map(len, expected.values()))} scalars of {len(expected)} tags, {len(pictures)} pictures: the same")
