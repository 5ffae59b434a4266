"""Find the concatenations that are the streams of a network, as sums are those of a residual network.

Each block of a DenseNet adds channels to a stream, and reads a batch normalization of it before its first product. Each
cell of a NASNet joins its sums, which later cells read after a ReLU. Rounded to eight bits, such a stream carries the
noise of one range for all of its channels into every later block. In float it costs no time on x86-64: the integers
that the products need are made after the normalization or the ReLU, where they were rounded anew in any case.
"""

from __future__ import annotations

from xedge.graph.ir import Activation, Add, Concat, Depthwise, Graph, Node


def concatenated_streams(graph: Graph) -> frozenset[str]:
    """Return the names of the concatenations whose readers round them anew.

    These readers are normalizations, other such concatenations and, if a sum is concatenated, activations.

    Args:
        graph: The reference graph, in which a batch normalization that follows no product is a depthwise convolution
            with one weight for each channel.
    """
    found = {node.name for node in graph if isinstance(node, Concat)}
    while others := {name for name in found if not _is_stream(graph, name, found)}:
        found -= others
    return frozenset(found)


def _is_stream(graph: Graph, name: str, streams: set[str]) -> bool:
    sums = any(isinstance(graph[source], Add) for source in graph[name].inputs)
    readers = graph.consumers(name)
    return bool(readers) and all(
        reader.name in streams or _normalizes(reader) or (sums and isinstance(reader, Activation)) for reader in readers
    )


def _normalizes(node: Node) -> bool:
    return isinstance(node, Depthwise) and node.kernel.shape[:2] == (1, 1)
