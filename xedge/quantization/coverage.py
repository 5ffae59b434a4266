"""Measure how well the ranges from calibration fit other photos.

The share of values outside the ranges shows photos of another kind. It does not show it if a few channels deep in the
network are clipped, as those of classes that calibration did not see. Therefore it is also simulated how far rounding
moves the probabilities of the other photos, and how far it would if these were the calibration photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from xedge.graph.evaluate import Evaluator
from xedge.graph.ir import Graph
from xedge.metrics import class_probabilities, differences
from xedge.quantization import recipe
from xedge.quantization.affine import Affine
from xedge.quantization.energy import consumer_energy
from xedge.quantization.plan import Plan
from xedge.quantization.rules import Rules
from xedge.quantization.simulator import rounded_tensors, simulator
from xedge.quantization.static import ranges_of
from xedge.quantization.statistics import Statistics, TensorStatistics
from xedge.types import FloatArray
from xedge.vocabulary import OutputKind

# The ranges do not fit if they clip more than FACTOR times the share that they clip on the calibration photos, and also
# more than the share LEAST of all values.
FACTOR, LEAST = 3.0, 0.0005
# Nor do they fit if they move the probabilities more than MOVED_FACTOR times as far as the own ranges of the other
# photos do, and also by more than MOVED_POINTS of total variation in addition. For the full-size Xception, the compact
# one and a MobileNet, with one to three sets of 16 photos, 10 to 100 calibration photos of all classes add at most
# 1.4 %, and photos of a class that the artifacts suffer from add 2.1 % and more.
MOVED_FACTOR, MOVED_POINTS = 1.5, 0.02


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How well fixed ranges fit other photos than those of calibration.

    All figures are from 0 to 1. The values are weighted by their energy in the nodes that read them.

    Args:
        calibrated: The share of values outside the ranges on the calibration photos, averaged over the tensors.
        evaluated: The share of values outside the ranges on the other photos, averaged over the tensors.
        worst: The name of the tensor whose share grows most from the calibration photos to the other photos.
        worst_share: The share of values of that tensor outside its range on the other photos.
        moved: How far the probabilities of the other photos move from float if tensors are rounded in the ranges, in
            total variation averaged over the photos. Kernels are not rounded.
        moved_by_own: How far they move if the recipe takes the ranges from the other photos themselves.
    """

    calibrated: float
    evaluated: float
    worst: str
    worst_share: float
    moved: float
    moved_by_own: float

    @property
    def fits(self) -> bool:
        """Whether the ranges fit the other photos."""
        few_outside = self.evaluated <= max(FACTOR * self.calibrated, LEAST)
        return few_outside and self.moved <= max(MOVED_FACTOR * self.moved_by_own, self.moved_by_own + MOVED_POINTS)


def fixed_tensors(graph: Graph, plan: Plan) -> tuple[str, ...]:
    """Return the names of the tensors whose ranges a plan fixes, without the input.

    Args:
        graph: The graph of the plan.
        plan: The plan.
    """
    rounded = (name for name in rounded_tensors(graph, plan) if name != graph.input.name)
    return tuple(name for name in rounded if _is_fixed(graph, plan, name))


def coverage(
    graph: Graph,
    plan: Plan,
    calibrated: Statistics,
    evaluated: Statistics,
    photos: Sequence[FloatArray],
    *,
    reference: Graph,
    rules: Rules,
    kind: OutputKind,
) -> Coverage:
    """Compare two sets of photos by what the ranges of a plan do to them.

    Args:
        graph: The graph of the plan.
        plan: The plan, which has ``fixed_tensors``.
        calibrated: The statistics of the reference graph on the calibration photos, before any change of channels.
        evaluated: The statistics of the reference graph on the other photos, before any change of channels.
        photos: The other photos, preprocessed (H, W, C) float32.
        reference: The graph before any change of channels, with a head if the other graph has it.
        rules: The rules of the target.
        kind: What the graph's output holds.
    """
    names, shares = fixed_tensors(graph, plan), {}
    for name in names:
        shares[name] = tuple(
            clipped(_as_held(graph, plan, name, seen[name]), plan.activations[name]) for seen in (calibrated, evaluated)
        )
    exact = _probabilities(Evaluator(reference), photos, kind)
    moved, moved_by_own = (
        float(differences(_probabilities(_rounding(*made), photos, kind), exact).total_variation.mean())
        for made in ((graph, plan), _with_ranges_of(evaluated, reference, plan, rules))
    )
    worst = max(names, key=lambda name: shares[name][1] - shares[name][0])
    return Coverage(
        calibrated=sum(before for before, _ in shares.values()) / len(names),
        evaluated=sum(after for _, after in shares.values()) / len(names),
        worst=worst,
        worst_share=shares[worst][1],
        moved=moved,
        moved_by_own=moved_by_own,
    )


def _with_ranges_of(seen: Statistics, reference: Graph, plan: Plan, rules: Rules) -> tuple[Graph, Plan]:
    """Return the graph and the plan, but for the kernels, that calibration would give if it had seen other photos."""
    kept = recipe.branches(reference) if any(map(plan.is_dynamic, plan.kernels)) else ()
    graph, seen = recipe.prepared(reference, seen, kept)
    ranges = ranges_of(graph, seen, rules)
    # The parameters of the input say which pixels its integers stand for.
    ranges[graph.input.name] = plan.activations[graph.input.name]
    return graph, replace(plan, activations=ranges, changes={})


def _rounding(graph: Graph, plan: Plan) -> Evaluator:
    return simulator(graph, plan, rounded_tensors(graph, plan), ())


def _probabilities(session: Evaluator, photos: Sequence[FloatArray], kind: OutputKind) -> FloatArray:
    return class_probabilities(np.concatenate([session.output(photo[None]) for photo in photos]), kind)


def clipped(seen: TensorStatistics, affine: Affine) -> float:
    """Return the share of a tensor's values that a range clips, weighted by their energy in the nodes that read them.

    Args:
        seen: The statistics of the tensor.
        affine: The parameters whose range is applied.
    """
    centres, weights = seen.histogram()
    half = affine.scale / 2
    beyond = (centres < affine.low - half) | (centres > affine.high + half)
    return float(weights[beyond].sum() / max(weights.sum(), 1.0))


def _is_fixed(graph: Graph, plan: Plan, name: str) -> bool:
    return plan.is_integer(name) or any(plan.is_integer(reader.name) for reader in graph.consumers(name))


def _as_held(graph: Graph, plan: Plan, name: str, seen: TensorStatistics) -> TensorStatistics:
    """Return the statistics of a tensor in the graph of the plan from those in the reference graph."""
    change = plan.changes.get(name)
    if change is None:
        return seen
    scale, shift = change.scale.astype("float64"), change.shift.astype("float64")
    return seen.changed(scale, shift, consumer_energy(graph, name))
