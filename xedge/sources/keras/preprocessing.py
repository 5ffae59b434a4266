"""What a Keras model suggests of the photos that it takes: how they were scaled, and their size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from xedge.graph.ir import Node
from xedge.sources._raw_pixels import takes_raw_pixels
from xedge.sources.keras.inference import takes_integers


class Trained(NamedTuple):
    """How the published weights of a network of Keras Applications were trained.

    Args:
        scheme: The preprocessing scheme.
        size: The height and width of the photos.
    """

    scheme: str
    size: int


# The names that Keras Applications gives its networks, as patterns. A network of somebody's own may begin with the same
# letters, so whole names count. Families that scale their input themselves are not here.
APPLICATIONS = {
    r"xception|inception_v3|inception_resnet_v2": Trained("tf", 299),
    r"mobilenet(v2)?_\d\.\d\d_(\d+|None)": Trained("tf", 224),
    r"nasnet_large": Trained("tf", 331),
    r"nasnet_mobile": Trained("tf", 224),
    r"densenet(121|169|201)": Trained("torch", 224),
    r"vgg(16|19)": Trained("caffe", 224),
    r"resnet(50|101|152)v2": Trained("tf", 224),
    r"resnet(50|101|152)": Trained("caffe", 224),
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
        if not isinstance(layer, keras.Model) and layer.trainable_variables:
            break  # a Resizing behind layers with weights resizes no photos
    for name in _names(model):
        if (known := _trained(name)) is not None:
            return (known.size, known.size), f"as Keras Applications' {name} was trained"
    return None


def _names(model: Any) -> list[str]:
    """The names of a model and of the models inside it."""
    return [one.name for one in model._flatten_layers() if isinstance(one, keras.Model)]


def _trained(name: str) -> Trained | None:
    return next((known for pattern, known in APPLICATIONS.items() if re.fullmatch(pattern, name)), None)
