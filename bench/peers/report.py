"""Rows for people, as a table, and for programs, as JSON lines."""

import json
import os


def verdict(row):
    if "skipped" in row:
        return row["skipped"]
    if row.get("agrees") is False:
        return f"RESULTS DIFFER: {row['errors']} {row['failed'] or ''}"
    if row.get("target") is None:
        return ""
    good = row["ratio"] <= row["target"] if row.get("at_most") else row["ratio"] >= row["target"]
    return "yes" if good else "no"


def worst_error(row):
    return max((v for variant in row.get("errors", {}).values() for v in variant.values()), default=None)


def cells(row):
    """As the table has them."""
    def number(key, form, factor=1):
        return format(row[key] * factor, form) if row.get(key) is not None else ""
    error = worst_error(row)
    rate = f"{row['flop'] / row['ours_seconds'] / 1e9:.0f}" if row.get("flop") and row.get("ours_seconds") else ""
    sign = "<=" if row.get("at_most") else ">="
    target = f"{sign} {row['target']}" if row.get("target") is not None else ""
    failed = "".join(f" ({variant}: {reason})" for variant, reason in row.get("failed", {}).items())
    return [row["name"], row.get("shape", ""), number("flop", ".2f", 1e-9), rate, number("ours_seconds", ".3f", 1e3),
            number("peer_seconds", ".3f", 1e3), row.get("peer", "") + failed, "" if error is None else f"{error:.1e}", target,
            number("ratio", ".3g"), number("spread", ".0%"), number("cpu_ratio", ".3g"), number("pairs", "d"), verdict(row)]


HEAD = ["", "shape", "GFLOP", "GFLOP/s", "ours ms", "peer ms", "peer", "error", "target", "measured", "spread", "by CPU time", "pairs",
        "target met"]


def print_row(row):
    print(" | ".join(cell for cell in cells(row) if cell), flush=True)


def markdown(facts, rows):
    lines = [", ".join(f"{key} {value}" for key, value in facts.items()), ""]
    lines += ["| " + " | ".join(line) + " |" for line in [HEAD, ["---"] * len(HEAD)] + [cells(row) for row in rows]]
    return "\n".join(lines) + "\n"


def replace(file, text):
    temporary = file.with_name(file.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, file)


def write_report(stem, facts, rows):
    stem.parent.mkdir(parents=True, exist_ok=True)
    replace(stem.with_name(stem.name + ".json"),
            "".join(json.dumps({"bench": "peers", **facts, **row}) + "\n" for row in rows))
    replace(stem.with_name(stem.name + ".md"), markdown(facts, rows))
