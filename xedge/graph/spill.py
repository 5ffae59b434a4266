"""Keep the kernels of a graph in a file, so that the system can drop them from memory while no stage reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from xedge.graph.ir import Graph, Node, Weighted
from xedge.memory import mapped

ALIGNMENT = 64


def spilled(graph: Graph, file: Path) -> Graph:
    """Return an equivalent graph whose kernels are read-only views of a file, in the order that they had in memory.

    Args:
        graph: The graph.
        file: The file that is written; it must exist as long as the new graph is used.
    """
    places: dict[str, int] = {}
    with file.open("wb") as out:
        for node in graph:
            if isinstance(node, Weighted):
                places[node.name] = out.seek(-out.tell() % ALIGNMENT, 1)
                out.write(np.ascontiguousarray(node.kernel.transpose(_order(node.kernel))).data)
        out.write(bytes(ALIGNMENT))  # An empty file cannot be mapped.
    values = mapped(file)
    changed: dict[str, Node] = {}
    for node in graph:
        if isinstance(node, Weighted):
            order, start = _order(node.kernel), places[node.name]
            stored = values[start : start + node.kernel.nbytes].view(np.float32)
            shape = [node.kernel.shape[axis] for axis in order]
            changed[node.name] = replace(node, kernel=stored.reshape(shape).transpose(np.argsort(order)))
    return graph.rewritten(changed)


def _order(kernel: np.ndarray) -> list[int]:
    """Return the axes in the order of the memory, from the slowest-varying to the fastest-varying."""
    return sorted(range(kernel.ndim), key=lambda axis: -kernel.strides[axis])
