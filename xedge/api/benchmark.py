"""Convert a model to every target and precision, measure all of them in turns, and say which to take."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

from xedge.conversion.options import EVERYTHING, ConvertOptions, again, option, options_class, taking
from xedge.conversion.pipeline import convert
from xedge.converters import target_names
from xedge.errors import XedgeError
from xedge.measuring.recommendation import TOLERATED_POINTS, BenchmarkReport, Row, beside_float, recommend
from xedge.measuring.rounds import Measured, Plan, measure_in_rounds
from xedge.vocabulary import Precision, precision_names


@options_class
class BenchmarkOptions(ConvertOptions):
    """The options of ``benchmark``: those of ``convert``, and how the bundles are measured."""

    target: Any = again(ConvertOptions, "target", EVERYTHING["target"])
    precision: Any = again(ConvertOptions, "precision", EVERYTHING["precision"])
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
        found: dict[tuple[str, Precision], Measured | XedgeError] = {}
        wanted = [(t, p) for t in target_names(options.target) for p in precision_names(options.precision)]
        given = {one.name: getattr(options, one.name) for one in fields(ConvertOptions)}
        given |= {
            # A single bundle would land in the folder itself.
            "output": folder if len(wanted) > 1 else folder / "_".join(wanted[0]),
            "data": options.data if options.data is not None else plan.data,
            "failed": lambda name, precision, error: found.update({(name, precision): error}),
        }
        made = convert(ConvertOptions(**given))
        paths = {(one.manifest.target, one.manifest.precision): one.path for one in made}
        found |= zip(paths, measure_in_rounds(list(paths.values()), plan, options.progress), strict=True)
        rows = [_row(*pair, found.get(pair), paths.get(pair) if kept else None) for pair in wanted]
    rows = beside_float(rows)
    name = made[0].manifest.model.name if made else str(options.model)
    chosen = recommend(rows, options.tolerated_points)
    return BenchmarkReport(model=name, rounds=plan.rounds, rows=tuple(rows), recommendation=chosen)


def _row(target: str, precision: Precision, found: Measured | XedgeError | None, bundle: Path | None) -> Row:
    return Row(
        target=target,
        precision=precision,
        error=str(found) if isinstance(found, XedgeError) else None,
        bundle=None if bundle is None else str(bundle),
        measured=found if isinstance(found, Measured) else None,
    )
