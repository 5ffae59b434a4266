"""Convert a model, as ``xedge convert`` does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from xedge.names import precision_names, target_names
from xedge.pipeline import Converted, Failed
from xedge.pipeline import convert as make
from xedge.quantization.gate import Budget
from xedge.sources import Source, find_source
from xedge.vocabulary import Batch, Crop, IoType
from xedge.work import Request

Report = Callable[[str], None]
Pathlike = str | Path


def convert(
    model: Any = None,
    *,
    target: str | Sequence[str],
    precision: str | Sequence[str] = "fp32",
    output: Pathlike | None = None,
    weights: str | None = None,
    io: IoType = "float32",
    batch: Batch = 1,
    pixels: bool = False,
    logits: bool = False,
    calibration: Pathlike | None = None,
    calibration_count: int = 100,
    seed: int = 0,
    data: Pathlike | None = None,
    max_drop_points: float | None = None,
    min_agreement: float | None = None,
    time_budget_s: float | None = None,
    selection: Pathlike | None = None,
    selection_count: int = 300,
    labels: Pathlike | None = None,
    preprocess: str | None = None,
    crop: Crop = "none",
    zipped: bool = False,
    allow_code: bool = False,
    report: Report = lambda line: None,
    progress: Report = lambda line: None,
    failed: Failed | None = None,
) -> list[Converted]:
    """Make a bundle for each target and precision.

    Args:
        model: a ``.keras`` or ``.h5`` file, a SavedModel folder, a built-in name, a Keras model in memory, or None for
            the compact Xception that comes with xedge.
        target: ``tflite``, ``onnx``, ``openvino``, ``tensorrt``; several in a sequence or with commas; ``all``.
        precision: ``fp32``, ``fp16``, ``dynamic``, ``int8``; several, or ``all``.
        output: the bundle's folder, with several the folder of them; None names it after the model, in this folder.
        weights: for a built-in name: ``imagenet`` or a file.
        io: type of the ends of int8 artifacts.
        batch: photos that an artifact takes at once.
        pixels: put the preprocessing of pixels into the artifact.
        logits: leave the softmax to the runner.
        calibration: photos that fix int8 ranges: a folder, ``.npy`` or ``.npz``; None takes the embedded ones.
        calibration_count, seed: how many, and what chooses them.
        data: labelled photos to score on.
        max_drop_points: budget of int8: percentage points of top-1 that may be lost.
        min_agreement: budget of int8: share of photos, 0 to 1, with float's first class.
        time_budget_s: begin no other attempt to keep a budget after so long.
        selection, selection_count: photos to judge a budget on, and how many; None takes calibration's others.
        labels: class names in the order of the outputs, one a line.
        preprocess: how photos were scaled in training: ``tf``, ``torch``, ``caffe``, ``unit``, ``raw``; None guesses.
        crop: fit photos by stretching (``none``) or by cutting (``center``).
        zipped: write one zip for each bundle.
        allow_code: run code that the model file brings (Lambda layers).
        report, progress: told a line as each stage ends, and how far a long one is.
        failed: told what could not be made, and the others are; None raises.

    Raises:
        XedgeError: with a line for the user.
    """
    with ExitStack() as stack:
        request = Request(
            source=_source(model, weights, stack),
            targets=target_names(target),
            precisions=precision_names(precision),
            output=_path(output),
            io=io,
            batch=batch,
            pixels=pixels,
            logits=logits,
            calibration=_path(calibration),
            calibration_count=calibration_count,
            seed=seed,
            data=_path(data),
            labels=_path(labels),
            preprocess=preprocess,
            crop=crop,
            zipped=zipped,
            allow_code=allow_code,
            budget=Budget(max_drop_points=max_drop_points, min_agreement=min_agreement, time_s=time_budget_s),
            selection=_path(selection),
            selection_count=selection_count,
        )
        return make(request, report, progress, failed)


def _source(model: Any, weights: str | None, stack: ExitStack) -> Source:
    """A model in memory is saved first: converting starts from what a file holds."""
    if model is None or isinstance(model, str | Path):
        return find_source(None if model is None else str(model), weights)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-"))
    path = Path(folder) / f"{model.name}.keras"
    model.save(path)
    return find_source(str(path), weights)


def _path(named: Pathlike | None) -> Path | None:
    return None if named is None else Path(named)
