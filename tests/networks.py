"""Small networks of every kind that conversion has to hold, with weights that make outputs differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import layers

from xedge.graph.ir import Graph
from xedge.models.compact import embedded
from xedge.models.xception import XceptionConfig, xception
from xedge.sources.keras.layers import read_keras
from xedge.types import FloatArray, UInt8Array

# Small weights, so that non-linearities in a row stay where they bend.
SMALL = keras.initializers.RandomNormal(stddev=0.1, seed=2)


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


def padded() -> Any:
    """The beginning of a ResNet: padding in a layer of its own, with a normalization behind its convolution."""
    photo = keras.Input((40, 40, 3))
    x = layers.ZeroPadding2D(3, name="conv1_pad")(photo)
    x = layers.Conv2D(8, 7, strides=2, name="conv1_conv")(x)
    x = layers.ReLU(name="conv1_relu")(layers.BatchNormalization(name="conv1_bn")(x))
    x = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(x))
    x = layers.Add()([layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x), x])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(photo, layers.Dense(5, activation="softmax", name="predictions")(x), name="padded")


def arithmetic() -> Any:
    """Operators and ``keras.ops`` between layers: constants, broadcasts, merges, channels in reverse, reductions."""
    photo = keras.Input((32, 32, 3))
    x = photo[..., ::-1] - np.array([0.1, -0.05, 0.2], np.float32)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(1 - x / 2)
    y = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.Average()([x, layers.Maximum()([x, y]), layers.Minimum()([x, y])])
    x = layers.Subtract()([x, 0.5 * y]) / keras.ops.sqrt(keras.ops.square(y) + 1.0)
    spatial = layers.Concatenate()(
        [keras.ops.mean(x, axis=-1, keepdims=True), keras.ops.max(x, axis=-1, keepdims=True)]
    )
    x = x * layers.Conv2D(1, 5, padding="same", activation="sigmoid")(spatial)
    gate = layers.Dense(8, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    x = x * layers.Reshape((1, 1, 8))(gate)
    x = keras.ops.abs(keras.ops.relu6(x) + np.linspace(-1, 1, 8, dtype=np.float32))
    x = keras.ops.relu(2 * keras.ops.mean(x, axis=(1, 2)) - 0.5)
    return keras.Model(photo, layers.Dense(5)(x), name="arithmetic")


def resampling() -> Any:
    """Photos and tensors that are cropped, resized, enlarged and put side by side."""
    photo = keras.Input((36, 30, 3))
    x = layers.CenterCrop(32, 28)(photo)
    x = layers.Resizing(24, 24, interpolation="bilinear")(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(6, 2, strides=2)(layers.MaxPooling2D(2)(x))
    x = layers.Cropping2D(((1, 2), (0, 3)))(x)
    x = layers.Concatenate(axis=1)([x, layers.Conv2D(6, 1)(x)])
    x = layers.UpSampling2D((1, 2), interpolation="nearest")(layers.Conv2D(8, 3, strides=2)(x))
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.Conv2D(8, 3, strides=2)(x)
    return keras.Model(photo, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)), name="resampling")


def normalizations() -> Any:
    """A ConvNeXt block, and the normalizations over channels and groups."""
    photo = keras.Input((32, 32, 3))
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(16, 4, strides=4)(photo))
    y = layers.LayerNormalization(epsilon=1e-6)(layers.DepthwiseConv2D(7, padding="same")(x))
    y = layers.Dense(16)(layers.Dense(64, activation="gelu")(y))
    x = layers.Add()([x, y * np.full(16, 0.3, np.float32)])
    x = layers.Conv2D(16, 3, activation="silu")(layers.GroupNormalization(groups=4)(x))
    x = layers.LayerNormalization()(layers.GlobalAveragePooling2D()(layers.UnitNormalization()(x)))
    return keras.Model(photo, layers.Dense(5)(x), name="normalizations")


def attention() -> Any:
    """A block of a vision transformer and one of a mixer, written with ``keras.ops``."""
    photo = keras.Input((32, 32, 3))
    x = layers.Reshape((64, 16))(layers.Conv2D(16, 4, strides=4)(photo))
    heads = keras.ops.reshape(layers.Dense(48)(layers.LayerNormalization()(x)), (-1, 64, 3, 2, 8))
    query, key, value = (keras.ops.transpose(heads[:, :, at], (0, 2, 1, 3)) for at in range(3))
    shares = keras.ops.softmax(keras.ops.matmul(query * 0.35, keras.ops.transpose(key, (0, 1, 3, 2))))
    mixed = keras.ops.transpose(keras.ops.matmul(shares, value), (0, 2, 1, 3))
    x = x + layers.Dense(16)(keras.ops.reshape(mixed, (-1, 64, 16)))
    y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
    x = x + layers.Permute((2, 1))(layers.Dense(64)(layers.Dense(32, activation="gelu")(y)))
    return keras.Model(photo, layers.Dense(5)(layers.GlobalAveragePooling1D()(x)), name="attention")


def curves() -> Any:
    """The non-linearities that no format has in one operator, and those with parameters of their own."""
    photo = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="mish")(photo)
    for kind in ("selu", "softplus", "softsign", "hard_tanh", "exponential"):
        x = layers.Conv2D(8, 3, padding="same", activation=kind, kernel_initializer=SMALL)(x)
    slopes = keras.initializers.RandomUniform(0.05, 0.4, seed=3)
    x = layers.PReLU(shared_axes=(1, 2), alpha_initializer=slopes)(layers.Conv2D(8, 3)(x))
    x = layers.ReLU(max_value=3.0, negative_slope=0.1)(layers.Conv2D(8, 3)(x))
    x = layers.ELU(alpha=0.4)(layers.Conv2D(8, 3)(x))
    x = layers.PReLU()(layers.GlobalAveragePooling2D()(x))
    return keras.Model(photo, layers.Dense(5)(x), name="curves")


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
    "padded": padded,
    "one_channel": one_channel,
    "transfer": transfer,
    "activations": activations,
    "arithmetic": arithmetic,
    "resampling": resampling,
    "normalizations": normalizations,
    "curves": curves,
    "attention": attention,
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


@cache
def known(name: str) -> tuple[Any, Graph]:
    """Return a network and its graph, which are built once for tests that leave them as they are."""
    model = network(name)
    return model, read_keras(model)


def real_photos(count: int) -> UInt8Array:
    """Embedded photos (count, 128, 128, 3) uint8, of different classes."""
    from PIL import Image

    files = embedded.test_photos().files
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files[:: len(files) // count][:count]])


def photos_for(model: Any, pixels: UInt8Array) -> FloatArray:
    """Real photos as (N, H, W, C) float32 in the model's shape: [0, 255] where it scales itself, else [-1, 1]."""
    from PIL import Image

    height, width, channels = model.input_shape[1:]
    mode = "L" if channels == 1 else "RGB"
    images = [Image.fromarray(p).convert(mode).resize((width, height)) for p in pixels]
    values = np.stack([np.asarray(i, np.float32).reshape(height, width, channels) for i in images])
    return values if model.name == "transfer" else values / 127.5 - 1
