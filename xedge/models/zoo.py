"""Built-in names: the reference Xception, and two networks of Keras Applications to compare it with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from xedge.errors import InputError, parameter
from xedge.models.xception import xception
from xedge.vocabulary import BUILT_IN

# Where Keras Applications publishes its ImageNet weights.
PUBLISHED = "https://storage.googleapis.com/tensorflow/keras-applications"
FILE = "weights_tf_dim_ordering_tf_kernels.h5"


@dataclass(frozen=True, kw_only=True)
class Network:
    """How to build a network without weights, and where its published weights are."""

    build: Callable[[], Any]
    published: str


NETWORKS = {
    "xception": Network(build=xception, published=f"{PUBLISHED}/xception/xception_{FILE}"),
    "inception_v3": Network(
        build=lambda: keras.applications.InceptionV3(weights=None),
        published=f"{PUBLISHED}/inception_v3/inception_v3_{FILE}",
    ),
    "resnet50": Network(
        build=lambda: keras.applications.ResNet50(weights=None),
        published=f"{PUBLISHED}/resnet/resnet50_{FILE}",
    ),
}
assert set(NETWORKS) == set(BUILT_IN)


def build(name: str, weights: str) -> Any:
    """Return a built-in network with weights.

    Args:
        name: one of ``BUILT_IN``.
        weights: ``imagenet`` for the published ones (downloaded), or a file.

    Raises:
        InputError: the weights cannot be had or do not fit.
    """
    network = NETWORKS[name]
    file = _download(network.published) if weights == "imagenet" else Path(weights)
    model = network.build()
    load_weights(model, file)
    return model


def load_weights(model: Any, file: Path) -> None:
    """Load weights from ``.weights.h5``, ``.keras`` or the published ``.h5`` layout into a model of the same layers.

    Raises:
        InputError: the file is missing, unreadable, or of another network.
    """
    if not file.is_file():
        raise InputError(
            f"{file}: there is no such file of weights; give {parameter('weights')} imagenet, or a .weights.h5, "
            ".keras or .h5 file"
        )
    try:
        with warnings.catch_warnings():  # what Keras warns of before it fails is in the error
            warnings.simplefilter("ignore")
            if file.suffix == ".keras":
                model.set_weights(keras.models.load_model(file, compile=False).get_weights())
            else:
                model.load_weights(file)
    except (ValueError, OSError, KeyError, IndexError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{file}: these weights do not fit {model.name} ({reason}); give those of this network"
        ) from error


def _download(url: str) -> Path:
    try:
        return Path(keras.utils.get_file(url.rsplit("/", 1)[1], url, cache_subdir="models"))
    except Exception as error:  # Keras raises a bare Exception with the URL in it
        raise InputError(
            f"{url}: cannot be downloaded ({_cause(error)}); fetch it elsewhere and give the file as "
            f"{parameter('weights')}"
        ) from error


def _cause(error: Exception) -> str:
    return str(error).strip().splitlines()[0].removeprefix("URL fetch failure on ").rsplit(": ", 1)[-1]
