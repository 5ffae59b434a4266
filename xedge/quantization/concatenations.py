"""Find the concatenations whose results every reader normalizes first, as DenseNet's do.

Such a concatenation is to DenseNet what a sum is to a residual network: a stream to which each block adds channels, and
of which each block reads a batch normalization before its first product. Rounded to eight bits, the stream carries the
noise of one range for all of its channels into every later block. In float it costs no time on x86-64: the integers
that the products need are made after the normalization, where they were rounded anew in any case.
"""

from __future__ import annotations

from xedge.graph.ir import Concat, Depthwise, Graph, Node


def concatenated_streams(graph: Graph) -> frozenset[str]:
    """Return the names of the concatenations that only normalizations and other such concatenations read.

    Args:
        graph: The reference graph, in which a batch normalization that follows no product is a depthwise convolution
            with one weight for each channel.
    """
    found = {node.name for node in graph if isinstance(node, Concat)}
    while others := {name for name in found if not _is_stream(graph, name, found)}:
        found -= others
    return frozenset(found)


def _is_stream(graph: Graph, name: str, streams: set[str]) -> bool:
    readers = graph.consumers(name)
    return bool(readers) and all(reader.name in streams or _normalizes(reader) for reader in readers)


def _normalizes(node: Node) -> bool:
    return isinstance(node, Depthwise) and node.kernel.shape[:2] == (1, 1)
