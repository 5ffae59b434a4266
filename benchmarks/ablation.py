#!/usr/bin/env python3
"""Measure what each step of the int8 recipe gains on ONNX Runtime, and write the tables to docs/ablation.md.

    python benchmarks/ablation.py TRAIN MODEL... [--photos 300]

The models take photos in [-1, 1]. Their artifacts are calibrated on 100 photos of the folder TRAIN and measured on
other photos of that folder, which are chosen with seed 0. The script takes about ten minutes for the full-size Xception
on two cores, and two for a MobileNet, and learning with gradients takes up to half an hour more.
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
from learned_rounding import BATCH, BATCH_OF_LARGE, learned
from learned_rounding import STEPS as LEARNING_STEPS

from xedge.conversion.calibrated import Calibrated
from xedge.conversion.options import ConvertOptions
from xedge.conversion.reference import graph_of
from xedge.conversion.request import resolved
from xedge.conversion.stages import Stages
from xedge.conversion.subject import read_subject
from xedge.converters import Form, find_target, target_names
from xedge.graph.fold import without_head
from xedge.graph.ir import Graph
from xedge.metrics import agreement, softmax
from xedge.quantization import recipe
from xedge.quantization.calibration import calibrate
from xedge.quantization.equalization import equalized
from xedge.quantization.front import front
from xedge.quantization.plan import Plan
from xedge.quantization.ranges import (
    entropy_range,
    least_squares_range,
    min_max_range,
    moving_average_range,
    percentile_range,
)
from xedge.quantization.rules import Rules
from xedge.quantization.simulator import rounded_tensors, simulator
from xedge.quantization.splitting import split_outliers
from xedge.quantization.static import RangeRule, Reach, float_by_default, static_int8
from xedge.quantization.statistics import Statistics
from xedge.quantization.streams import equalized_streams
from xedge.runtimes import Settings, choose_runtime
from xedge.types import FloatArray

DOCS = Path(__file__).resolve().parent.parent / "docs"
Step = Callable[[Graph, Statistics], tuple[Graph, Plan]]
PAIRS = Rules(pairs=True)
TARGETS = target_names("all")


def main() -> int:
    """Measure each step for each model and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="the folder of training photos")
    parser.add_argument("models", type=Path, nargs="+", help="the Keras models")
    parser.add_argument("--photos", type=int, default=300, help="the number of photos to measure on (300)")
    options = parser.parse_args()
    lines = [HEADER.format(photos=options.photos, steps=LEARNING_STEPS, batch=BATCH, few=BATCH_OF_LARGE)]
    for model in options.models:
        print(model.name, flush=True)
        lines += [f"\n## {title(model)}\n", *tables(model, options.train, options.photos)]
    (DOCS / "ablation.md").write_text("\n".join(lines) + "\n")
    return 0


def title(model: Path) -> str:
    """Return the name of a model as a heading."""
    return TITLES.get(model.stem, model.stem)


def tables(model: Path, train: Path, count: int) -> list[str]:
    """Return the lines of one model's two tables."""
    with ExitStack() as stack:
        calibrated = read_model(model, train, count, stack)
        preprocessing = calibrated.subject.preprocessing
        graph, seen = without_head(graph_of(calibrated.subject.reference, "ablation")), calibrated.statistics
        photos = [preprocessing.photo(file) for file in calibrated.selection.files]
        reference = calibrated.subject.reference.predict(photos)
        pixel = preprocessing.pixel
        split = split_outliers(graph, seen)
        anew = calibrate(split, calibrated.inputs())
        tried = [(name, step, graph, seen) for name, step in steps(pixel)]
        tried += [(name, step, split, anew) for name, step in split_steps(pixel)]
        lines = [STEPS]
        for name, step, before, statistic in tried:
            start = time.process_time()
            equal, plan = step(before, statistic)
            seconds = time.process_time() - start
            lines.append(row(name, answers(equal, plan, photos), reference, f"{seconds:.1f}"))
        start = time.process_time()
        equal, plan = recipe.int8(graph, seen, pixel=pixel)
        plan = learned(equal, plan, list(calibrated.inputs()))
        seconds = time.process_time() - start
        lines.append(row(LEARNED, answers(equal, plan, photos), reference, f"{seconds:.0f}"))
        lines.append(row(UNROUNDED, with_float_kernels(equal_and_plan(graph, seen, pixel), photos), reference, "-"))
        lines += [BRANCHES, *branches(graph, seen, pixel, photos, reference)]
        if front(graph):
            lines += [FRONT, f"| {' | '.join(front_ratio(graph, seen, pixel, photos, name) for name in TARGETS)} |"]
        return lines


