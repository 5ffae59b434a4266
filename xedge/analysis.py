"""Where int8 loses accuracy: each layer's noise, ranges and clipping, by the names of the reference graph."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import Literal

import numpy as np

from xedge.device.board import usable_cores
from xedge.errors import UnsupportedError
from xedge.graph.ir import Graph
from xedge.quantization import recipe
from xedge.quantization.coverage import clipped
from xedge.quantization.plan import Plan
from xedge.quantization.sensitivity import Layer, NoiseMeter, layers
from xedge.quantization.statistics import Statistics, TensorStatistics
from xedge.runtimes import Settings, choose_runtime
from xedge.runtimes.classifier import Classifier
from xedge.target import Form, Target, find_target
from xedge.work import Artifact, Request, Stages, Work, selection_photos

Report = Callable[[str], None]


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


def analyze(
    request: Request, count: int, report: Report = lambda line: None, progress: Report = lambda line: None
) -> AnalyzeReport:
    """Measure every layer of the int8 recipe.

    Args:
        request: the model and its photos; its first target is the one whose int8 is analyzed.
        count: how many photos the noise is measured on.
        report: told one line as each stage ends.
        progress: told how far a long stage is.

    Raises:
        UnsupportedError: the model has operations outside the reference graph.
    """
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        work = Work(request, Path(scratch), Stages(report=report), progress)
        reference = work.reference
        if reference.graph is None:
            raise UnsupportedError(f"{request.source}: analyze needs the reference graph ({reference.reason})")
        before = work.statistics(reference.graph)
        target = find_target(request.targets[0])
        artifact = work.artifact(target, Form(precision="int8"), Path(scratch) / "analyzed")
        graph, plan = artifact.graph, artifact.plan
        assert graph is not None
        assert plan is not None
        kept = recipe.branches(reference.graph) if target.dynamic_branches else ()
        _, seen = recipe.prepared(reference.graph, before, kept)
        embedded = work.photos if request.selection is None else None
        photos = embedded or selection_photos(request, work.calibration(), None)
        files = photos.sample(count, request.seed).files
        inputs = np.stack([work.preprocessing.photo(file) for file in files])
        meter = NoiseMeter(graph, plan, inputs, probabilities=reference.probabilities)
        found = layers(graph, plan)
        total = sum(layer.multiply_accumulates for layer in found)
        times = _times(work, target, artifact, graph)
        reports = []
        with work.stages.stage("analyze") as words:
            for done, layer in enumerate(found, start=1):
                reports.append(_layer(meter, layer, total, plan, seen, before, times))
                progress(f"analyze {done}/{len(found)} layers")
            words.append(f"{len(found)} layers on {len(files)} photos")
        return AnalyzeReport(
            model=reference.name,
            target=target.name,
            photos=len(files),
            calibration_photos=len(work.calibration()),
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


def _times(work: Work, target: Target, artifact: Artifact, graph: Graph) -> dict[str, float]:
    """Each node's share of an inference; empty where the runtime does not tell.

    Runtimes call what they execute by the nodes' names, with more behind it.
    """
    session = choose_runtime(target.name).open(artifact.files[0], Settings(threads=usable_cores()))
    photo = Classifier(session, work.manifest(target, artifact)).input(work.golden_pixels[0])
    names = sorted((node.name for node in graph), key=len, reverse=True)
    shares: dict[str, float] = {}
    times = session.times(photo)
    for operation, milliseconds in times.items():
        name = next((name for name in names if operation.startswith(name)), "")
        shares[name] = shares.get(name, 0.0) + milliseconds / sum(times.values())
    return shares


def _db(noise: float) -> float | None:
    return -10 * log10(noise) if noise > 0 else None


def _spread(seen: TensorStatistics) -> float:
    width = seen.channel_high - seen.channel_low
    return float(width.max() / max(float(np.median(width)), 1e-12))
