"""Where int8 loses accuracy: each layer's noise, ranges and clipping, by the names of the reference graph."""

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
    """One layer: a convolution or dense layer, with the depthwise convolution that it alone reads.

    Args:
        layer: its name.
        multiply_accumulates: share of the network's, 0 to 1.
        alone_db: noise of the logits with only this layer rounded, decibels of signal over noise; None without noise.
        weights_db, activations_db: of that, from its kernels and from its results.
        without_db: with everything rounded but this layer.
        spread, spread_before: the widest channel's range over the typical one's, of the result of the layer's first
            node, with and before equalization.
        clipped: share of that result's values, weighted with their energy at the readers, beyond the range.
        time: share of an inference on this machine's runtime; None where the runtime times no operations.
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
    """The whole network; decibels of the centred logits' signal over noise."""

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
    """Measure every layer of the int8 recipe.

    Args:
        request: The model and its photos; its first target is the one whose int8 is analyzed.
        count: The number of photos that the noise is measured on.

    Raises:
        UnsupportedError: The model has operations outside the reference graph.
    """
    stages = Stages(report=request.options.report, progress=request.options.progress)
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        subject = read_subject(request, Path(scratch), stages)
        reference_graph = graph_of(subject.reference, "analyze")
        calibrated, target = Calibrated(subject, stages), find_target(request.targets[0])
        before = calibrated.statistics
        form, path = Form(precision="int8"), Path(scratch) / "analyzed"
        artifact = subject.reference.artifact(target, form, path, calibrated, stages)
        graph, plan = artifact.graph, artifact.plan
        assert graph is not None
        assert plan is not None
        kept = recipe.branches(reference_graph) if target.rules.dynamic_branches else ()
        _, seen = recipe.prepared(reference_graph, before, kept)
        inputs = calibrated.noise_photos(count)
        meter = NoiseMeter(graph, plan, inputs, probabilities=subject.reference.probabilities)
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
    """Each node's share of an inference; empty where the runtime does not tell.

    Runtimes call what they execute by the nodes' names, with more behind it.
    """
    manifest = manifest_of(calibrated, target, artifact)
    classifier = open_classifier(artifact.files[0], manifest, Settings(threads=usable_cores()))
    photo = classifier.input(calibrated.subject.golden_pixels[0])
    names = sorted((node.name for node in graph), key=len, reverse=True)
    shares: dict[str, float] = {}
    times = classifier.session.times(photo)
    for operation, milliseconds in times.items():
        name = next((name for name in names if operation.startswith(name)), "")
        shares[name] = shares.get(name, 0.0) + milliseconds / sum(times.values())
    return shares


def _db(noise: float) -> float | None:
    return -10 * log10(noise) if noise > 0 else None


def _spread(seen: TensorStatistics) -> float:
    width = seen.channel_high - seen.channel_low
    return float(width.max() / max(float(np.median(width)), 1e-12))
