#!/usr/bin/env python3
"""The Markdown table of a file of JSON lines that the benchmarks wrote, on CPUs or on a GPU with peers.

usage: table.py RESULTS > TABLE
"""

import json
import sys

MORE = ("speedup", "wait_share")  # of some lines
ABSENT = ("failed", "skipped")  # why there is no time


def number(key, form, factor=1.0):
    return lambda line: format(line[key] * factor, form) if key in line else ""


def text(key):
    return lambda line: str(line.get(key, ""))


def rate(line):
    return f"{line['rate']:.1f} {line['unit']}" if "rate" in line else ""


def share(line):
    return f"{100 * line['rate'] / line['ceiling']:.0f}" if "ceiling" in line and "rate" in line else ""


def more(line):
    found = [f"{key.replace('_', ' ')} {line[key]:.3g}" for key in MORE if key in line]
    found += [f"{key}: " + line[key].replace("|", "\\|") for key in ABSENT if key in line]
    return ", ".join(found)


# Those that no line has are left out. factor: the peer's time over ours.
COLUMNS = [("program", text("bench")), ("", text("name")), ("shape", text("shape")), ("peer", text("peer")),
           ("threads", text("threads")), ("median ms", number("median_seconds", ".3f", 1e3)), ("spread", number("spread", ".0%")),
           ("GFLOP", number("flop", ".3f", 1e-9)), ("MB", number("bytes", ".2f", 1e-6)), ("rate", rate), ("% of ceiling", share),
           ("factor", number("factor", ".2f")), ("difference", number("difference", ".4f")), ("more", more)]

with open(sys.argv[1]) as file:
    lines = [json.loads(line) for line in file if line.strip()]
lines = [line for line in lines if any(key in line for key in ("median_seconds", *ABSENT))]
if lines:
    first = lines[0]
    print(f"{first.get('cpu') or first['device']}, commit {first.get('commit', 'unknown')}. % of ceiling: of what the same run "
          "measured at best.\n")
columns = [column for column in COLUMNS if any(column[1](line) for line in lines)]
for row in [[title for title, _ in columns], ["---"] * len(columns)] + [[cell(line) for _, cell in columns] for line in lines]:
    print("| " + " | ".join(row) + " |")
