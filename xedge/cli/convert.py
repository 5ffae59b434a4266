"""``xedge convert``."""

from __future__ import annotations

import argparse
import shlex

from xedge.cli.console import Console, megabytes, percent, table
from xedge.pipeline import Converted, Request, convert
from xedge.sources import find_source


def main(options: argparse.Namespace) -> int:
    """Make the bundles that the options ask for and say what was made."""
    console = Console(options.json, options.quiet)
    request = Request(
        source=find_source(options.model, options.weights),
        targets=options.target,
        precisions=options.precision,
        output=options.output,
        io=options.io,
        batch=options.batch,
        calibration=options.calibration,
        calibration_count=options.calibration_count,
        seed=options.seed,
        data=options.data,
        labels=options.labels,
        preprocess=options.preprocess,
        crop=options.crop,
        zipped=options.zip,
        allow_code=options.allow_code,
    )
    made = convert(request, console.stage, console.progress)
    document = [{"path": str(c.path), "artifact_bytes": c.artifact_bytes, "manifest": c.manifest} for c in made]
    console.result(document, f"\n{_table(made)}\n{_notes(made)}\n{_next(made, options)}")
    return 0


def _table(made: list[Converted]) -> str:
    rows = []
    for one in made:
        measured = one.manifest.accuracy
        figures = ["not measured", "", "", ""]
        if measured is not None:
            low, high = measured.artifact.interval95
            figures = [
                f"{percent(measured.artifact.top1)} [{100 * low:.1f}, {100 * high:.1f}]",
                f"{measured.drop_points:+.2f}",
                percent(measured.agreement.agreement),
                str(measured.artifact.photos),
            ]
        rows.append([str(one.path), megabytes(one.artifact_bytes), *figures])
    return table(rows, ["bundle", "artifact", "top-1 [95 %]", "drop, points", "agreement", "photos"])


def _notes(made: list[Converted]) -> str:
    if made[0].manifest.accuracy is None:
        return "Accuracy was not measured: give --data with labelled photos in class folders.\n"
    return "Drop and agreement are against the float model on the same photos.\n"


def _next(made: list[Converted], options: argparse.Namespace) -> str:
    first = shlex.quote(str(made[0].path))
    data = f" --data {shlex.quote(str(options.data))}" if options.data else ""
    if not data and options.model is not None and made[0].manifest.accuracy is None:
        data = " --data PHOTOS"
    return f"Next:\n  xedge run {first}{data}\n  xedge predict {first} PHOTO.jpg\n  xedge info {first}"
