"""Convert a model to every target and precision, measure all of them in turns, and say which to take."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from xedge.conversion.options import BenchmarkChoices, ConvertOptions, option, options_class, taking
from xedge.conversion.pipeline import Converted, bundle_name, convert
from xedge.conversion.request import forms
from xedge.converters import Form, find_target, target_names
from xedge.errors import XedgeError
from xedge.measuring.recommendation import BenchmarkReport, Row, beside_float, recommend
from xedge.measuring.rounds import Measured, Plan, measure_in_rounds
from xedge.vocabulary import Precision, precision_names, size_name


@options_class
class BenchmarkOptions(BenchmarkChoices):
    """The options of ``benchmark``: those of ``convert``, what to try, and how the bundles are measured."""

    plan: Plan | None = option(
        "How the bundles are measured. Photos that are given as data take the place of the plan's; convert measures "
        "accuracy on the same ones.",
        default=None,
        flag="",
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
    if options.data is not None:
        plan = replace(plan, data=Path(options.data), truth=None)
    if options.truth is not None:
        plan = replace(plan, truth=Path(options.truth))
    with ExitStack() as stack:
        kept = options.output is not None
        folder = Path(options.output or stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")))
        tried = [one for size in options.sizes or (options.size,) for one in _converted(options, plan, folder, size)]
        made = {one: one.converted for one in tried if one.converted is not None}
        measured = measure_in_rounds([one.path for one in made.values()], plan, options.progress)
        found = dict(zip(made, measured, strict=True))
        rows = beside_float([_row(one, found.get(one, one.error), kept=kept) for one in tried])
    names = [one.manifest.model.name for one in made.values()]
    chosen = recommend(rows, options.tolerated_points)
    name = names[0] if names else str(options.model)
    return BenchmarkReport(model=name, rounds=plan.rounds, rows=tuple(rows), recommendation=chosen)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tried:
    """What is to be measured: a form of the model, and the bundle or the error that converting gave."""

    target: str
    form: Form
    size: tuple[int, int] | None
    converted: Converted | None
    error: XedgeError | None


def _converted(options: BenchmarkOptions, plan: Plan, folder: Path, size: tuple[int, int] | None) -> list[_Tried]:
    """Convert a model at one size to all that is asked for."""
    errors: dict[tuple[str, Precision], XedgeError] = {}
    given = {one.name: getattr(options, one.name) for one in fields(ConvertOptions)}
    given["ranges"] = _ranges(options)
    wanted = [
        (name, form)
        for name in target_names(options.target)
        for form in forms(ConvertOptions(**given), find_target(name))
    ]
    if options.sizes is not None:
        folder = folder / size_name(size)
    given |= {
        # A single bundle would land in the folder itself.
        "output": folder if len(wanted) > 1 else folder / bundle_name(wanted[0][0], wanted[0][1]),
        "size": size,
        "data": plan.data,
        "truth": plan.truth,
        "failed": lambda name, precision, error: errors.update({(name, precision): error}),
    }
    try:
        bundles = convert(ConvertOptions(**given))
    except XedgeError as error:
        # What was made at other sizes is not lost because the model does not take this one.
        if len(options.sizes or ()) < 2:
            raise
        bundles, errors = [], {(name, form.precision): error for name, form in wanted}
    made = {(one.manifest.target, one.manifest.precision, one.manifest.recipe.ranges): one for one in bundles}
    return [
        _Tried(
            target=name,
            form=form,
            size=size if options.sizes is not None else None,
            converted=made.get((name, form.precision, form.ranges)),
            error=errors.get((name, form.precision)),
        )
        for name, form in wanted
    ]


def _ranges(options: BenchmarkOptions) -> Any:
    """Return the ranges to try: those that the user or the board chooses, or else all that the targets offer."""
    if options.ranges is not None or options.board is not None or options.io != "float32":
        return options.ranges
    offered = any(len(find_target(name).ranges) > 1 for name in target_names(options.target))
    return "all" if offered and "int8" in precision_names(options.precision) else None


def _row(tried: _Tried, found: Measured | XedgeError | None, *, kept: bool) -> Row:
    return Row(
        target=tried.target,
        precision=tried.form.precision,
        ranges=tried.form.ranges,
        size=tried.size,
        error=str(found) if isinstance(found, XedgeError) else None,
        bundle=str(tried.converted.path) if kept and tried.converted is not None else None,
        measured=found if isinstance(found, Measured) else None,
    )
