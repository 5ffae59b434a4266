"""Measure how well the ranges from calibration fit other photos, by the share of values that lie outside them."""

from __future__ import annotations

from dataclasses import dataclass

from xedge.graph.ir import Graph
from xedge.quantization.affine import Affine
from xedge.quantization.energy import consumer_energy
from xedge.quantization.plan import Plan
from xedge.quantization.simulator import rounded_tensors
from xedge.quantization.statistics import Statistics, TensorStatistics

# The ranges do not fit if they clip more than FACTOR times the share that they clip on the calibration photos, and also
# more than the share LEAST of all values.
FACTOR, LEAST = 3.0, 0.0005


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much fixed ranges leave out.

    All shares are from 0 to 1. The values are weighted by their energy in the nodes that read them.

    Args:
        calibrated: The share of values outside the ranges on the calibration photos, averaged over the tensors.
        evaluated: The share of values outside the ranges on the other photos, averaged over the tensors.
        worst: The name of the tensor whose share grows most from the calibration photos to the other photos.
        worst_share: The share of values of that tensor outside its range on the other photos.
    """

    calibrated: float
    evaluated: float
    worst: str
    worst_share: float

    @property
    def fits(self) -> bool:
        """Whether the ranges fit the other photos."""
        return self.evaluated <= max(FACTOR * self.calibrated, LEAST)


def coverage(graph: Graph, plan: Plan, calibrated: Statistics, evaluated: Statistics) -> Coverage | None:
    """Compare two sets of photos by how much the ranges of a plan clip; None if the plan has no fixed ranges.

    Args:
        graph: The graph of the plan.
        plan: The plan with the ranges.
        calibrated: The statistics of the reference graph on the calibration photos, before any change of channels.
        evaluated: The statistics of the reference graph on the other photos, before any change of channels.
    """
    names = [name for name in rounded_tensors(graph, plan) if name != graph.input.name and _is_fixed(graph, plan, name)]
    if not names:
        return None
    shares = {}
    for name in names:
        shares[name] = tuple(
            clipped(_as_held(graph, plan, name, seen[name]), plan.activations[name]) for seen in (calibrated, evaluated)
        )
    worst = max(names, key=lambda name: shares[name][1] - shares[name][0])
    return Coverage(
        calibrated=sum(before for before, _ in shares.values()) / len(names),
        evaluated=sum(after for _, after in shares.values()) / len(names),
        worst=worst,
        worst_share=shares[worst][1],
    )


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
