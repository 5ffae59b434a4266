"""Where int8 loses accuracy: each layer's noise, ranges and clipping, by the names of the reference graph."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import log10
from pathlib import Path

import numpy as np

from xedge.errors import UnsupportedError
from xedge.quantization import recipe
from xedge.quantization.plan import Plan
from xedge.quantization.sensitivity import Layer, NoiseMeter, layers
from xedge.quantization.static import static_int8
from xedge.quantization.statistics import Statistics, TensorStatistics
from xedge.work import Request, Stages, Work, selection_photos

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


@dataclass(frozen=True, kw_only=True)
class AnalyzeReport:
    """The whole network; decibels of the centred logits' signal over noise."""

    model: str
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
        request: the model and its photos; what it says of targets is not looked at.
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
        graph, seen = recipe.prepared(reference.graph, before)
        plan = static_int8(graph, seen, pixel=work.preprocessing.pixel)
        embedded = work.photos if request.selection is None else None
        photos = embedded or selection_photos(request, work.calibration(), None)
        files = photos.sample(count, request.seed).files
        inputs = np.stack([work.preprocessing.photo(file) for file in files])
        meter = NoiseMeter(graph, plan, inputs, probabilities=reference.probabilities)
        found = layers(graph, plan)
        total = sum(layer.multiply_accumulates for layer in found)
        reports = []
        with work.stages.stage("analyze") as words:
            for done, layer in enumerate(found, start=1):
                reports.append(_layer(meter, layer, total, plan, seen, before))
                progress(f"analyze {done}/{len(found)} layers")
            words.append(f"{len(found)} layers on {len(files)} photos")
        return AnalyzeReport(
            model=reference.name,
            photos=len(files),
            calibration_photos=len(work.calibration()),
            everything_db=_db(meter.everything()),
            weights_db=_db(meter.noise((), plan.kernels)),
            activations_db=_db(meter.noise(meter.tensors, ())),
            layers=tuple(reports),
        )


def _layer(
    meter: NoiseMeter, layer: Layer, total: int, plan: Plan, seen: Statistics, before: Statistics
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
        clipped=_clipped(seen[first], plan, first),
    )


def _db(noise: float) -> float | None:
    return -10 * log10(noise) if noise > 0 else None


def _spread(seen: TensorStatistics) -> float:
    width = seen.channel_high - seen.channel_low
    return float(width.max() / max(float(np.median(width)), 1e-12))


def _clipped(seen: TensorStatistics, plan: Plan, name: str) -> float:
    affine = plan.activations[name]
    centres, weights = seen.histogram()
    half = affine.scale / 2
    beyond = (centres < affine.low - half) | (centres > affine.high + half)
    return float(weights[beyond].sum() / max(weights.sum(), 1.0))
