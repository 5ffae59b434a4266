#!/usr/bin/env python3
"""What each step of the int8 recipe gains, on ONNX Runtime, and write the table into docs/.

    python benchmarks/ablation.py model.keras TRAIN [--photos 300]

Ranges come from 100 photos of TRAIN; the figures from other photos of it, which seed 0 chooses. docs/ablation.md has
the table. About six minutes for the full-size Xception on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

from xedge.graph.fold import without_softmax
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
from xedge.quantization.splitting import split_outliers
from xedge.quantization.static import RangeRule, static_int8
from xedge.quantization.statistics import Statistics
from xedge.quantization.streams import equalized_streams
from xedge.runtimes import Settings, choose_runtime
from xedge.sources.sources import find_source
from xedge.converters import Form, find_target
from xedge.types import FloatArray
from xedge.conversion.work import Request, Stages, Work, selection_photos

DOCS = Path(__file__).resolve().parent.parent / "docs"
Step = Callable[[Graph, Statistics], tuple[Graph, Plan]]


def main() -> int:
    """Measure each step and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("--photos", type=int, default=300)
    options = parser.parse_args()
    request = Request(
        source=find_source(str(options.model), None),
        targets=("onnx",),
        precisions=("int8",),
        calibration=options.train,
        selection_count=options.photos,
    )
    with tempfile.TemporaryDirectory() as scratch:
        work = Work(request, Path(scratch), Stages(report=print), lambda line: None)
        assert work.reference.graph is not None
        graph = without_softmax(work.reference.graph)
        seen = work.statistics(work.reference.graph)
        files = selection_photos(request, work.calibration(), None).files
        photos = [work.preprocessing.photo(file) for file in files]
        reference = work.reference.predict(photos)
        lines = [HEADER.format(photos=len(photos))]
        pixel = work.preprocessing.pixel
        split = split_outliers(graph, seen)
        anew = calibrate(split, work.calibration().inputs(work.preprocessing))
        tried = [(name, step, graph, seen) for name, step in steps(pixel)]
        tried += [(name, step, split, anew) for name, step in split_steps(pixel)]
        for name, step, before, statistic in tried:
            start = time.perf_counter()
            equal, plan = step(before, statistic)
            seconds = time.perf_counter() - start
            lines.append(row(name, answers(equal, plan, photos), reference, seconds))
        lines.append(BRANCHES)
        for name, dynamic in (("fixed ranges everywhere", False), ("ranges of each photo between sums", True)):
            equal, plan = recipe.int8(graph, seen, pixel=pixel, dynamic=dynamic)
            rows, ms = on_tflite(equal, plan, photos)
            lines.append(row(name, rows, reference, ms))
    (DOCS / "ablation.md").write_text("\n".join(lines) + "\n")
    return 0


def row(name: str, logits: FloatArray, reference: FloatArray, last: float) -> str:
    """Return a line of the table, and print it."""
    got = agreement(softmax(logits), reference)
    figures = f"{100 * got.agreement:.2f} | {100 * got.total_variation:.2f} | {got.logit_snr_db or 0:.1f}"
    line = f"| {name} | {figures} | {last:.1f} |"
    print(line, flush=True)
    return line


HEADER = """# What each step of int8 gains

Written by `python benchmarks/ablation.py model.keras TRAIN`: the full-size Xception, 100 calibration photos, {photos}
other photos of the training folder, ONNX Runtime, which computes the integers in float here, so that the processor
makes no difference. Each row adds to the one above; dB is the signal over the noise of the centred logits, s the time
that making the plan takes, calibration left out.

| step | agreement, % | tv, % | dB | s |
|---|---|---|---|---|"""


BRANCHES = """
The recipe on TFLite (2 threads; ms is the median over these photos):

| activations | agreement, % | tv, % | dB | ms |
|---|---|---|---|---|"""


def steps(pixel: tuple[float, float] | None) -> list[tuple[str, Step]]:
    """Return the steps, each with what makes its plan."""

    def plain(graph: Graph, seen: Statistics, *, rule: RangeRule) -> tuple[Graph, Plan]:
        made = static_int8(graph, seen, range_rule=rule, all_integer=True, adapt_rounding=False, correct_bias=False)
        return graph, made

    def ranges(
        graph: Graph, seen: Statistics, *, integer: bool, exact: bool, correct: bool = False
    ) -> tuple[Graph, Plan]:
        made = static_int8(
            graph,
            seen,
            pixel=pixel if exact else None,
            all_integer=integer,
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
        ("min-max ranges, all integer", partial(plain, rule=min_max_range)),
        ("instead: 99.99 % of the values", partial(plain, rule=percentile_range)),
        ("instead: least divergence (entropy)", partial(plain, rule=entropy_range)),
        ("instead: moving averages of the extremes", partial(plain, rule=moving_average_range)),
        ("instead: least-squares ranges", partial(ranges, integer=True, exact=False)),
        ("exact pixels", partial(ranges, integer=True, exact=True)),
        ("residual sums and tail in float", partial(ranges, integer=False, exact=True)),
        ("bias correction", partial(ranges, integer=False, exact=True, correct=True)),
        ("depthwise outputs equalized", partial(equal, streams=False)),
        ("streams equalized", partial(equal, streams=True)),
        ("adaptive rounding", partial(recipe.int8, pixel=pixel)),
        ("beside it: weights clipped", clipped),
        ("pairs of weights within 16 bits: the recipe", partial(recipe.int8, pixel=pixel, fit_pairs=True)),
    ]


def split_steps(pixel: tuple[float, float] | None) -> list[tuple[str, Step]]:
    """Return the steps for a graph whose outlier channels are split."""

    def plain(graph: Graph, seen: Statistics) -> tuple[Graph, Plan]:
        return graph, static_int8(graph, seen, pixel=pixel, fit_pairs=True)

    return [
        ("beside it: outlier channels split, nothing equalized", plain),
        ("beside it: outlier channels split", partial(recipe.int8, pixel=pixel, fit_pairs=True)),
    ]


def answers(graph: Graph, plan: Plan, photos: list[FloatArray]) -> FloatArray:
    """Return logits (N, classes) of the int8 artifact."""
    model = find_target("onnx").convert(graph, Form(precision="int8"), plan)[".onnx"]
    options = onnxruntime.SessionOptions()
    # Float kernels between Q and DQ round alike on every processor; integer ones overflow on some.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: np.ascontiguousarray(photo.transpose(2, 0, 1)[None])})[0] for photo in photos]
    return np.concatenate(rows)


def on_tflite(graph: Graph, plan: Plan, photos: list[FloatArray]) -> tuple[FloatArray, float]:
    """Return logits (N, classes) of the int8 artifact, and the median milliseconds of an inference."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder) / "model.tflite"
        artifact.write_bytes(find_target("tflite").convert(graph, Form(precision="int8"), plan)[".tflite"])
        session = choose_runtime("tflite").open(artifact, Settings(threads=2))
        rows, times = [], []
        for photo in photos:
            start = time.perf_counter()
            rows.append(session.run(photo[None]))
            times.append(1000 * (time.perf_counter() - start))
    return np.concatenate(rows), statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
