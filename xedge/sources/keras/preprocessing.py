"""What a Keras model suggests of the photos that it takes: how they were scaled, and their size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from xedge.graph.ir import Conv, Crop, Input, Node, Resize, Scale
from xedge.sources.keras.inference import takes_integers

# The largest value, in magnitude, that networks take for a photo that has been scaled.
SMALL = 16.0


class Trained(NamedTuple):
    """How the published weights of a network of Keras Applications were trained.

    Args:
        scheme: The preprocessing scheme.
        size: The height and width of the photos.
    """

    scheme: str
    size: int


# By how Keras names the model; the first that fits counts. Families that scale their input themselves are not here.
APPLICATIONS = {
    "xception": Trained("tf", 299),
    "inception_v3": Trained("tf", 299),
    "inception_resnet_v2": Trained("tf", 299),
    "mobilenet_": Trained("tf", 224),
    "mobilenetv2_": Trained("tf", 224),
    "nasnet_large": Trained("tf", 331),
    "nasnet": Trained("tf", 224),
    "densenet": Trained("torch", 224),
    "vgg": Trained("caffe", 224),
    "resnet50v2": Trained("tf", 224),
    "resnet101v2": Trained("tf", 224),
    "resnet152v2": Trained("tf", 224),
    "resnet50": Trained("caffe", 224),
    "resnet101": Trained("caffe", 224),
    "resnet152": Trained("caffe", 224),
}


def suggested_scheme(model: Any, nodes: Sequence[Node]) -> tuple[str, str] | None:
    """Return the preprocessing scheme that a model suggests, and why; None if nothing in it tells.

    Nothing in a Keras file says how the photos were scaled; a model that scales its own input takes raw pixels.

    Args:
        model: The Keras model.
        nodes: The nodes of its graph, the input first, in which each scale is a node of its own; those that could be
            read.
    """
    if takes_integers(model):
        return "raw", "the model takes integers"
    if nodes and takes_raw_pixels(nodes):
        return "raw", "the model scales its input itself"
    for name in _names(model):
        if (known := _trained(name)) is not None:
            return known.scheme, f"as Keras Applications' {name} was trained"
    return None


def suggested_size(model: Any) -> tuple[tuple[int, int], str] | None:
    """Return the height and width of photos for a model that takes any size, and why; None if nothing in it tells.

    Args:
        model: The Keras model.
    """
    for layer in model._flatten_layers():
        if type(layer).__name__ in ("Resizing", "CenterCrop"):
            return (int(layer.height), int(layer.width)), f"to which {layer.name} brings them"
    for name in _names(model):
        if (known := _trained(name)) is not None:
            return (known.size, known.size), f"as Keras Applications' {name} was trained"
    return None


def _names(model: Any) -> list[str]:
    """The names of a model and of the models inside it."""
    return [one.name for one in model._flatten_layers() if isinstance(one, keras.Model)]


def _trained(name: str) -> Trained | None:
    return next((known for start, known in APPLICATIONS.items() if name.lower().startswith(start)), None)


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
