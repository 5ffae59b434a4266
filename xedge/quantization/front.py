"""Find the front of a network, in which rounding would cost much and gains little.

What is rounded in the first layers passes through all others and is amplified there. In a MobileNet with ImageNet
weights, the results of the first convolution and the weights of the depthwise one behind it cause three quarters of the
noise of int8. In float, these two cost hardly more: integer kernels gain little from three input channels, and the
photo need not be rounded. The same holds for a normalization of the photo, which has no products to speak of.
"""

from __future__ import annotations

from collections.abc import Iterator

from xedge.graph.cost import multiply_accumulates
from xedge.graph.ir import Activation, Add, Conv, Depthwise, Graph, Node

# The first convolutions may have this share of a network's multiply-accumulates. They have 2.5 % of MobileNet's and
# 3.6 % of EfficientNet-Lite0's.
MOST = 0.25


def front(graph: Graph) -> frozenset[str]:
    """Return the names of the nodes of the front, which may have none.

    These are normalizations of the photo. If the first convolution is followed by a depthwise one, these two and their
    activations belong to it as well, unless they are a large share of the network.

    Args:
        graph: The reference graph.
    """
    normalizations = list(_chain(graph, graph.input.name, normalizing=True))
    stem = _stem(graph, normalizations[-1].name if normalizations else graph.input.name)
    total = sum(multiply_accumulates(graph, node.name) for node in graph)
    share = sum(multiply_accumulates(graph, node.name) for node in stem) / max(1, total)
    return frozenset(node.name for node in (*normalizations, *(stem if share <= MOST else ())))


def _stem(graph: Graph, name: str) -> list[Node]:
    """Return the convolution that reads a tensor, the depthwise ones behind it, and their activations, or nothing."""
    conv = graph.sole_consumer(name)
    if not (isinstance(conv, Conv) and conv.groups == 1):
        return []
    stem = [conv, *_chain(graph, conv.name)]
    # A sum may read the same tensor, because it computes in float.
    readers = graph.consumers(stem[-1].name)
    depthwise = [node for node in readers if isinstance(node, Depthwise)]
    if not depthwise or not all(isinstance(node, Depthwise | Add) for node in readers):
        return []
    return [*stem, *depthwise, *(node for one in depthwise for node in _chain(graph, one.name))]


def _chain(graph: Graph, name: str, *, normalizing: bool = False) -> Iterator[Node]:
    """Yield the activations, or the normalizations, that follow a tensor one after another."""
    node = graph.sole_consumer(name)
    while isinstance(node, Depthwise if normalizing else Activation):
        if isinstance(node, Depthwise) and node.kernel.shape[:2] != (1, 1):
            return
        yield node
        node = graph.sole_consumer(node.name)