def read_model(model: Path, train: Path, count: int, stack: ExitStack) -> Calibrated:
    """Return a model that is calibrated on some photos of a folder, with so many others to measure it on."""
    asked = ConvertOptions(
        model=model, target="onnx", precision="int8", preprocess="tf", calibration=train, selection_count=count
    )
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    stages = Stages(report=print, progress=lambda line: None)
    return Calibrated(read_subject(resolved(asked, stack), scratch, stages), stages)


def equal_and_plan(graph: Graph, seen: Statistics, pixel: tuple[float, float] | None) -> tuple[Graph, Plan]:
    """Return the graph and the plan of the recipe for ONNX."""
    return recipe.int8(graph, seen, pixel=pixel, rules=PAIRS)


def with_float_kernels(made: tuple[Graph, Plan], photos: list[FloatArray]) -> FloatArray:
    """Return the logits (N, classes) if all activations are rounded as in the artifact, and no kernel is."""
    graph, plan = made
    tensors = [name for name in rounded_tensors(graph, plan) if not plan.gives_float(graph, name)]
    session = simulator(graph, plan, tensors, ())
    return np.concatenate([session.output(photo[None]) for photo in photos])


def branches(
    graph: Graph, seen: Statistics, pixel: tuple[float, float] | None, photos: list[FloatArray], reference: FloatArray
) -> list[str]:
    """Return the lines of the second table, with the latencies measured in turns."""
    rules = Rules(dynamic_branches=True)
    forms = {"fixed ranges everywhere": True, "ranges of each photo between sums": False}
    plans = [recipe.int8(graph, seen, pixel=pixel, rules=rules, fixed=fixed) for fixed in forms.values()]
    outputs, ratio = in_turns(plans, "tflite", photos)
    ends = ("1.00", f"{ratio:.2f}")
    return [row(form, rows, reference, end) for form, rows, end in zip(forms, outputs, ends, strict=True)]


def front_ratio(
    graph: Graph, seen: Statistics, pixel: tuple[float, float] | None, photos: list[FloatArray], name: str
) -> str:
    """Return the latency with the front in float, as a ratio to that with the front in integers."""
    rules = find_target(name).rules
    kept = recipe.branches(graph) if rules.dynamic_branches else frozenset[str]()
    equal, statistic = recipe.prepared(graph, seen, kept)
    others = float_by_default(equal) - front(equal)
    without = static_int8(equal, statistic, rules=rules, pixel=pixel, reach="sums", in_float=others, branches=kept)
    plans = [(equal, without), recipe.int8(graph, seen, rules=rules, pixel=pixel)]
    return f"{in_turns(plans, name, photos)[1]:.2f}"


def in_turns(plans: list[tuple[Graph, Plan]], name: str, photos: list[FloatArray]) -> tuple[list[FloatArray], float]:
    """Return the logits (N, classes) of two int8 artifacts, and the second's median latency over the first's."""
    target = find_target(name)
    outputs: list[list[FloatArray]] = [[], []]
    times: list[list[float]] = [[], []]
    with tempfile.TemporaryDirectory() as folder:
        sessions = []
        for number, (graph, plan) in enumerate(plans):
            paths = []
            for suffix, data in target.convert(graph, Form(precision="int8"), plan).items():
                paths.append(Path(folder) / f"{number}{suffix}")
                paths[-1].write_bytes(data)
            sessions.append(choose_runtime(paths[0]).open(paths[0], Settings(threads=1)))
        for photo in photos:
            fed = photo[None] if target.layout == "NHWC" else np.ascontiguousarray(photo.transpose(2, 0, 1)[None])
            for session, rows, taken in zip(sessions, outputs, times, strict=True):
                start = time.perf_counter()
                rows.append(session.run(fed))
                taken.append(time.perf_counter() - start)
    first, second = (statistics.median(taken) for taken in times)
    return [np.concatenate(rows) for rows in outputs], second / first


