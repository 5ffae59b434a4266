"""``xedge analyze``."""

from __future__ import annotations

import argparse

from xedge.api.analyze import analyze
from xedge.cli.console import Console, percent, table
from xedge.cli.options import chosen
from xedge.conversion.options import AnalyzeOptions
from xedge.inspection.analysis import AnalyzeReport, LayerReport


def main(options: argparse.Namespace) -> int:
    """Print what every layer loses in int8."""
    console = Console(options.json, options.quiet)
    report = analyze(**chosen(options, AnalyzeOptions), report=console.stage, progress=console.progress)
    console.result(report, text(report, options.top))
    return 0


def text(report: AnalyzeReport, top: int | None = None) -> str:
    """Return the layers as a table, the noisiest first."""
    ordered = sorted(report.layers, key=lambda one: float("inf") if one.alone_db is None else one.alone_db)
    rows = [_row(one) for one in ordered[:top]]
    header = ["layer", "MACs", "alone", "weights", "results", "all but it", "spread", "before", "clipped", "time"]
    rows.append(
        ["everything", "", _db(report.everything_db), _db(report.weights_db), _db(report.activations_db), *[""] * 5]
    )
    return (
        f"\n{report.model} for {report.target}: signal over noise of the logits in dB, {report.photos} photos, ranges "
        f"from {report.calibration_photos}; the higher the better\n\n{table(rows, header)}"
    )


def _row(one: LayerReport) -> list[str]:
    return [
        one.layer,
        percent(one.multiply_accumulates),
        *(_db(value) for value in (one.alone_db, one.weights_db, one.activations_db, one.without_db)),
        f"{one.spread:.1f}",
        f"{one.spread_before:.1f}",
        percent(one.clipped),
        "-" if one.time is None else percent(one.time),
    ]


def _db(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
