"""``xedge benchmark``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from xedge.api.benchmark import benchmark
from xedge.cli.console import Console, Tabulate, markdown, percent, table
from xedge.cli.options import chosen, refuse_idle
from xedge.cli.parser import commands_of, parser
from xedge.conversion.options import BenchmarkChoices
from xedge.errors import CheckError
from xedge.measuring.recommendation import BenchmarkReport, Row
from xedge.measuring.rounds import Plan
from xedge.measuring.verdict import Verdict, grouped


def main(options: argparse.Namespace) -> int:
    """Convert to everything, measure it, and say which to take."""
    console = Console(options.json, options.quiet)
    if options.json == "-":
        refuse_idle(options, commands_of(parser())["benchmark"], ("markdown",), "with --json, which is printed")
    plan = Plan(
        rounds=options.rounds, runs=options.runs, data=options.data, limit=options.limit, threads=options.threads
    )
    given = chosen(options, BenchmarkChoices)
    found = benchmark(**given, plan=plan, report=console.stage, progress=console.progress)
    # First what took minutes to measure; a page that cannot be written then takes nothing with it.
    console.result(found, text(found, markdown if options.markdown else table))
    if options.page is not None and found.recommendation is not None:
        from xedge.api.report import write_report  # noqa: PLC0415 - charts are imported for reports alone

        write_report([found], options.page, data=options.data)
        console.stage(f"\nreport: {options.page}")
    return 0 if found.recommendation is not None else CheckError.exit_code


HEADER = ["format", "status", "size, MB", "top-1", "drop, points", "ms", "p90 ms", "FPS"]


def text(found: BenchmarkReport, tabulate: Tabulate = table) -> str:
    """Return the table that users of exporters know, and the recommendation."""
    parts = [f"{found.model}: median of {found.rounds} rounds in turns, each in a process of its own"]
    parts.append(tabulate([_row(row) for row in found.rows], HEADER))
    parts += [f"{row.name} failed: {row.error}" for row in found.rows if row.error is not None]
    verdicts = {row.name: row.measured.run.verdict for row in found.rows if row.measured}
    if invalid := grouped(verdicts):
        lines = [f"  - {kind}: {_who(names, verdicts)}" for kind, names in invalid.items()]
        parts.append("\n".join(["INVALID: these latencies should not be quoted", *lines]))
    if found.recommendation is not None:
        chosen = found.recommendation
        lines = [f"On this machine take {chosen.name}:", *(f"  - {r}" for r in chosen.reasons)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _who(names: Sequence[str], verdicts: Mapping[str, Verdict]) -> str:
    return "all of them" if len(names) == len(verdicts) else ", ".join(names)


def _row(row: Row) -> list[str]:
    if row.measured is None:
        return [row.name, "failed", *["-"] * 6]
    run = row.measured.run
    return [
        row.name,
        "ok",
        f"{run.artifact_bytes / 1e6:.2f}",
        "-" if run.accuracy is None else percent(run.accuracy.top1),
        "-" if row.points is None else f"{0.0 - row.points:+.2f}",
        f"{run.latency.p50_ms:.2f}",
        "-" if run.latency.p90_ms is None else f"{run.latency.p90_ms:.2f}",
        f"{run.latency.per_second:.1f}",
    ]
