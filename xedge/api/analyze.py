"""Which layers of a model lose accuracy in int8, and what its layers cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xedge.analysis import AnalyzeReport
from xedge.analysis import analyze as measure
from xedge.costing import Cost
from xedge.costing import cost as count
from xedge.names import target_names
from xedge.sources import find_source, load_keras, use_light_backend
from xedge.vocabulary import BUILT_IN, COMPACT, Crop
from xedge.work import Request

Report = Callable[[str], None]
Pathlike = str | Path


def analyze(
    model: str | Path | None = None,
    *,
    target: str = "onnx",
    weights: str | None = None,
    calibration: Pathlike | None = None,
    calibration_count: int = 100,
    seed: int = 0,
    data: Pathlike | None = None,
    photos: int = 8,
    preprocess: str | None = None,
    crop: Crop = "none",
    allow_code: bool = False,
    report: Report = lambda line: None,
    progress: Report = lambda line: None,
) -> AnalyzeReport:
    """Measure every layer's noise, ranges, clipping and time in int8.

    Args:
        model: as for ``convert``, but no model in memory.
        target: whose int8; ``tflite`` tells no times.
        weights, calibration, calibration_count, seed, preprocess, crop, allow_code: as for ``convert``.
        data: photos to measure noise on; None takes calibration's others.
        photos: how many of them.
        report, progress: told a line as each stage ends, and how far a long one is.

    Raises:
        UnsupportedError: the model has operations outside the reference graph.
    """
    request = Request(
        source=find_source(None if model is None else str(model), weights),
        targets=target_names(target),
        precisions=("int8",),
        calibration=None if calibration is None else Path(calibration),
        calibration_count=calibration_count,
        seed=seed,
        selection=None if data is None else Path(data),
        preprocess=preprocess,
        crop=crop,
        allow_code=allow_code,
    )
    return measure(request, photos, report, progress)


def cost(model: str | Path | None = None, *, allow_code: bool = False) -> Cost:
    """Count parameters, multiply-accumulates, memory traffic and activation memory, layer by layer.

    Args:
        model: as for ``analyze``; built-in names need no weights, for none are looked at.
        allow_code: run code that the model file brings.

    Raises:
        UnsupportedError: the model has operations outside the reference graph.
    """
    use_light_backend()
    # They import keras, whose backend is chosen by now.
    from xedge.graph.from_keras import read_keras  # noqa: PLC0415
    from xedge.models.zoo import NETWORKS  # noqa: PLC0415

    name = None if model is None else str(model)
    if name in BUILT_IN:
        return count(read_keras(NETWORKS[name].build()), name)
    return count(read_keras(load_keras(find_source(name), allow_code=allow_code)), name or COMPACT)
