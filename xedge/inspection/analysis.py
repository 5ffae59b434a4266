"""Find where int8 loses accuracy: the noise, the ranges and the clipping of each layer of the reference graph."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import Literal

import numpy as np

from xedge.conversion.artifact import Artifact
from xedge.conversion.calibrated import Calibrated
from xedge.conversion.describe import manifest_of
from xedge.conversion.reference import graph_of
from xedge.conversion.request import Request
from xedge.conversion.stages import Stages
from xedge.conversion.subject import read_subject
from xedge.converters import Form, Target, find_target
from xedge.device.board import usable_cores
from xedge.graph.ir import Graph
from xedge.quantization import recipe
from xedge.quantization.coverage import clipped
from xedge.quantization.plan import Plan
from xedge.quantization.sensitivity import Layer, NoiseMeter, layers
from xedge.quantization.statistics import Statistics, TensorStatistics
from xedge.runtimes import Settings
from xedge.runtimes.classifier import open_classifier


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """One layer: a convolution or dense layer, together with a depthwise convolution whose result it alone reads.

    The figures in decibels are signal-to-noise ratios of the centred logits.

    Args:
        layer: The name of the layer.
        multiply_accumulates: The layer's share of the network's multiply-accumulates, 0 to 1.
        alone_db: The signal-to-noise ratio in decibels if only this layer is quantized; None if there is no noise.
        weights_db: The signal-to-noise ratio in decibels if only the kernels of this layer are quantized; None if there
            is no noise.
        activations_db: The signal-to-noise ratio in decibels if only the results of this layer are quantized; None if
            there is no noise.
        without_db: The signal-to-noise ratio in decibels if everything but this layer is quantized; None if there is no
            noise.
        spread: The range of the widest channel divided by the median range of the channels, in the result of the
            layer's first node, after equalization.
        spread_before: The same quotient before equalization.
        clipped: The share of the values of that result that lie outside the range, weighted by their energy in the
            nodes that read them, 0 to 1.
        time: The layer's share of the time of an inference on this machine, 0 to 1; None if the runtime does not time
            operations.
    """

    layer: str
    multiply_accumulates: float
    alone_db: float | None
    weights_db: float | None
    activations_db: float | None
    without_db: float | None
    spread: float
    spread_before: float
    clipped: float
    time: float | None


@dataclass(frozen=True, kw_only=True)
class AnalyzeReport:
    """The noise of int8 in a whole network and in each of its layers.

    The figures in decibels are signal-to-noise ratios of the centred logits.

    Args:
        schema: The kind of this document and its version.
        model: The name of the model.
        target: The name of the target whose int8 was analyzed.
        photos: The number of photos on which the noise was measured.
        calibration_photos: The number of calibration photos.
        everything_db: The signal-to-noise ratio in decibels if everything is quantized; None if there is no noise.
        weights_db: The signal-to-noise ratio in decibels if only the weights are quantized; None if there is no noise.
        activations_db: The signal-to-noise ratio in decibels if only the activations are quantized; None if there is no
            noise.
        layers: The layers, in the order of computation.
    """

    schema: Literal["xedge.analyze/1"] = "xedge.analyze/1"
    model: str
    target: str
    photos: int
    calibration_photos: int
    everything_db: float | None
    weights_db: float | None
    activations_db: float | None
    layers: tuple[LayerReport, ...]


def analyze(request: Request, count: int) -> AnalyzeReport:
    """Measure the noise of every layer in int8.

    Args:
        request: The model and its photos; its first target is the one whose int8 is analyzed.
        count: The number of photos on which the noise is measured.

    Raises:
        UnsupportedError: The model has operations outside the reference graph.
    """
    stages = Stages(report=request.options.report, progress=request.options.progress)
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        subject = read_subject(request, Path(scratch), stages)
        reference_graph = graph_of(subject.reference, "analyze")
        calibrated, target = Calibrated(subject, stages), find_target(request.targets[0])
        # Whether there are photos for it is found out before the calibration.
        inputs = calibrated.noise_photos(count)
        before = calibrated.statistics
        form, path = Form(precision="int8"), Path(scratch) / "analyzed"
        artifact = subject.reference.artifact(target, form, path, calibrated, stages)
        graph, plan = artifact.graph, artifact.plan
        assert graph is not None
        assert plan is not None
        kept = recipe.branches(reference_graph) if target.rules.dynamic_branches else ()
        _, seen = recipe.prepared(reference_graph, before, kept)
        meter = NoiseMeter(graph, plan, inputs, subject.reference.output_kind)
        found = layers(graph, plan)
        total = sum(layer.multiply_accumulates for layer in found)
        times = _times(calibrated, target, artifact, graph)
        reports = []
        with stages.stage("analyze") as words:
            for done, layer in enumerate(found, start=1):
                reports.append(_layer(meter, layer, total, plan, seen, before, times))
                stages.progress(f"analyze {done}/{len(found)} layers")
            words.append(f"{len(found)} layers on {len(inputs)} photos")
        return AnalyzeReport(
            model=subject.reference.name,
            target=target.name,
            photos=len(inputs),
            calibration_photos=len(calibrated.photos),
            everything_db=_db(meter.everything()),
            weights_db=_db(meter.noise((), plan.kernels)),
            activations_db=_db(meter.noise(meter.tensors, ())),
            layers=tuple(reports),
        )


def _layer(
    meter: NoiseMeter,
    layer: Layer,
    total: int,
    plan: Plan,
    seen: Statistics,
    before: Statistics,
    times: dict[str, float],
) -> LayerReport:
    noise, first = meter.of(layer), layer.nodes[0]
    return LayerReport(
        layer=layer.name,
        multiply_accumulates=layer.multiply_accumulates / total,
        alone_db=_db(noise.alone),
        weights_db=_db(noise.weights),
        activations_db=_db(noise.activations),
        without_db=_db(noise.without),
        spread=_spread(seen[first]),
        spread_before=_spread(before[first]),
        clipped=clipped(seen[first], plan.activations[first]),
        time=sum(times.get(name, 0.0) for name in layer.nodes) if times else None,
    )


def _times(calibrated: Calibrated, target: Target, artifact: Artifact, graph: Graph) -> dict[str, float]:
    """Return each node's share of the time of an inference; empty if the runtime does not report it.

    The runtimes' names for the operations that they execute begin with the names of the nodes.
    """
    manifest = manifest_of(calibrated, target, artifact)
    classifier = open_classifier(artifact.files[0], manifest, Settings(threads=usable_cores()))
    photo = classifier.input(calibrated.subject.golden_pixels[0])
    names = sorted((node.name for node in graph), key=len, reverse=True)
    shares: dict[str, float] = {}
    timed = classifier.session.timed(photo)
    total = sum(one.ms for one in timed)
    for operation in timed:
        name = next((name for name in names if operation.name.startswith(name)), "")
        shares[name] = shares.get(name, 0.0) + operation.ms / total
    return shares


def _db(noise: float) -> float | None:
    return -10 * log10(noise) if noise > 0 else None


def _spread(seen: TensorStatistics) -> float:
    width = seen.channel_high - seen.channel_low
    return float(width.max() / max(float(np.median(width)), 1e-12))
