#!/usr/bin/env python3
"""The Markdown table of a file of JSON lines that the benchmarks wrote.

usage: table.py RESULTS > TABLE
"""

import json
import sys

HEAD = ["program", "", "shape", "threads", "median ms", "spread", "GFLOP", "MB", "rate", "% of ceiling", "more"]
MORE = ("speedup", "wait_share")  # of some lines


def cells(line):
    def number(key, form, factor=1.0):
        return format(line[key] * factor, form) if key in line else ""
    rate = f"{line['rate']:.1f} {line['unit']}" if "rate" in line else ""
    share = f"{100 * line['rate'] / line['ceiling']:.0f}" if "ceiling" in line else ""
    more = ", ".join(f"{key.replace('_', ' ')} {line[key]:.3g}" for key in MORE if key in line)
    return [line["bench"], line["name"], line["shape"], str(line["threads"]), number("median_seconds", ".3f", 1e3), number("spread", ".0%"),
            number("flop", ".3f", 1e-9), number("bytes", ".2f", 1e-6), rate, share, more]


with open(sys.argv[1]) as file:
    lines = [json.loads(line) for line in file]
lines = [line for line in lines if "median_seconds" in line]
if lines:
    print(f"{lines[0]['cpu']}, commit {lines[0]['commit']}. % of ceiling: of what the same run "
          "measured at best.\n")
for row in [HEAD, ["---"] * len(HEAD)] + [cells(line) for line in lines]:
    print("| " + " | ".join(row) + " |")
