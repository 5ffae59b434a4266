#!/usr/bin/env python3
"""Measure what each step of the int8 recipe gains on ONNX Runtime, and write the table to docs/ablation.md.

    python benchmarks/ablation.py model.keras TRAIN [--photos 300]

The artifacts are calibrated on 100 photos of the folder TRAIN and measured on other photos of that folder, which are
chosen with seed 0. The script takes about six minutes for the full-size Xception on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

from xedge.conversion.calibrated import Calibrated
from xedge.conversion.options import ConvertOptions
from xedge.conversion.reference import graph_of
from xedge.conversion.request import resolved
from xedge.conversion.stages import Stages
from xedge.conversion.subject import read_subject
from xedge.converters import Form, find_target
from xedge.graph.fold import without_head
from xedge.graph.ir import Graph
from xedge.metrics import agreement, softmax
from xedge.quantization import recipe
from xedge.quantization.calibration import calibrate
from xedge.quantization.equalization import equalized
from xedge.quantization.plan import Plan
from xedge.quantization.ranges import (
    entropy_range,
    least_squares_range,
    min_max_range,
    moving_average_range,
    percentile_range,
)
from xedge.quantization.rules import Rules
from xedge.quantization.splitting import split_outliers
from xedge.quantization.static import RangeRule, static_int8
from xedge.quantization.statistics import Statistics
from xedge.quantization.streams import equalized_streams
from xedge.runtimes import Settings, choose_runtime
from xedge.types import FloatArray

DOCS = Path(__file__).resolve().parent.parent / "docs"
Step = Callable[[Graph, Statistics], tuple[Graph, Plan]]
PAIRS = Rules(pairs=True)


def main() -> int:
    """Measure each step and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the Keras model")
    parser.add_argument("train", type=Path, help="the folder of training photos")
    parser.add_argument("--photos", type=int, default=300, help="the number of photos to measure on (300)")
    options = parser.parse_args()
    asked = ConvertOptions(
        model=options.model,
        target="onnx",
        precision="int8",
        calibration=options.train,
        selection_count=options.photos,
    )
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stages = Stages(report=print, progress=lambda line: None)
        calibrated = Calibrated(read_subject(resolved(asked, stack), scratch, stages), stages)
        preprocessing = calibrated.subject.preprocessing
        graph, seen = without_head(graph_of(calibrated.subject.reference, "ablation")), calibrated.statistics
        photos = [preprocessing.photo(file) for file in calibrated.selection.files]
        reference = calibrated.subject.reference.predict(photos)
        lines = [HEADER.format(photos=len(photos))]
        pixel = preprocessing.pixel
        split = split_outliers(graph, seen)
        anew = calibrate(split, calibrated.inputs())
        tried = [(name, step, graph, seen) for name, step in steps(pixel)]
        tried += [(name, step, split, anew) for name, step in split_steps(pixel)]
        for name, step, before, statistic in tried:
            start = time.perf_counter()
            equal, plan = step(before, statistic)
            seconds = time.perf_counter() - start
            lines.append(row(name, answers(equal, plan, photos), reference, seconds))
        lines.append(BRANCHES)
        for name, dynamic in (("fixed ranges everywhere", False), ("ranges of each photo between sums", True)):
            equal, plan = recipe.int8(graph, seen, pixel=pixel, rules=Rules(dynamic_branches=dynamic))
            rows, ms = on_tflite(equal, plan, photos)
            lines.append(row(name, rows, reference, ms))
    (DOCS / "ablation.md").write_text("\n".join(lines) + "\n")
    return 0


def row(name: str, logits: FloatArray, reference: FloatArray, last: float) -> str:
    """Return one line of the table, after printing it."""
    got = agreement(softmax(logits), reference)
    figures = f"{100 * got.agreement:.2f} | {100 * got.total_variation:.2f} | {got.logit_snr_db or 0:.1f}"
    line = f"| {name} | {figures} | {last:.1f} |"
    print(line, flush=True)
    return line


HEADER = """# What each step of int8 gains

This page was written by `python benchmarks/ablation.py model.keras TRAIN`. It shows the full-size Xception on ONNX
Runtime, calibrated on 100 photos and measured on {photos} other photos of the training folder. ONNX Runtime computes
the integers in float here, so the processor makes no difference. Each row adds one step to the rows above it, with two
exceptions. Rows that begin with "instead" replace the ranges of the first row; the last of them, least-squares ranges,
is kept in the rows below. Rows that begin with "variant" show a change that is not part of the recipe. Agreement is
the share of photos with the same first class as float, tv the total variation, dB the signal-to-noise ratio of the
centred logits, and s the seconds that it takes to make the plan, without calibration.

| step | agreement, % | tv, % | dB | s |
|---|---|---|---|---|"""


