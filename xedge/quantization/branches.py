"""Find branches between float sums, which can be computed with dynamic ranges instead of fixed ones.

If the sums of a residual stream are in float, a branch begins and ends in float. A runtime that multiplies integer
kernels by activations that it quantizes at run time (TFLite's hybrid convolutions) then needs no fixed range inside
the branch. It rounds only the inputs of the products, but neither their results nor the inputs of depthwise
convolutions.
"""

from __future__ import annotations

from collections.abc import Collection

from xedge.graph.cost import multiply_accumulates, values
from xedge.graph.ir import Activation, Conv, Depthwise, Graph, Node

# The least number of multiply-accumulates of a branch's products for each one of its depthwise convolutions, which take
# more time in float. Activations that do more than saturate lose more in integers, so a lower ratio is worth the time.
# EfficientNet-Lite0 has ReLU6: its last branch alone gives a total variation of 1.90 %, in the time that no branch
# takes; with those of 5x5 windows, of ratios 15 to 19, it has 1.81 % in 1.07 of the time. EfficientNetB0 and V2B0 have
# SiLU: from 27 to 15, they gain 1.8 and 3.2 dB and take 1.04 of the time (one thread on an EPYC with VNNI).
SATURATING_RATIO = 27
CURVED_RATIO = 15
# This is enough where fixed ranges convert more values than ranges of each photo: NASNetMobile's total variation is
# 3.4 instead of 4.1 % in 0.87 of the time, and a MixNet's 0.8 instead of 1.8 % in 0.90 (one thread on an EPYC without
# VNNI), but in 1.07 to 1.10 of the cycles of a Raspberry Pi (benchmarks/instructions.py).
CONVERTING_RATIO = 6
# Activations whose integer kernel TFLite's delegate does not have.
SLOW_IN_INTEGERS = ("hard_silu",)


def dynamic_branches(graph: Graph, float_nodes: Collection[str]) -> frozenset[str]:
    """Return the nodes of all branches that begin and end in float and are worth it; one may begin at the photo.

    Args:
        graph: The reference graph.
        float_nodes: The names of the nodes that compute in float.
    """
    ends = {*float_nodes, graph.input.name}
    between = _ends_in_float(graph, _begins_in_float(graph, ends), ends)
    return frozenset(name for branch in _connected(graph, between) if _is_worth_it(graph, branch) for name in branch)


def _begins_in_float(graph: Graph, float_nodes: Collection[str]) -> set[str]:
    found: set[str] = set()
    for node in graph:
        inside = node.name not in float_nodes and _computes_in_float(node)
        if inside and all(i in float_nodes or i in found for i in node.inputs):
            found.add(node.name)
    return found


def _computes_in_float(node: Node) -> bool:
    return not (isinstance(node, Conv) and node.groups != 1)


def _ends_in_float(graph: Graph, names: set[str], float_nodes: Collection[str]) -> set[str]:
    found: set[str] = set()
    for node in reversed(list(graph)):
        readers = graph.consumers(node.name)
        inside = node.name in names and readers
        if inside and all(reader.name in float_nodes or reader.name in found for reader in readers):
            found.add(node.name)
    # A node that reads a node which was not found does not begin in float, so it is removed.
    kept = {name for name in found if all(i in float_nodes or i in found for i in graph[name].inputs)}
    return found if kept == found else _ends_in_float(graph, kept, float_nodes)


def _connected(graph: Graph, names: set[str]) -> list[list[str]]:
    """Return the names in connected groups, each in the order of the graph."""
    group: dict[str, list[str]] = {}
    for node in graph:
        if node.name not in names:
            continue
        mine = [node.name]
        for other in {id(group[i]): group[i] for i in node.inputs if i in names}.values():
            mine = other + mine
        for name in mine:
            group[name] = mine
    return list({id(branch): branch for branch in group.values()}.values())


def _is_worth_it(graph: Graph, branch: list[str]) -> bool:
    """Return whether a branch has products, and gains more than it costs to move floats.

    Activations that are slow in integers take less time in float. Convolutions and what is between them take no more
    time with ranges of each photo, unless they are a chain from the photo on, as VGG's, in which no sum or
    concatenation brings integers to a common range. Depthwise convolutions take more time in float, unless the products
    outweigh them or fewer values are converted. Behind the front, which is in float in any case, they always do.
    """
    products = [name for name in branch if isinstance(graph[name], Conv)]
    kinds = {node.kind for name in branch if isinstance(node := graph[name], Activation)}
    if not products or not kinds.isdisjoint(SLOW_IN_INTEGERS):
        return bool(products)
    of_photo = any(graph.input.name in graph[name].inputs for name in branch)
    depthwise = [name for name in branch if isinstance(node := graph[name], Depthwise) and node.window != (1, 1)]
    if not depthwise:
        return not of_photo or any(len(graph.consumers(name)) > 1 for name in branch)
    saturates = all(node.only_saturates for name in branch if isinstance(node := graph[name], Activation))
    least = SATURATING_RATIO if saturates else CURVED_RATIO
    if _converts_less(graph, branch, products):
        least = CONVERTING_RATIO
    return not of_photo and _work(graph, products) >= least * _work(graph, depthwise)


def _converts_less(graph: Graph, branch: list[str], products: list[str]) -> bool:
    """Return whether products quantize fewer values than fixed ranges convert.

    Fixed ranges quantize what the branch reads, give its results as floats, and requantize for ReLUs that are not
    fused. Inverted bottlenecks read and give few values and have many between them; it is the other way round in
    NASNet's cells, which read one tensor with several short branches.
    """
    read = {source for name in branch for source in graph[name].inputs} - set(branch)
    given = [name for name in branch if any(reader.name not in branch for reader in graph.consumers(name))]
    relus = [name for name in branch if isinstance(node := graph[name], Activation) and node.only_saturates]
    quantized = {source for name in products for source in graph[name].inputs}
    return _values(graph, quantized) < sum(_values(graph, names) for names in (read, given, relus))


def _values(graph: Graph, names: Collection[str]) -> int:
    return sum(values(graph, name) for name in names)


def _work(graph: Graph, names: Collection[str]) -> int:
    return sum(multiply_accumulates(graph, name) for name in names)
