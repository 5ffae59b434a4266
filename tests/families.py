"""The families of Keras Applications with random weights and the statistics of real photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from PIL import Image

from tests.ridge import fitted_head
from xedge.photos.preprocess import scheme
from xedge.types import FloatArray, IntArray, UInt8Array

CLASSES = 10
# The photos that fix the statistics of normalizations.
WARMING = 32


@dataclass(frozen=True, kw_only=True)
class Family:
    """A network of Keras Applications.

    Args:
        preprocess: The preprocessing scheme of its published weights.
        size: The height and width of photos, as small as the network means something at.
        quick: Whether it is built and read in a few seconds.
    """

    preprocess: str
    size: int = 96
    quick: bool = False


FAMILIES = {
    "MobileNet": Family(preprocess="tf", quick=True),
    "MobileNetV2": Family(preprocess="tf", quick=True),
    "MobileNetV3Small": Family(preprocess="raw", quick=True),
    "MobileNetV3Large": Family(preprocess="raw"),
    "EfficientNetB0": Family(preprocess="raw"),
    "EfficientNetV2B0": Family(preprocess="raw"),
    "EfficientNetV2S": Family(preprocess="raw"),
    "VGG16": Family(preprocess="caffe", size=64),
    "VGG19": Family(preprocess="caffe", size=64),
    "ResNet50": Family(preprocess="caffe", quick=True),
    "ResNet101": Family(preprocess="caffe"),
    "ResNet50V2": Family(preprocess="tf"),
    "DenseNet121": Family(preprocess="torch"),
    "Xception": Family(preprocess="tf", quick=True),
    "InceptionV3": Family(preprocess="tf"),
    "InceptionResNetV2": Family(preprocess="tf"),
    "NASNetMobile": Family(preprocess="tf"),
    "ConvNeXtTiny": Family(preprocess="raw"),
}


def prepared(name: str, pixels: UInt8Array) -> FloatArray:
    """Return photos as a family takes them.

    Args:
        name: The family.
        pixels: Photos (N, height, width, 3) of any size.
    """
    family = FAMILIES[name]
    size = (family.size, family.size)
    resized = np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR)) for one in pixels])
    return scheme(family.preprocess, *size, 3).scaled(resized)


def network(name: str, photos: FloatArray, truth: IntArray) -> Any:
    """Return a network of a family whose normalizations know real photos, with a head that was fitted to them.

    The body has random weights, drawn with a seed. The statistics of each normalization are those of the photos.
    The head is fitted to the body's features, so that answers have margins as those of a trained network have.

    Args:
        name: The family.
        photos: Prepared photos (N, size, size, 3).
        truth: The class (N,) of each photo.
    """
    keras.utils.set_random_seed(7)
    size = FAMILIES[name].size
    body = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), include_top=False, pooling="avg"
    )
    normalizations = [one for one in body._flatten_layers() if isinstance(one, keras.layers.BatchNormalization)]
    for layer in normalizations:
        layer.momentum = 0.0
    if normalizations:
        body(photos[:WARMING], training=True)
    features = np.concatenate(
        [np.asarray(body(photos[at : at + 16], training=False)) for at in range(0, len(photos), 16)]
    )
    head = keras.layers.Dense(CLASSES, activation="softmax", name="head")
    model = keras.Model(body.input, head(body.output), name=body.name)
    head.set_weights(list(fitted_head(features, truth, CLASSES)))
    return model
