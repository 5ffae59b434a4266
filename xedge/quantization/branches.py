"""Find branches between float sums, which can be computed with dynamic ranges instead of fixed ones.

If the sums of a residual stream are in float, a branch begins and ends in float. A runtime that multiplies integer
kernels by activations that it quantizes at run time (TFLite's hybrid convolutions) then needs no fixed range inside
the branch. It rounds only the inputs of the products, but neither their results nor the inputs of depthwise
convolutions.
"""

from __future__ import annotations

from collections.abc import Collection

from xedge.graph.cost import multiply_accumulates, values
from xedge.graph.ir import Activation, Conv, Graph, Input, Node

# The least number of multiply-accumulates of a branch for each element that its products read. Below it, moving the
# floats costs more than it brings: with 100 in place of 200, EfficientNet-Lite0 takes 18 % more time and has a total
# variation of 2.0 % in place of 2.2 %.
INTENSITY = 200
# The same for branches with an activation whose integer kernel TFLite's delegate does not have: with 200,
# MobileNetV3Large would take twice the time.
INTENSITY_WITH_SLOW_ACTIVATIONS = 100
SLOW_IN_INTEGERS = ("hard_silu",)


def dynamic_branches(graph: Graph, float_nodes: Collection[str]) -> frozenset[str]:
    """Return the nodes of all branches that begin and end at float nodes and have enough products to be worth it.

    Args:
        graph: The reference graph.
        float_nodes: The names of the nodes that compute in float.
    """
    between = _ends_in_float(graph, _begins_in_float(graph, float_nodes), float_nodes)
    return frozenset(name for branch in _connected(graph, between) if _intense(graph, branch) for name in branch)


def _begins_in_float(graph: Graph, float_nodes: Collection[str]) -> set[str]:
    found: set[str] = set()
    for node in graph:
        outside = node.name in float_nodes or isinstance(node, Input)
        if not outside and _computes_in_float(node) and all(i in float_nodes or i in found for i in node.inputs):
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


def _intense(graph: Graph, branch: list[str]) -> bool:
    """Return whether the products outweigh the moving of floats, which a lone convolution needs in any case."""
    products = [name for name in branch if isinstance(graph[name], Conv)]
    if products == branch:
        return True
    read = sum(values(graph, graph[name].inputs[0]) for name in products)
    done = sum(multiply_accumulates(graph, name) for name in products)
    activations = {node.kind for name in branch if isinstance(node := graph[name], Activation)}
    slow = not activations.isdisjoint(SLOW_IN_INTEGERS)
    least = INTENSITY_WITH_SLOW_ACTIVATIONS if slow else INTENSITY
    return bool(products) and done >= least * read
