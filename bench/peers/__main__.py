#!/usr/bin/env python3
"""wandistill beside diffusers on the CPU: the same weights, inputs and threads; results compared, then times in turn.

usage: python bench/peers [--rows NAME ...] [--threads N] [--out STEM]

Writes STEM.json (a line for each row) and STEM.md (a table); STEM is by default bench/results/CPU-peers. Exits with 1 if
results differ. scripts/bench_peers.sh makes the environment and runs it.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", nargs="+", help="only rows whose names contain one of these")
parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
parser.add_argument("--out", type=Path, help="without extension")
arguments = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # of this process and of ours

import torch  # noqa: E402

import cases  # noqa: E402
import data_parallel  # noqa: E402
import memory  # noqa: E402
from compare import compare, write_inputs  # noqa: E402
from machine import KEEPS_FREED_MEMORY, available_bytes, header, keep_freed_memory, slug  # noqa: E402
from ours import Ours  # noqa: E402
from report import print_row, write_report  # noqa: E402

TEACHER = ROOT / "data" / "tiny-wan"
WORK = ROOT / "build" / "peers"

# (name, target of the ratio or None, bytes needed, case)
ROWS = [
    ("student step, tiny", 6, 1e9, lambda work: cases.StudentStep(work, "tiny", 1)),
    ("student step, tiny, batch 16", None, 1e9, lambda work: cases.StudentStep(work, "tiny", 16)),
    ("student step, small", 1.6, 2e9, lambda work: cases.StudentStep(work, "small", 1)),
    ("student step, small, batch 4", None, 4e9, lambda work: cases.StudentStep(work, "small", 4)),
    ("student step, base", 1.2, 15e9, lambda work: cases.StudentStep(work, "base", 1, pairs=3)),
    ("student step, tiny, bf16", 1.3, 1e9, lambda work: cases.StudentStepBf16(work, "tiny", 1)),
    ("student step, small, bf16", 1.3, 2e9, lambda work: cases.StudentStepBf16(work, "small", 1)),
    ("student step, base, bf16", 1.1, 15e9, lambda work: cases.StudentStepBf16(work, "base", 1, pairs=3)),
    ("teacher forward, 64 tokens", 4, 1e9, lambda work: cases.TransformerForward(TEACHER, 16)),
    ("teacher forward, 1024 tokens", 1.2, 1e9, lambda work: cases.TransformerForward(TEACHER, 64)),
    ("text encoder, as WanPipeline", None, 1e9, lambda work: cases.TextEncoder(TEACHER, 20, False)),
    ("text encoder, trimmed", None, 1e9, lambda work: cases.TextEncoder(TEACHER, 20, True)),
    ("text encoder, full", None, 1e9, lambda work: cases.TextEncoder(TEACHER, 512, True)),
    ("VAE decode, 128", 3, 1e9, lambda work: cases.VaeDecode(TEACHER, 16)),
    ("VAE decode, 512", 3, 3e9, lambda work: cases.VaeDecode(TEACHER, 64)),
    ("VAE decode, 1024", 3, 8e9, lambda work: cases.VaeDecode(TEACHER, 128)),
    ("DDIM sampling", 5, 1e9,
     lambda work: cases.DdimSampling(TEACHER, json.loads((TEACHER / "model_index.json").read_text()))),
]


# The same, of what is not timed in turn: the last gives the row's measurements.
OTHER_ROWS = [
    ("peak memory, small", 0.6, 4e9, lambda work: memory.compare(ROOT, work, "small", 4)),
    ("peak memory, base", 0.6, 8e9, lambda work: memory.compare(ROOT, work, "base", 1)),
    ("2 ranks on 2 cores, tiny", 1.9, 1e9, lambda work: data_parallel.speedup(ROOT, "tiny")),
    ("2 ranks on 2 cores, small", 1.9, 4e9, lambda work: data_parallel.speedup(ROOT, "small")),
    ("all-reduce wait share, small", 0.05, 4e9, lambda work: data_parallel.wait_share(ROOT, "small")),
]


def with_folder(name, needed, work_in):
    """work_in(folder), if there is memory for it."""
    if available_bytes() < needed:
        return {"skipped": f"needs {needed / 1e9:.0f} GB of memory, {available_bytes() / 1e9:.1f} are free"}
    work = WORK / slug(name)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        return work_in(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def in_own_process(find):
    """find(), where no row before has left memory or compiled code behind."""
    context = multiprocessing.get_context("fork")  # of this process, which computes nothing
    receive, send = context.Pipe(duplex=False)

    def work():
        keep_freed_memory()
        send.send(find())

    process = context.Process(target=work)
    process.start()
    send.close()
    try:
        return receive.recv()
    except EOFError:
        sys.exit("the row's process ended without a result")
    finally:
        process.join()  # its memory is free for the next one


def compare_case(work, make):
    case = make(work)
    write_inputs(case, work)
    with Ours(ROOT, case.subject, case.model, work, {**os.environ, **KEEPS_FREED_MEMORY}) as ours:
        return ours.facts if "skipped" in ours.facts else compare(case, ours, work)


def main():
    torch.set_num_threads(arguments.threads)
    facts = header(ROOT, arguments.threads)
    stem = arguments.out or ROOT / "bench" / "results" / f"{slug(facts['cpu'])}-peers"
    rows = []
    wanted = [(name, target, needed, lambda work, make=make: in_own_process(lambda: compare_case(work, make)))
              for name, target, needed, make in ROWS]
    for name, target, needed, work_in in wanted + OTHER_ROWS:
        if arguments.rows and not any(part in name for part in arguments.rows):
            continue
        row = {"name": name, "target": target, **with_folder(name, needed, work_in)}
        rows.append(row)
        print_row(row)
        write_report(stem, facts, rows)  # after each: the next may take long, or fail
    print(f"results in {stem}.json and {stem}.md")
    return 1 if any(row.get("agrees") is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
