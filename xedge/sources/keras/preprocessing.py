"""What a Keras model suggests of the photos that it takes: how they were scaled, and their size."""

from __future__ import annotations

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
