"""``xedge benchmark``."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence

from xedge.api.benchmark import benchmark
from xedge.cli.console import Console, Tabulate, markdown, percent, table
from xedge.cli.options import chosen, option_called, refuse_idle
from xedge.cli.parser import commands_of, parser
from xedge.conversion.options import BenchmarkChoices
from xedge.errors import CheckError
from xedge.measuring.recommendation import BenchmarkReport, Recommendation, Row
from xedge.measuring.rounds import Plan
from xedge.measuring.verdict import Verdict, grouped
from xedge.vocabulary import size_name


def main(options: argparse.Namespace) -> int:
    """Convert to everything, measure it, and say which to take."""
    console = Console(options.json, options.quiet)
    if options.json == "-":
        refuse_idle(options, commands_of(parser())["benchmark"], ("markdown",), "with --json, which is printed")
    plan = Plan(rounds=options.rounds, runs=options.runs, limit=options.limit, threads=options.threads)
    given = chosen(options, BenchmarkChoices)
    found = benchmark(**given, plan=plan, report=console.stage, progress=console.progress)
    # First what took minutes to measure; a page that cannot be written then takes nothing with it.
    console.result(found, f"{text(found, markdown if options.markdown else table)}{_where(found, options)}")
    if options.page is not None and found.recommendation is not None:
        from xedge.api.report import write_report  # noqa: PLC0415 - charts are imported for reports alone

        write_report([found], options.page, data=options.data)
        console.stage(f"\nreport: {options.page}")
    return 0 if found.recommendation is not None else CheckError.exit_code


# Options that make the bundle and are those of convert.
SHARED: tuple[str, ...] = ("weights", "calibration", "data", "truth", "labels", "preprocess", "crop", "resize", "exif")
SHARED += ("dequantize", "allow_code")
LEGEND = "ms: the median of single inferences; FPS: 1000 / their mean, in which slow ones count too"
HEADER = ["format", "status", "size, MB", "top-1", "drop, points", "ms", "p90 ms", "FPS"]


def text(found: BenchmarkReport, tabulate: Tabulate = table) -> str:
    """Return the table that users of exporters know, and the recommendation."""
    parts = [f"{found.model}: median of {found.rounds} rounds in turns, each in a process of its own"]
    parts.append(f"{tabulate([_row(row) for row in found.rows], HEADER)}\n\n{LEGEND}")
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


def _where(found: BenchmarkReport, options: argparse.Namespace) -> str:
    """Say where the recommended bundle is, or how to make it where the bundles were not kept."""
    if found.recommendation is None:
        return ""
    kept = next((row.bundle for row in found.rows if row.name == found.recommendation.name), None)
    return f"\n  - it is {kept}" if kept is not None else f"\n  - make it: {_making(found.recommendation, options)}"


def _making(wanted: Recommendation, options: argparse.Namespace) -> str:
    """Return the command that makes the recommended bundle with the options of this benchmark."""
    words = ["xedge", "convert", *([str(options.model)] if options.model is not None else [])]
    words += ["--target", wanted.target, "--precision", wanted.precision]
    words += ["--ranges", wanted.ranges] if wanted.ranges == "fixed" else []
    size = wanted.size or options.size
    words += ["--size", size_name(size)] if size is not None else []
    convert = commands_of(parser())["convert"]
    for name in SHARED:
        value = getattr(options, name)
        if value != convert.get_default(name):
            words += [option_called([convert], name), *([] if value is True else [str(value)])]
    return shlex.join(words)


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