BRANCHES = """
The next table shows the recipe on TFLite with 2 threads. The last column is the median latency over these photos in
milliseconds.

| activations | agreement, % | tv, % | dB | ms |
|---|---|---|---|---|"""


def steps(pixel: tuple[float, float] | None) -> list[tuple[str, Step]]:
    """Return the name of each step with the function that makes its graph and plan."""

    def plain(graph: Graph, seen: Statistics, *, rule: RangeRule) -> tuple[Graph, Plan]:
        made = static_int8(graph, seen, range_rule=rule, reach="everything", adapt_rounding=False, correct_bias=False)
        return graph, made

    def ranges(
        graph: Graph, seen: Statistics, *, integer: bool, exact: bool, correct: bool = False
    ) -> tuple[Graph, Plan]:
        made = static_int8(
            graph,
            seen,
            pixel=pixel if exact else None,
            reach="everything" if integer else "products",
            adapt_rounding=False,
            correct_bias=correct,
        )
        return graph, made

    def equal(graph: Graph, seen: Statistics, *, streams: bool) -> tuple[Graph, Plan]:
        if streams:
            graph, seen = equalized_streams(graph, seen)
        graph, seen = equalized(graph, seen, least_squares_range)
        return graph, static_int8(graph, seen, pixel=pixel, adapt_rounding=False)

    def clipped(graph: Graph, seen: Statistics) -> tuple[Graph, Plan]:
        graph, seen = recipe.prepared(graph, seen)
        return graph, static_int8(graph, seen, pixel=pixel, clip_weights=True)

    return [
        ("min-max ranges, everything in integers", partial(plain, rule=min_max_range)),
        ("instead: ranges that hold 99.99 % of the values", partial(plain, rule=percentile_range)),
        ("instead: ranges of least divergence (entropy)", partial(plain, rule=entropy_range)),
        ("instead: moving averages of the extremes", partial(plain, rule=moving_average_range)),
        ("instead: least-squares ranges", partial(ranges, integer=True, exact=False)),
        ("exact pixels", partial(ranges, integer=True, exact=True)),
        ("residual sums and tail in float", partial(ranges, integer=False, exact=True)),
        ("bias correction", partial(ranges, integer=False, exact=True, correct=True)),
        ("equalized depthwise outputs", partial(equal, streams=False)),
        ("equalized streams", partial(equal, streams=True)),
        ("adaptive rounding", partial(recipe.int8, pixel=pixel)),
        ("variant: weights clipped", clipped),
        ("pairs of weights within 16 bits (the recipe)", partial(recipe.int8, pixel=pixel, rules=PAIRS)),
    ]


def split_steps(pixel: tuple[float, float] | None) -> list[tuple[str, Step]]:
    """Return the steps for a graph in which outlier channels are split, like ``steps``."""

    def plain(graph: Graph, seen: Statistics) -> tuple[Graph, Plan]:
        return graph, static_int8(graph, seen, pixel=pixel, rules=PAIRS)

    return [
        ("variant: outlier channels split, nothing equalized", plain),
        ("variant: outlier channels split", partial(recipe.int8, pixel=pixel, rules=PAIRS)),
    ]


def answers(graph: Graph, plan: Plan, photos: list[FloatArray]) -> FloatArray:
    """Return the logits (N, classes) of the int8 artifact on ONNX Runtime."""
    model = find_target("onnx").convert(graph, Form(precision="int8"), plan)[".onnx"]
    options = onnxruntime.SessionOptions()
    # Float kernels between Q and DQ round in the same way on every processor; integer kernels overflow on some.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: np.ascontiguousarray(photo.transpose(2, 0, 1)[None])})[0] for photo in photos]
    return np.concatenate(rows)


def on_tflite(graph: Graph, plan: Plan, photos: list[FloatArray]) -> tuple[FloatArray, float]:
    """Return the logits (N, classes) of the int8 artifact on TFLite, and its median latency in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder) / "model.tflite"
        artifact.write_bytes(find_target("tflite").convert(graph, Form(precision="int8"), plan)[".tflite"])
        session = choose_runtime(artifact).open(artifact, Settings(threads=2))
        rows, times = [], []
        for photo in photos:
            start = time.perf_counter()
            rows.append(session.run(photo[None]))
            times.append(1000 * (time.perf_counter() - start))
    return np.concatenate(rows), statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
