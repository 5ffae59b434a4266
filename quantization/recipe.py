"""The default int8 recipe: which algorithms, in which order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from xedge.graph.ir import Graph
from xedge.quantization.branches import dynamic_branches
from xedge.quantization.calibration import calibrate
from xedge.quantization.equalization import equalized
from xedge.quantization.plan import Plan
from xedge.quantization.ranges import least_squares_range
from xedge.quantization.static import float_by_default, static_int8
from xedge.quantization.statistics import Statistics
from xedge.quantization.streams import equalized_streams
from xedge.types import FloatArray

ACTIVATIONS = "static, least-squares ranges, channels of streams and depthwise outputs equalized"
BRANCHES = "ranges of each photo between residual sums"
WEIGHTS = "adaptive rounding, bias correction"
PAIRS = "products of pairs within 16 bits"


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
        graph: the reference graph.
        seen: its statistics.
        kept: nodes that keep the ranges of each photo; no depthwise output is equalized there, for these ranges leave
            nothing out.
    """
    graph, seen = equalized_streams(graph, seen)
    return equalized(graph, seen, least_squares_range, kept)


def int8(
    graph: Graph,
    seen: Statistics,
    *,
    pixel: tuple[float, float] | None = None,
    all_integer: bool = False,
    in_float: Collection[str] = (),
    dynamic: bool = False,
    symmetric: bool = False,
    fit_pairs: bool = False,
) -> tuple[Graph, Plan]:
    """Return an equal graph that quantizes well, and its int8 plan.

    Args:
        graph: the reference graph, with or without its softmax.
        seen: its statistics.
        pixel: (scale, offset) with photo = pixel * scale + offset, when the same hold for all channels.
        all_integer: leave nothing in float that int8 has a kernel for.
        in_float: nodes to leave in float beside those that always are.
        dynamic: take the ranges of each photo between float sums, for runtimes that do so at little cost.
        symmetric: no zero points.
        fit_pairs: keep pairs of weights within 16 bits, for runtimes that add their products there.
    """
    kept = branches(graph) if dynamic and not all_integer else frozenset[str]()
    graph, seen = prepared(graph, seen, kept)
    return graph, static_int8(
        graph,
        seen,
        pixel=pixel,
        all_integer=all_integer,
        in_float=in_float,
        branches=kept,
        symmetric=symmetric,
        fit_pairs=fit_pairs,
    )
