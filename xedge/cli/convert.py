"""``xedge convert``."""

from __future__ import annotations

import argparse
import shlex

from xedge.api.convert import convert
from xedge.bundle.manifest import Gate
from xedge.cli.console import Console, budget_code, budget_text, drop_text, megabytes, percent, table
from xedge.cli.options import chosen
from xedge.conversion.options import ConvertOptions
from xedge.conversion.pipeline import Converted, bundle_document
from xedge.converters import find_target
from xedge.vocabulary import BY_NAME_ONLY


def main(options: argparse.Namespace) -> int:
    """Make the bundles that the options ask for and say what was made."""
    console = Console(options.json, options.quiet)
    given = chosen(options, ConvertOptions)
    made = convert(**given, report=console.stage, progress=console.progress)
    console.result(
        [bundle_document(one) for one in made],
        f"\n{bundles_table(made)}\n{_notes(made)}{_verdicts(made)}{_pay(made)}\n{_next(made, options)}",
    )
    if options.page is not None:
        from xedge.api.report import report_bundles  # noqa: PLC0415 - charts are imported for reports alone

        photos = {"data": options.data, "truth": options.truth}
        report_bundles([one.path for one in made], options.page, **photos, progress=console.progress)
        console.stage(f"report     {options.page}")
    return _code(made)


def _verdicts(made: list[Converted]) -> str:
    return "".join(f"{one.path}: {_verdict(one.manifest.gate)}\n" for one in made if one.manifest.gate is not None)


def _verdict(gate: Gate) -> str:
    rung = gate.rungs[gate.chosen]
    low, high = rung.agreement.interval95
    figures = f"agreement {percent(rung.agreement.agreement)} [{100 * low:.1f}, {100 * high:.1f}]"
    if rung.drop is not None:
        figures += f", {drop_text(rung.drop)}"
    late = "; the time budget left rungs untried (attempts that are closer to float)" if gate.out_of_time else ""
    return f"{budget_text(gate)} {gate.verdict}: {rung.name}, {figures} on {gate.photos} photos{late}"


def _pay(made: list[Converted]) -> str:
    """Say where quantization does not pay on this machine."""
    lines = []
    for one in made:
        speed = one.manifest.speed
        # What is made for size need not be faster.
        equally_fast = speed is not None and speed.pays is None and one.manifest.precision in BY_NAME_ONLY
        if speed is not None and not speed.pays and not equally_fast:
            ratio, low, high = speed.ratio
            word = "does not pay here" if speed.pays is False else "may not pay here"
            lines.append(
                f"{one.path}: {one.manifest.precision} {word}: {ratio:.2f} [{low:.2f}, {high:.2f}] of fp32's time, "
                f"{speed.threads} threads\n"
            )
    return "".join(lines)


def _code(made: list[Converted]) -> int:
    return budget_code([one.manifest.gate.verdict for one in made if one.manifest.gate is not None])


def bundles_table(made: list[Converted]) -> str:
    """Return a table of bundles with what was measured of them on the host."""
    rows = []
    for one in made:
        measured = one.manifest.accuracy
        figures = ["not measured", "", "", ""]
        if measured is not None:
            low, high = measured.artifact.interval95
            figures = [
                f"{percent(measured.artifact.top1)} [{100 * low:.1f}, {100 * high:.1f}]",
                "no reference" if measured.drop_points is None else f"{measured.drop_points:+.2f}",
                "" if measured.agreement is None else percent(measured.agreement.agreement),
                str(measured.artifact.photos),
            ]
        speed = one.manifest.speed
        figures.append("" if speed is None else f"{speed.ratio[0]:.2f}")
        rows.append([str(one.path), megabytes(one.artifact_bytes), *figures])
    return table(rows, ["bundle", "artifact", "top-1 [95 %]", "drop, points", "agreement", "photos", "time / fp32"])


def _notes(made: list[Converted]) -> str:
    if made[0].manifest.accuracy is None:
        return "Accuracy was not measured: give --data with labelled photos in class folders.\n"
    return "Drop and agreement are against the float model on the same photos.\n"


def _next(made: list[Converted], options: argparse.Namespace) -> str:
    first = shlex.quote(str(made[0].path))
    data = f" --data {shlex.quote(str(options.data))}" if options.data else ""
    if not data and options.model is not None and made[0].manifest.accuracy is None:
        data = " --data PHOTOS"
    lines = [f"Next:\n  xedge run {first}{data}\n  xedge predict {first} PHOTO.jpg\n  xedge info {first}"]
    for one in made:
        next_steps = find_target(one.manifest.target).next_steps
        lines += next_steps(one.path, one.manifest) if next_steps is not None else []
    return "\n".join(lines)