def row(name: str, logits: FloatArray, reference: FloatArray, last: str) -> str:
    """Return one line of a table, after printing it."""
    got = agreement(softmax(logits), reference)
    figures = f"{100 * got.agreement:.2f} | {100 * got.total_variation:.2f} | {got.logit_snr_db or 0:.1f}"
    line = f"| {name} | {figures} | {last} |"
    print(line, flush=True)
    return line


TITLES = {
    "xception_clothing": "Xception, clothing weights",
    "imagenet_mobilenet_v1": "MobileNet, ImageNet weights",
    "efficientnet_lite0": "EfficientNet-Lite0, ImageNet weights",
}
HEADER = """# What each step of int8 gains

This page was written by `python benchmarks/ablation.py TRAIN MODEL...`. It shows trained networks on ONNX Runtime,
calibrated on 100 clothing photos and measured on {photos} others. ONNX Runtime computes the integers in float here, so
the processor makes no difference to the answers. Each row adds one step to the rows above it, with two exceptions. Rows
that begin with "instead" replace the ranges of the first row; the last of them, least-squares ranges, is kept in the
rows below. Rows that begin with "variant" show a change that is not part of the recipe. One of them goes on from
adaptive rounding and learns kernels and biases with gradients (`benchmarks/learned_rounding.py`), from the float
network's answers to the calibration photos, in {steps} steps of {batch} photos, or of {few} for the Xception. Agreement
is the share of photos with the same first class as float, tv the total variation, dB the signal-to-noise ratio of the
centred logits, and s the seconds of processor time that it takes to make the plan, without calibration.

Below it, a second table shows the recipe on TFLite, where ranges may be those of each photo. Its last column is the
median latency with one thread, measured in turns, as a ratio to that with fixed ranges. If the network has a front, a
third table shows what it costs in float, in the same way."""


STEPS = """| step | agreement, % | tv, % | dB | s |
|---|---|---|---|---|"""


LEARNED = "variant: adaptive rounding, then learned with gradients"
UNROUNDED = "variant: kernels that are not rounded, simulated"
FRONT = """
The front in float, as a ratio to the latency with the front in integers:

| tflite | onnx | openvino |
|---|---|---|"""
BRANCHES = """
| activations | agreement, % | tv, % | dB | latency |
|---|---|---|---|---|"""


def steps(pixel: tuple[float, float] | None) -> list[tuple[str, Step]]:
    """Return the name of each step with the function that makes its graph and plan."""

    def plain(graph: Graph, seen: Statistics, *, rule: RangeRule) -> tuple[Graph, Plan]:
        made = static_int8(graph, seen, range_rule=rule, reach="everything", adapt_rounding=False, correct_bias=False)
        return graph, made

    def ranges(
        graph: Graph,
        seen: Statistics,
        *,
        reach: Reach,
        exact: bool = True,
        sums: bool = False,
        correct: bool = False,
    ) -> tuple[Graph, Plan]:
        made = static_int8(
            graph,
            seen,
            pixel=pixel if exact else None,
            reach=reach,
            in_float=float_by_default(graph) - front(graph) if sums else (),
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
        ("instead: least-squares ranges", partial(ranges, reach="everything", exact=False)),
        ("exact pixels", partial(ranges, reach="everything")),
        ("residual sums and tail in float", partial(ranges, reach="sums", sums=True)),
        ("front in float", partial(ranges, reach="products")),
        ("bias correction", partial(ranges, reach="products", correct=True)),
        ("equalized depthwise outputs", partial(equal, streams=False)),
        ("equalized streams", partial(equal, streams=True)),
        ("adaptive rounding", partial(recipe.int8, pixel=pixel)),
        ("variant: weights clipped", clipped),
        ("pairs of weights within 16 bits (the recipe)", partial(equal_and_plan, pixel=pixel)),
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


if __name__ == "__main__":
    sys.exit(main())
