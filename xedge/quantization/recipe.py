"""The default int8 recipe: which algorithms, in which order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from xedge.graph.ir import Graph
from xedge.quantization.branches import dynamic_branches
from xedge.quantization.calibration import calibrate
from xedge.quantization.equalization import equalized
from xedge.quantization.plan import Plan
from xedge.quantization.ranges import least_squares_range
from xedge.quantization.rules import Rules
from xedge.quantization.static import float_by_default, static_int8
from xedge.quantization.statistics import Statistics
from xedge.quantization.streams import equalized_streams
from xedge.types import FloatArray

# An equal graph and the statistics that it would have shown, from a graph, its statistics and the nodes to leave alone.
Preparation = Callable[[Graph, Statistics, Collection[str]], tuple[Graph, Statistics]]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step that prepares a graph for int8.

    Args:
        words: What the step does, for the manifest.
        prepare: The function that does it.
    """

    words: str
    prepare: Preparation


STEPS = (
    Step(words="channels of streams equalized", prepare=lambda graph, seen, kept: equalized_streams(graph, seen)),
    Step(
        words="channels of depthwise outputs equalized",
        # Ranges of each photo leave nothing out, so that nothing is gained where they are kept.
        prepare=lambda graph, seen, kept: equalized(graph, seen, least_squares_range, kept),
    ),
)


def activation_words(*, dynamic: bool = False) -> tuple[str, ...]:
    """Return how activations are quantized, in words.

    Args:
        dynamic: Whether branches take the ranges of each photo.
    """
    ranges = ("ranges of each photo between residual sums",) if dynamic else ()
    return ("static, least-squares ranges", *(step.words for step in STEPS), *ranges)


def weight_words(rules: Rules | None = None) -> tuple[str, ...]:
    """Return how weights are quantized, in words.

    Args:
        rules: What the target's kernels ask for; None asks for nothing.
    """
    pairs = ("products of pairs within 16 bits",) if rules is not None and rules.pairs else ()
    return ("adaptive rounding", "bias correction", *pairs)


def statistics(
    graph: Graph, photos: Iterable[FloatArray], progress: Callable[[int], None] = lambda done: None
) -> Statistics:
    """Return what the recipe needs to know of every tensor; photos are preprocessed, (H, W, C)."""
    return calibrate(graph, photos, progress)


def branches(graph: Graph) -> frozenset[str]:
    """Return the nodes that take the ranges of each photo where a target does so at little cost."""
    return dynamic_branches(graph, float_by_default(graph))


def prepared(graph: Graph, seen: Statistics, kept: Collection[str] = ()) -> tuple[Graph, Statistics]:
    """Return an equal graph that quantizes well, and the statistics that it would have shown.

    Args:
        graph: The reference graph.
        seen: Its statistics.
        kept: The nodes that keep the ranges of each photo.
    """
    for step in STEPS:
        graph, seen = step.prepare(graph, seen, kept)
    return graph, seen


def int8(
    graph: Graph,
    seen: Statistics,
    *,
    rules: Rules | None = None,
    pixel: tuple[float, float] | None = None,
    all_integer: bool = False,
    in_float: Collection[str] = (),
) -> tuple[Graph, Plan]:
    """Return an equal graph that quantizes well, and its int8 plan.

    Args:
        graph: The reference graph, with or without its softmax.
        seen: Its statistics.
        rules: What the target's kernels ask for; None asks for nothing.
        pixel: (scale, offset) with photo = pixel * scale + offset, when the same hold for all channels.
        all_integer: Leave nothing in float that int8 has a kernel for.
        in_float: Nodes to leave in float besides those that always are.
    """
    rules = rules or Rules()
    kept = branches(graph) if rules.dynamic_branches and not all_integer else frozenset[str]()
    graph, seen = prepared(graph, seen, kept)
    return graph, static_int8(
        graph, seen, rules=rules, pixel=pixel, all_integer=all_integer, in_float=in_float, branches=kept
    )
