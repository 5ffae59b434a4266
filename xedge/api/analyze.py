"""Which layers of a model lose accuracy in int8, and what its layers cost."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from xedge.conversion.options import (
    AnalyzeOptions,
    CalibrationOptions,
    Callbacks,
    ConvertOptions,
    ModelOptions,
    documented,
    taking,
)
from xedge.conversion.request import resolved
from xedge.errors import XedgeError
from xedge.inspection import analysis, costing
from xedge.inspection.analysis import AnalyzeReport
from xedge.inspection.costing import Cost
from xedge.sources.finding import find_source
from xedge.vocabulary import BUILT_IN, COMPACT


@taking(AnalyzeOptions)
def analyze(options: AnalyzeOptions) -> AnalyzeReport:
    """Measure every layer's noise, ranges, clipping and time in int8.

    Raises:
        UnsupportedError: The model has operations outside the reference graph.
        XedgeError: Something cannot be read; the message says what, where, and what to do.
    """
    shared = {
        name: getattr(options, name)
        for kind in (ModelOptions, CalibrationOptions, Callbacks)
        for name in documented(kind)
    }
    wanted = ConvertOptions(**shared, target=options.target, precision="int8", selection=options.data)
    with ExitStack() as stack:
        try:
            return analysis.analyze(resolved(wanted, stack), options.photos)
        except XedgeError as error:
            raise error.about("selection", "data") from error


def cost(model: str | Path | None = None, *, size: tuple[int, int] | None = None, allow_code: bool = False) -> Cost:
    """Count parameters, multiply-accumulates, memory traffic and activation memory, layer by layer.

    Args:
        model: The model, as for ``convert``, but not one in memory. Built-in names need no weights, because the values
            of weights do not matter here.
        size: The height and width of photos, as for ``convert``; None takes the model's own.
        allow_code: Run code that the model file brings, such as Lambda layers.

    Raises:
        UnsupportedError: The model has operations outside the reference graph.
    """
    name = None if model is None else str(model)
    if name in BUILT_IN:
        from xedge.sources.keras.file import read_built_in  # noqa: PLC0415 - chooses Keras' backend first

        return costing.cost(read_built_in(name, size), name)
    source = replace(find_source(name), size=size)
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        read = source.kind.read(source, Path(scratch), allow_code=allow_code)
        return costing.cost(read.graph, name or COMPACT)
