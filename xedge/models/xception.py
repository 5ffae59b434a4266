"""The reference Xception: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017, figure 5.

With the default configuration the network has the layers, the names and the weight order of
``keras.applications.Xception``, so weights of either load into the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import layers

Order = Literal["depthwise_first", "pointwise_first"]
Intermediate = Literal["none", "relu", "elu"]
Convolution = Literal["separable", "ordinary"]


@dataclass(frozen=True, kw_only=True)
class XceptionConfig:
    """What can be chosen about the network; the defaults give the published network.

    Args:
        input_shape: The height, the width (each at least 71) and the number of channels of a photo.
        classes: The number of classes.
        width_multiplier: The factor on every channel count, which is then rounded to a multiple of 8.
        middle_blocks: The number of times that the middle flow's block is repeated.
        order: The order of the two steps: depthwise then pointwise (Xception), or pointwise then depthwise (Inception).
        intermediate: The non-linearity between the two steps; the paper's section 4.7 finds that none is best.
        residual: Whether the network has residual connections.
        convolution: Separable convolutions, or an ordinary 3x3 convolution in place of each of them.
        classifier_activation: The last activation: ``softmax`` for probabilities, ``linear`` for logits.
    """

    input_shape: tuple[int, int, int] = (299, 299, 3)
    classes: int = 1000
    width_multiplier: float = 1.0
    middle_blocks: int = 8
    order: Order = "depthwise_first"
    intermediate: Intermediate = "none"
    residual: bool = True
    convolution: Convolution = "separable"
    classifier_activation: Literal["softmax", "linear"] = "softmax"

    def __post_init__(self) -> None:
        height, width, channels = self.input_shape
        if min(height, width) < 71:
            raise ValueError(f"input_shape: Xception needs at least 71x71 pixels, got {height}x{width}")
        if channels < 1 or self.classes < 1 or self.middle_blocks < 0 or self.width_multiplier <= 0:
            raise ValueError("channels and classes must be positive, middle_blocks not negative, width_multiplier > 0")
        if self.convolution == "ordinary" and (self.order, self.intermediate) != ("depthwise_first", "none"):
            raise ValueError("order and intermediate describe separable convolutions; an ordinary one has neither")

    def channels(self, published: int) -> int:
        """Return the published channel count times the width multiplier, as a multiple of 8."""
        return max(8, int(published * self.width_multiplier + 4) // 8 * 8)


def xception(config: XceptionConfig | None = None) -> keras.Model:
    """Build the network with fresh weights.

    Returns:
        A model from photos (N, height, width, channels) float32 in [-1, 1] to (N, classes) float32.
    """
    config = config or XceptionConfig()
    photo = keras.Input(config.input_shape)
    x = entry_flow(photo, config)
    x = middle_flow(x, config)
    x = exit_flow(x, config)
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    output = layers.Dense(config.classes, activation=config.classifier_activation, name="predictions")(x)
    return keras.Model(photo, output, name="xception")


def entry_flow(x: Any, config: XceptionConfig) -> Any:
    """Return the entry flow: two ordinary convolutions and three blocks that each halve the resolution."""
    for index, (published, strides) in enumerate(((32, 2), (64, 1)), start=1):
        name = f"block1_conv{index}"
        x = layers.Conv2D(config.channels(published), 3, strides=strides, use_bias=False, name=name)(x)
        x = _normalized(x, name)
        x = layers.Activation("relu", name=f"{name}_act")(x)
    for block, published in ((2, 128), (3, 256), (4, 728)):
        widths = (config.channels(published),) * 2
        # The first block follows a ReLU already, so its first convolution has none before it.
        x = _downsampling_block(x, config, f"block{block}", widths, leading_relu=block != 2)
    return x


def middle_flow(x: Any, config: XceptionConfig) -> Any:
    """Return the middle flow: a block of three separable convolutions with a residual connection, repeated."""
    for index in range(config.middle_blocks):
        shortcut, prefix = x, f"block{5 + index}"
        for step in (1, 2, 3):
            name = f"{prefix}_sepconv{step}"
            x = layers.Activation("relu", name=f"{name}_act")(x)
            x = _convolution(x, config, config.channels(728), name)
            x = _normalized(x, name)
        if config.residual:
            x = layers.add([x, shortcut])
    return x


def exit_flow(x: Any, config: XceptionConfig) -> Any:
    """Return the exit flow: one downsampling block, then two wide separable convolutions."""
    first, last = f"block{5 + config.middle_blocks}", f"block{6 + config.middle_blocks}"
    x = _downsampling_block(x, config, first, (config.channels(728), config.channels(1024)), leading_relu=True)
    for step, published in ((1, 1536), (2, 2048)):
        name = f"{last}_sepconv{step}"
        x = _convolution(x, config, config.channels(published), name)
        x = _normalized(x, name)
        x = layers.Activation("relu", name=f"{name}_act")(x)
    return x


def _downsampling_block(
    x: Any, config: XceptionConfig, prefix: str, widths: tuple[int, int], *, leading_relu: bool
) -> Any:
    shortcut = None
    if config.residual:
        shortcut = layers.Conv2D(widths[-1], 1, strides=2, padding="same", use_bias=False)(x)
        shortcut = layers.BatchNormalization()(shortcut)
    for step, width in enumerate(widths, start=1):
        name = f"{prefix}_sepconv{step}"
        if leading_relu or step > 1:
            x = layers.Activation("relu", name=f"{name}_act")(x)
        x = _convolution(x, config, width, name)
        x = _normalized(x, name)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{prefix}_pool")(x)
    return x if shortcut is None else layers.add([x, shortcut])


def _convolution(x: Any, config: XceptionConfig, filters: int, name: str) -> Any:
    """The 3x3 convolution that the configuration asks for, stride 1, same padding, no bias."""
    if config.convolution == "ordinary":
        return layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
    if (config.order, config.intermediate) == ("depthwise_first", "none"):
        return layers.SeparableConv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
    depthwise = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")
    pointwise = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_pointwise")
    first, second = (depthwise, pointwise) if config.order == "depthwise_first" else (pointwise, depthwise)
    x = first(x)
    if config.intermediate != "none":
        x = layers.Activation(config.intermediate, name=f"{name}_intermediate")(x)
    return second(x)


def _normalized(x: Any, name: str) -> Any:
    return layers.BatchNormalization(name=f"{name}_bn")(x)
