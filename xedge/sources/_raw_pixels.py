"""Find out whether a model scales its own input, by the nodes behind it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from xedge.graph.ir import Conv, Crop, Input, Node, Resize, Scale

# The largest value, in magnitude, that networks take for a photo that has been scaled.
SMALL = 16.0


def takes_raw_pixels(nodes: Iterable[Node]) -> bool:
    """Return whether what a model does to its input, before it computes anything from it, fits pixels of 0 to 255.

    It follows the photo through scales and through nodes that only move values, and looks at what becomes of black and
    white. Scales that bring them below 16 (x / 127.5 - 1), or that take away the mean of raw pixels (x - 103.9), are
    those of a model for raw pixels. A scale that leaves values of 0 to 1 small (2 x - 1) or one that stands elsewhere
    in the network says nothing.
    """
    ranges: dict[str, tuple[float, float]] = {}
    found = False
    for node in nodes:
        if isinstance(node, Input):
            ranges[node.name] = 0.0, 255.0
        if not node.inputs or any(name not in ranges for name in node.inputs):
            continue
        low, high = ranges[node.inputs[0]]
        if isinstance(node, Scale):
            ends = np.concatenate([node.factor * low + node.offset, node.factor * high + node.offset])
            ranges[node.name] = float(ends.min()), float(ends.max())
            low, high = ranges[node.name]
            found = found or low <= -SMALL or high <= SMALL
        elif node.moves_values or isinstance(node, Crop | Resize) or _reorders_channels(node):
            ranges[node.name] = low, high
    return found


def _reorders_channels(node: Node) -> bool:
    """Whether a node is a convolution that only puts the channels in another order."""
    if not isinstance(node, Conv) or node.kernel.shape[:2] != (1, 1) or node.bias.any():
        return False
    return bool(((node.kernel == 0) | (node.kernel == 1)).all() and (node.kernel.sum(axis=2) == 1).all())
