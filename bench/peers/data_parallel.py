"""bin/bench/data_parallel's figures: ours alone, two ranks against one."""

import functools
import json
import os
import subprocess


@functools.cache
def lines(root):
    command, environment = [str(root / "bin" / "bench" / "data_parallel")], {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def overlapped(root, size):
    return next(line for line in lines(root) if line["size"] == size and line["all_reduce"] == "2 ranks, overlap")


def speedup(root, size):
    line = overlapped(root, size)
    return {"shape": line["shape"], "ratio": line["speedup"], "spread": line["speedup_spread"], "pairs": line["runs"]}


def wait_share(root, size):
    line = overlapped(root, size)
    return {"shape": line["shape"], "ratio": line["wait_share"], "pairs": line["runs"], "at_most": True}
