"""Do calibrated ranges fit other photos? The share of values that fall beyond them."""

from __future__ import annotations

from dataclasses import dataclass

from xedge.graph.ir import Graph
from xedge.quantization.affine import Affine
from xedge.quantization.energy import consumer_energy
from xedge.quantization.plan import Plan
from xedge.quantization.simulator import rounded_tensors
from xedge.quantization.statistics import Statistics, TensorStatistics

# Beyond so many times the share that calibration itself clips, and so much of all values, ranges do not fit.
FACTOR, LEAST = 3.0, 0.0005


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What fixed ranges leave out, weighted with what it weighs at the readers; shares from 0 to 1.

    Args:
        calibrated: of the calibration photos' values, averaged over the tensors.
        evaluated: of the other photos'.
        worst: the tensor that loses most of the others' values.
        worst_share: how much.
    """

    calibrated: float
    evaluated: float
    worst: str
    worst_share: float

    @property
    def fits(self) -> bool:
        """Whether the other photos are of the kind that was calibrated on."""
        return self.evaluated <= max(FACTOR * self.calibrated, LEAST)


def coverage(graph: Graph, plan: Plan, calibrated: Statistics, evaluated: Statistics) -> Coverage | None:
    """Compare two sets of photos by what the ranges of a plan clip; None without fixed ranges.

    Args:
        graph: the plan's.
        plan: the ranges.
        calibrated: statistics of the reference graph, before any change of channels.
        evaluated: likewise, of the other photos.
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
    """Return the share of a tensor's values, weighted with their energy at the readers, that a range cuts off."""
    centres, weights = seen.histogram()
    half = affine.scale / 2
    beyond = (centres < affine.low - half) | (centres > affine.high + half)
    return float(weights[beyond].sum() / max(weights.sum(), 1.0))


def _is_fixed(graph: Graph, plan: Plan, name: str) -> bool:
    return plan.is_integer(name) or any(plan.is_integer(reader.name) for reader in graph.consumers(name))


def _as_held(graph: Graph, plan: Plan, name: str, seen: TensorStatistics) -> TensorStatistics:
    """What the tensor of the plan's graph holds, where the reference graph shows ``seen``."""
    change = plan.changes.get(name)
    if change is None:
        return seen
    scale, shift = change.scale.astype("float64"), change.shift.astype("float64")
    return seen.changed(scale, shift, consumer_energy(graph, name))
