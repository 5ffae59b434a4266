"""Convert a model to every target and precision, measure all of them in turns, and say which to take."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

from xedge.conversion.options import EVERYTHING, ConvertOptions, again, option, options_class, taking
from xedge.conversion.pipeline import bundle_name, convert
from xedge.conversion.request import forms
from xedge.converters import find_target, target_names
from xedge.errors import XedgeError
from xedge.measuring.recommendation import TOLERATED_POINTS, BenchmarkReport, Row, beside_float, recommend
from xedge.measuring.rounds import Measured, Plan, measure_in_rounds
from xedge.vocabulary import Precision, Ranges, precision_names


@options_class
class BenchmarkOptions(ConvertOptions):
    """The options of ``benchmark``: those of ``convert``, and how the bundles are measured."""

    target: Any = again(ConvertOptions, "target", EVERYTHING["target"])
    precision: Any = again(ConvertOptions, "precision", EVERYTHING["precision"])
    ranges: Any = again(
        ConvertOptions,
        "ranges",
        default=None,
        words="Where the ranges of int8 activations come from in tflite, several with commas: photo (each photo, at "
        "run time) or fixed (the calibration photos). Without it, both are measured.",
    )
    plan: Plan | None = option(
        "How the bundles are measured. The photos of the plan are also those that convert measures accuracy on.",
        default=None,
        flag="",
    )
    tolerated_points: float = option(
        "The percentage points of top-1 that the recommended bundle may lose against fp32.",
        default=TOLERATED_POINTS,
        flag="--tolerate",
        kind="points",
        metavar="POINTS",
    )


@taking(BenchmarkOptions)
def benchmark(options: BenchmarkOptions) -> BenchmarkReport:
    """Convert a model to every target and precision and time all of them in turns, each in a process of its own.

    What cannot be converted, or does not run, is told in its row of the table. The bundles are kept only where an
    output folder is given.

    Raises:
        XedgeError: The model cannot be read at all.
    """
    plan = options.plan or Plan()
    with ExitStack() as stack:
        kept = options.output is not None
        folder = Path(options.output or stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")))
        errors: dict[tuple[str, Precision], XedgeError] = {}
        given = {one.name: getattr(options, one.name) for one in fields(ConvertOptions)}
        given["ranges"] = _ranges(options)
        wanted = [
            (name, form.precision, form.ranges)
            for name in target_names(options.target)
            for form in forms(ConvertOptions(**given), find_target(name))
        ]
        given |= {
            # A single bundle would land in the folder itself.
            "output": folder if len(wanted) > 1 else folder / bundle_name(*wanted[0]),
            "data": options.data if options.data is not None else plan.data,
            "failed": lambda name, precision, error: errors.update({(name, precision): error}),
        }
        made = convert(ConvertOptions(**given))
        paths = {(one.manifest.target, one.manifest.precision, one.manifest.recipe.ranges): one.path for one in made}
        measured = dict(zip(paths, measure_in_rounds(list(paths.values()), plan, options.progress), strict=True))
        rows = [_row(*one, measured.get(one, errors.get(one[:2])), paths.get(one) if kept else None) for one in wanted]
    rows = beside_float(rows)
    name = made[0].manifest.model.name if made else str(options.model)
    chosen = recommend(rows, options.tolerated_points)
    return BenchmarkReport(model=name, rounds=plan.rounds, rows=tuple(rows), recommendation=chosen)


def _ranges(options: BenchmarkOptions) -> Any:
    """Return the ranges to try: those that the user or the board chooses, or else all that the targets offer."""
    if options.ranges is not None or options.board is not None or options.io != "float32":
        return options.ranges
    offered = any(len(find_target(name).ranges) > 1 for name in target_names(options.target))
    return "all" if offered and "int8" in precision_names(options.precision) else None


def _row(
    target: str,
    precision: Precision,
    ranges: Ranges | None,
    found: Measured | XedgeError | None,
    bundle: Path | None,
) -> Row:
    return Row(
        target=target,
        precision=precision,
        ranges=ranges,
        error=str(found) if isinstance(found, XedgeError) else None,
        bundle=None if bundle is None else str(bundle),
        measured=found if isinstance(found, Measured) else None,
    )
