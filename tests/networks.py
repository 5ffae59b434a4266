"""Small networks of every kind that conversion has to hold, with weights that make outputs differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from xedge.models.xception import XceptionConfig, xception


def xception_variant(**changes: Any) -> Any:
    config = {"input_shape": (75, 71, 3), "classes": 7, "width_multiplier": 0.125, "middle_blocks": 1, **changes}
    return xception(XceptionConfig(**config))


def one_channel() -> Any:
    """Odd-sized, not square, one channel, logits."""
    return keras.Sequential(
        [
            keras.Input((45, 33, 1)),
            layers.Conv2D(8, 5, strides=2, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Conv2D(12, 3, dilation_rate=2, activation="tanh"),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(4),
        ],
        name="one_channel",
    )


def transfer() -> Any:
    """What a transfer-learning tutorial makes: augmentation, scaling, a nested base, a head."""
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3), alpha=0.35)
    photo = keras.Input((64, 64, 3))
    x = layers.RandomFlip("horizontal")(photo)
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = base(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(photo, layers.Dense(3, activation="softmax")(x), name="transfer")


def activations() -> Any:
    """Every non-linearity of the set, a gate as in squeeze-and-excitation, and pools of both kinds."""
    photo = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(photo)
    for kind in ("relu6", "silu", "hard_silu", "elu", "gelu", "leaky_relu", "sigmoid", "tanh"):
        x = layers.Conv2D(8, 3, padding="same", activation=kind, name=f"conv_{kind}")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8, 1, activation="hard_sigmoid")(gate)
    x = layers.Multiply()([x, gate])
    x = layers.LeakyReLU(negative_slope=0.1)(x)
    x = layers.AveragePooling2D(2, padding="same")(layers.ZeroPadding2D(((0, 1), (1, 0)))(x))
    x = layers.Concatenate()([layers.MaxPooling2D(3, strides=1, padding="same")(x), x])
    x = layers.Conv2D(8, 3, groups=2, padding="same")(x)
    x = layers.GlobalMaxPooling2D()(x)
    return keras.Model(photo, layers.Dense(5, activation="softmax")(x), name="activations")


def applications(name: str) -> Any:
    return getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3), classes=7)


NETWORKS: dict[str, Callable[[], Any]] = {
    "xception": xception_variant,
    "xception_pointwise_first": lambda: xception_variant(order="pointwise_first"),
    "xception_relu_between": lambda: xception_variant(intermediate="relu"),
    "xception_elu_between": lambda: xception_variant(order="pointwise_first", intermediate="elu"),
    "xception_ordinary": lambda: xception_variant(convolution="ordinary"),
    "xception_no_residual": lambda: xception_variant(residual=False, classifier_activation="linear"),
    "inception_v3": lambda: applications("InceptionV3"),
    "resnet50": lambda: applications("ResNet50"),
    "one_channel": one_channel,
    "transfer": transfer,
    "activations": activations,
}


def network(name: str) -> Any:
    """Build a network whose batch normalizations have the statistics of noise: trained ones have their data's."""
    keras.utils.set_random_seed(0)
    model = NETWORKS[name]()
    normalizations = [layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization)]
    for layer in normalizations:
        layer.momentum = 0.0
        # Filters of their own scales, so that folding and scales per channel have something to do.
        layer.beta.assign(keras.random.normal(layer.beta.shape, stddev=0.1))
    high = 255.0 if name == "transfer" else 1.0
    for _ in normalizations[:1]:
        model(keras.random.uniform((16, *model.input_shape[1:]), -1.0, high), training=True)
    return model


def photos_for(model: Any, pixels: np.ndarray) -> np.ndarray:
    """Real photos as (N, H, W, C) float32 in the model's shape: [0, 255] where it scales itself, else [-1, 1]."""
    from PIL import Image

    height, width, channels = model.input_shape[1:]
    mode = "L" if channels == 1 else "RGB"
    images = [Image.fromarray(p).convert(mode).resize((width, height)) for p in pixels]
    values = np.stack([np.asarray(i, np.float32).reshape(height, width, channels) for i in images])
    return values if model.name == "transfer" else values / 127.5 - 1
