"""``xedge compare``."""

from __future__ import annotations

import argparse

from xedge.api.compare import compare
from xedge.cli.console import Console, Tabulate, budget_code, budget_text, markdown, megabytes, percent, table
from xedge.cli.options import refuse_idle
from xedge.cli.parser import commands_of, parser
from xedge.measuring.comparison import AccuracyDifference, Comparison, LatencyDifference, Side
from xedge.measuring.rounds import Plan


def main(options: argparse.Namespace) -> int:
    """Put runs side by side."""
    console = Console(options.json, options.quiet)
    own = commands_of(parser())["compare"]
    if not any(path.is_dir() or path.suffix == ".zip" for path in options.things):
        refuse_idle(options, own, ("data", "limit", "threads", "rounds", "runs"), "on files: it is for bundles")
    if options.json == "-":
        refuse_idle(options, own, ("markdown",), "with --json, which is printed")
    plan = Plan(
        rounds=options.rounds, runs=options.runs, data=options.data, limit=options.limit, threads=options.threads
    )
    found = compare(
        *options.things,
        across=options.across,
        plan=plan,
        max_drop_points=options.max_drop_points,
        min_agreement=options.min_agreement,
        progress=console.progress,
    )
    console.result(found, text(found, markdown if options.markdown else table))
    return budget_code(found.verdicts)


def text(found: Comparison, tabulate: Tabulate = table) -> str:
    """Return the comparison as a person reads it."""
    parts = [tabulate([_side(side) for side in found.sides], SIDE_HEADER)]
    rows = [[one.name, *_accuracy(one.accuracy), *_latency(one.latency)] for one in found.versus]
    parts.append(tabulate(rows, [f"against {found.sides[0].name}", *DIFFERENCE_HEADER]))
    verdicts = [f"{one.name}: {budget_text(found)} {one.verdict}" for one in found.versus if one.verdict is not None]
    parts += ["\n".join(verdicts)] if verdicts else []
    parts += ["\n".join(f"- {note}" for note in found.notes)] if found.notes else []
    return "\n\n".join(parts)


SIDE_HEADER = ["run", "board", "size", "top-1 [95 %]", "p50 ms", "p90 ms", "memory", "verdict"]
DIFFERENCE_HEADER = ["points of top-1 [95 %]", "McNemar p", "agreement", "accuracy", "time / first [95 %]", "latency"]
LATENCY_WORDS = {"better": "faster", "worse": "slower", "within noise": "within noise"}


def _side(side: Side) -> list[str]:
    top1 = "-"
    if side.top1 is not None and side.interval95 is not None:
        top1 = f"{percent(side.top1)} [{100 * side.interval95[0]:.1f}, {100 * side.interval95[1]:.1f}]"
    return [
        side.name,
        side.board or "-",
        megabytes(side.artifact_bytes),
        top1,
        "-" if side.p50_ms is None else f"{side.p50_ms:.2f}",
        "-" if side.p90_ms is None else f"{side.p90_ms:.2f}",
        "-" if side.peak_memory_bytes is None else megabytes(side.peak_memory_bytes),
        {True: "VALID", False: "INVALID", None: "not timed"}[side.valid],
    ]


def _accuracy(found: AccuracyDifference | None) -> list[str]:
    if found is None:
        return ["-", "-", "-", "not measured"]
    low, high = found.interval95
    return [
        f"{found.points:+.2f} [{low:+.2f}, {high:+.2f}]",
        "-" if found.mcnemar_p is None else f"{found.mcnemar_p:.2g}",
        "-" if found.agreement is None else percent(found.agreement),
        found.judgement,
    ]


def _latency(found: LatencyDifference | None) -> list[str]:
    if found is None:
        return ["-", "not compared"]
    low, high = found.interval95
    return [f"{found.ratio:.2f} [{low:.2f}, {high:.2f}]", LATENCY_WORDS[found.judgement]]
