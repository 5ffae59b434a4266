"""The default int8 recipe, and that of small weights: which algorithms are applied, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from xedge.graph.ir import Graph
from xedge.quantization.branches import dynamic_branches
from xedge.quantization.calibration import calibrate
from xedge.quantization.equalization import equalized
from xedge.quantization.front import front
from xedge.quantization.plan import Plan
from xedge.quantization.ranges import least_squares_range
from xedge.quantization.rules import Rules
from xedge.quantization.static import Reach, float_by_default, static_int8
from xedge.quantization.statistics import Statistics
from xedge.quantization.streams import equalized_streams
from xedge.quantization.weight_only import small_weights
from xedge.types import FloatArray

# A function that returns an equivalent graph and the statistics of its tensors from a graph, its statistics and the
# names of the nodes that are left as they are.
Preparation = Callable[[Graph, Statistics, Collection[str]], tuple[Graph, Statistics]]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step that prepares a graph for int8.

    Args:
        words: What the step does, in words for the manifest.
        prepare: The function that performs the step.
    """

    words: str
    prepare: Preparation


STEPS = (
    Step(words="channels of streams equalized", prepare=lambda graph, seen, kept: equalized_streams(graph, seen)),
    Step(
        words="channels of depthwise outputs equalized",
        # Dynamic ranges clip nothing, so nodes that keep them would gain nothing.
        prepare=lambda graph, seen, kept: equalized(graph, seen, least_squares_range, kept),
    ),
)


def activation_words(*, dynamic: bool = False, integer_sums: bool = False) -> tuple[str, ...]:
    """Return how activations are quantized, in words for the manifest.

    Args:
        dynamic: Whether branches take their ranges from each photo at run time.
        integer_sums: Whether residual sums are integers.
    """
    ranges = ("ranges of each photo between residual sums",) if dynamic else ()
    sums = ("residual sums in integers",) if integer_sums else ()
    return ("static, least-squares ranges", *(step.words for step in STEPS), *ranges, *sums)


def weight_words(rules: Rules | None = None) -> tuple[str, ...]:
    """Return how weights are quantized, in words for the manifest.

    Args:
        rules: The rules of the target; None has no special rules.
    """
    pairs = ("products of pairs within 16 bits",) if rules is not None and rules.pairs else ()
    return ("adaptive rounding", "bias correction", *pairs)


def small_weight_words() -> tuple[str, ...]:
    """Return how weights of 4 bits are made, in words for the manifest."""
    return ("scales of groups by least squares", "adaptive rounding", "bias correction")


def statistics(
    graph: Graph, photos: Iterable[FloatArray], progress: Callable[[int], None] = lambda done: None
) -> Statistics:
    """Collect the statistics of every tensor that the recipe needs.

    Args:
        graph: The reference graph.
        photos: The preprocessed calibration photos (H, W, C) float32.
        progress: A function that is called with the number of photos done so far.
    """
    return calibrate(graph, photos, progress)


def branches(graph: Graph) -> frozenset[str]:
    """Return the names of the nodes that take their ranges from each photo on targets where that costs little."""
    kept = front(graph)
    return dynamic_branches(graph, float_by_default(graph) - kept) - kept


def prepared(graph: Graph, seen: Statistics, kept: Collection[str] = ()) -> tuple[Graph, Statistics]:
    """Return an equivalent graph that quantizes well, and the statistics of its tensors.

    Args:
        graph: The reference graph.
        seen: The statistics of the reference graph.
        kept: The names of the nodes that take their ranges from each photo.
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
    fixed: bool = False,
    all_integer: bool = False,
    in_float: Collection[str] = (),
) -> tuple[Graph, Plan]:
    """Return an equivalent graph that quantizes well, and its int8 plan.

    Args:
        graph: The reference graph, with or without its softmax.
        seen: The statistics of the reference graph.
        rules: The rules of the target; None has no special rules.
        pixel: The scale and the offset with photo = pixel * scale + offset; None if they are not the same for all
            channels.
        fixed: Whether every range is fixed by calibration, even if the rules allow those of each photo.
        all_integer: Whether to leave nothing in float that can compute in int8.
        in_float: The names of nodes that are left in float in addition to those that always are.
    """
    rules = rules or Rules()
    dynamic = rules.dynamic_branches and not fixed and not all_integer
    kept = branches(graph) if dynamic else frozenset[str]()
    graph, seen = prepared(graph, seen, kept)
    reach: Reach = "everything" if all_integer else "sums" if rules.dynamic_branches and fixed else "products"
    return graph, static_int8(graph, seen, rules=rules, pixel=pixel, reach=reach, in_float=in_float, branches=kept)


def w4(graph: Graph, seen: Statistics, rules: Rules | None = None) -> Plan:
    """Return the plan of a graph that computes in float with weights of 4 bits.

    Args:
        graph: The reference graph, with or without its softmax.
        seen: The statistics of the reference graph.
        rules: The rules of the target; None has no special rules.
    """
    return small_weights(graph, seen, rules)
