"""Small classifiers with one popular construct each, as people write them: heads, preprocessing, attention, shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

SIZE = (32, 32, 3)
CLASSES = 5
Wrapped = Callable[[Any], Any]


@keras.saving.register_keras_serializable("popular")
class Gate(layers.Layer):  # type: ignore[misc]
    """A layer of one's own, made of Keras' operations, variables and another layer."""

    def build(self, shape: Any) -> None:
        self.weight = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="weight")
        self.inner = layers.Dense(shape[-1], activation="sigmoid")
        self.inner.build((None, shape[-1]))

    def call(self, x: Any, training: bool | None = None) -> Any:
        scale = 10.0 if training else 1.0
        return x * self.inner(ops.mean(x, axis=(1, 2)))[:, None, None, :] * scale + self.weight


@keras.saving.register_keras_serializable("popular")
class Subclassed(keras.Model):  # type: ignore[misc]
    """A subclassed model, whose layers are called in ``call``."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.conv = layers.Conv2D(8, 3, strides=2, activation="relu")
        self.normalized = layers.BatchNormalization()
        self.dropped = layers.Dropout(0.5)
        self.head = layers.Dense(CLASSES, activation="softmax")

    def call(self, x: Any, training: bool | None = None) -> Any:
        x = self.normalized(self.conv(x), training=training)
        return self.head(self.dropped(ops.mean(x, axis=[1, 2]), training=training))


def _body(x: Any, channels: int = 8) -> Any:
    return layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu")(x)


def _end(x: Any) -> Any:
    return layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def start(construct: Wrapped) -> Callable[[], Any]:
    """Return a builder of a model that does something to its photo first."""

    def build() -> Any:
        photo = keras.Input(SIZE)
        return keras.Model(photo, _end(_body(construct(photo))))

    return build


def middle(construct: Wrapped) -> Callable[[], Any]:
    """Return a builder of a model with a construct between its convolutions."""

    def build() -> Any:
        photo = keras.Input(SIZE)
        return keras.Model(photo, _end(layers.Conv2D(8, 3)(construct(_body(photo)))))

    return build


def head(construct: Wrapped) -> Callable[[], Any]:
    """Return a builder of a model that ends in a construct."""

    def build() -> Any:
        photo = keras.Input(SIZE)
        return keras.Model(photo, construct(_body(photo)))

    return build


def _sequential(*parts: Any) -> Callable[[], Any]:
    return lambda: keras.Sequential([keras.Input(SIZE), *(part() for part in parts)])


def _squeeze_and_excitation(x: Any) -> Any:
    gate = layers.Dense(4, activation="relu")(layers.GlobalAveragePooling2D()(x))
    gate = layers.Reshape((1, 1, 8))(layers.Dense(8, activation="sigmoid")(gate))
    return layers.Multiply()([x, gate])


def _gate_without_dimensions(x: Any) -> Any:
    return layers.Multiply()([x, layers.Dense(8, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))])


def _efficient_channel_attention(x: Any) -> Any:
    gate = layers.Reshape((8, 1))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv1D(1, 3, padding="same", use_bias=False)(gate)
    gate = layers.Activation("sigmoid")(layers.Reshape((1, 1, 8))(gate))
    return layers.Multiply()([x, gate])


def _cbam(x: Any) -> Any:
    shared = [layers.Dense(4, activation="relu"), layers.Dense(8)]
    pooled = [layers.GlobalAveragePooling2D(keepdims=True)(x), layers.GlobalMaxPooling2D(keepdims=True)(x)]
    gate = layers.Add()([shared[1](shared[0](one)) for one in pooled])
    x = layers.Multiply()([x, layers.Activation("sigmoid")(gate)])
    maps = [ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)]
    spatial = layers.Conv2D(1, 7, padding="same", activation="sigmoid")(layers.Concatenate()(maps))
    return layers.Multiply()([x, spatial])


def _softmax_inside(x: Any) -> Any:
    return layers.Multiply()([x, layers.Softmax()(layers.Conv2D(8, 1)(x))])


def _selective_kernel(x: Any) -> Any:
    branches = [layers.Conv2D(8, 3, padding="same")(x), layers.Conv2D(8, 5, padding="same")(x)]
    mean = layers.GlobalAveragePooling2D(keepdims=True)(layers.Add()(branches))
    weights = layers.Softmax()(layers.Conv2D(8, 1)(mean))
    return branches[0] * weights + branches[1] * (1 - weights)


def _inverted_residual(x: Any) -> Any:
    y = layers.Conv2D(24, 1, use_bias=False)(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    return layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(y))])


def _attention_of_positions(x: Any) -> Any:
    positions = layers.Reshape((256, 8))(x)
    query, key, value = (layers.Dense(8)(positions) for _ in range(3))
    shares = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))))
    return x + layers.Reshape((16, 16, 8))(ops.matmul(shares, value))


def _scaled_residual(x: Any) -> Any:
    return layers.Add()([x, layers.Rescaling(0.2)(layers.Conv2D(8, 3, padding="same")(x))])


def _dense_block(x: Any) -> Any:
    for _ in range(2):
        y = layers.Conv2D(4, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(x)))
        x = layers.Concatenate()([x, y])
    return x


def _augmented(x: Any) -> Any:
    layers_of_one = [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.1),
        keras.Sequential([layers.RandomZoom(0.2), layers.RandomContrast(0.1), layers.RandomTranslation(0.1, 0.1)]),
        layers.RandomBrightness(0.1),
        layers.GaussianNoise(0.1),
    ]
    return keras.Sequential(layers_of_one)(x)


def _newer_augmentation(x: Any) -> Any:
    for layer in (
        layers.RandAugment(),
        layers.AugMix(),
        layers.RandomErasing(),
        layers.RandomHue(0.1, (0, 255)),
        layers.RandomSaturation(0.5, (0, 255)),
        layers.RandomColorJitter((0, 255), 0.1, 0.1, 0.1, 0.1),
        layers.RandomGrayscale(),
        layers.RandomPosterization(4),
        layers.RandomSharpness(0.5),
        layers.RandomPerspective(),
        layers.RandomGaussianBlur(),
        layers.RandomElasticTransform(),
        layers.RandomInvert(),
    ):
        x = layer(x)
    return x


def _tutorial_base(x: Any) -> Any:
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=SIZE, alpha=0.35)
    return base(x, training=False)


def _hard_swish_by_hand(x: Any) -> Any:
    return x * ops.relu6(x + 3.0) * (1.0 / 6.0)


def _hard_sigmoid_by_layers(x: Any) -> Any:
    gate = layers.Rescaling(1 / 6.0)(layers.ReLU(6.0)(layers.Rescaling(1.0, 3.0)(x)))
    return layers.Multiply()([gate, x])


def _tokens(x: Any) -> Any:
    x = layers.Reshape((-1, 8))(x)
    x = layers.Dense(6, activation="gelu")(layers.LayerNormalization()(x))
    return layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling1D()(x))


def _ensemble(x: Any) -> Any:
    return layers.Average()([_end(x), _end(layers.Conv2D(8, 3)(x))])


def _temperature(x: Any) -> Any:
    return layers.Softmax()(layers.Dense(CLASSES)(layers.Flatten()(x)) / 2.5)


def _called_twice(x: Any) -> Any:
    shared = layers.Conv2D(8, 3, padding="same")
    return shared(shared(x))


def _l2_head(x: Any) -> Any:
    x = layers.UnitNormalization()(layers.GlobalAveragePooling2D()(x))
    return layers.Softmax()(layers.Dense(CLASSES, use_bias=False)(x) * 16.0)


HEADS: dict[str, Callable[[], Any]] = {
    "softmax": head(_end),
    "logits": head(lambda x: layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))),
    "sigmoid": head(lambda x: layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))),
    "one_logit": head(lambda x: layers.Dense(1)(layers.GlobalAveragePooling2D()(x))),
    "activation_of_its_own": head(
        lambda x: layers.Activation("softmax", dtype="float32")(layers.Dense(CLASSES)(layers.Flatten()(x)))
    ),
    "operation": head(lambda x: ops.softmax(layers.Dense(CLASSES)(layers.GlobalMaxPooling2D()(x)))),
    "log_softmax": head(lambda x: layers.Dense(CLASSES, activation="log_softmax")(layers.GlobalMaxPooling2D()(x))),
    "softmax_then_flatten": head(
        lambda x: layers.Flatten()(layers.Softmax()(layers.Conv2D(CLASSES, 16, padding="valid")(x)))
    ),
    "softmax_then_pooling": head(
        lambda x: layers.GlobalAveragePooling2D()(layers.Conv2D(CLASSES, 1, activation="softmax")(x))
    ),
    "pooling_then_activation": head(
        lambda x: layers.Activation("softmax")(layers.GlobalAveragePooling2D()(layers.Conv2D(CLASSES, 1)(x)))
    ),
    "ensemble": head(_ensemble),
    "temperature": head(_temperature),
    "l2": head(_l2_head),
    "reshaped": head(lambda x: layers.Reshape((CLASSES,))(layers.Dense(CLASSES)(layers.Flatten()(x)))),
    "tokens": head(_tokens),
    "dropout_and_normalization": head(
        lambda x: layers.Dense(CLASSES, activation="softmax")(
            layers.Dropout(0.5)(layers.BatchNormalization()(layers.Dense(16, activation="relu")(layers.Flatten()(x))))
        )
    ),
}

PREPROCESSING: dict[str, Callable[[], Any]] = {
    "rescaling": start(layers.Rescaling(1 / 127.5, -1)),
    "operators": start(lambda x: x / 127.5 - 1.0),
    "functional_operators": start(lambda x: ops.subtract(ops.divide(x, 127.5), 1.0)),
    "cast": start(lambda x: ops.cast(x, "float32") * (1 / 255.0)),
    "caffe": start(keras.applications.vgg16.preprocess_input),
    "torch": start(keras.applications.densenet.preprocess_input),
    "flip": start(lambda x: ops.flip(x, axis=-1) / 255.0),
    "normalization": start(layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3600.0, 3500.0, 3400.0])),
    "resized": start(lambda x: layers.Rescaling(1 / 255.0)(layers.Resizing(24, 24)(x))),
    "resized_operation": start(lambda x: ops.image.resize(x, (24, 24)) / 255.0),
    "aspect_ratio": start(layers.Resizing(24, 16, crop_to_aspect_ratio=True)),
    "center_crop": start(layers.CenterCrop(28, 24)),
    "cropping": start(layers.Cropping2D(2)),
    "random_crop": start(layers.RandomCrop(32, 32)),
    "augmented": start(_augmented),
    "newer_augmentation": start(_newer_augmentation),
}

KINDS = (
    *(
        "relu",
        "relu6",
        "leaky_relu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "hard_silu",
        "mish",
        "softplus",
        "softsign",
    ),
    *("tanh", "hard_tanh", "sigmoid", "hard_sigmoid", "exponential", "tanh_shrink", "squareplus", "log_sigmoid"),
    *("soft_shrink", "hard_shrink", "sparse_plus", "sparse_sigmoid"),
)
ACTIVATIONS: dict[str, Callable[[], Any]] = {
    **{kind: middle(layers.Activation(kind)) for kind in KINDS},
    "gelu_by_tanh": middle(lambda x: ops.gelu(x, approximate=True)),
    "leaky_relu_layer": middle(layers.LeakyReLU(negative_slope=0.2)),
    "leaky_relu_of_zero": middle(layers.LeakyReLU(negative_slope=0.0)),
    "prelu": middle(layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal")),
    "relu_with_maximum": middle(layers.ReLU(max_value=1.0)),
    "relu_with_everything": middle(layers.ReLU(max_value=0.4, negative_slope=0.1, threshold=0.1)),
    "relu_with_threshold": middle(layers.ReLU(threshold=0.2)),
    "elu_layer": middle(layers.ELU(alpha=0.3)),
    "hard_swish_by_hand": middle(_hard_swish_by_hand),
    "hard_sigmoid_by_layers": middle(_hard_sigmoid_by_layers),
    "swish_by_hand": middle(lambda x: x * ops.sigmoid(x)),
    "clip": middle(lambda x: ops.clip(x, 0.0, 0.5)),
    "power": middle(lambda x: x**2 + ops.power(ops.abs(x) + 0.1, 0.5)),
}

NORMALIZATIONS: dict[str, Callable[[], Any]] = {
    "batch": middle(layers.BatchNormalization()),
    "batch_without_scale": middle(layers.BatchNormalization(scale=False, center=False)),
    "before_convolution": middle(lambda x: layers.ReLU()(layers.BatchNormalization()(x))),
    "layer": middle(layers.LayerNormalization()),
    "layer_over_everything": middle(layers.LayerNormalization(axis=[1, 2, 3])),
    "rms": middle(layers.RMSNormalization()),
    "group": middle(layers.GroupNormalization(groups=4)),
    "instance": middle(layers.GroupNormalization(groups=-1)),
    "unit": middle(layers.UnitNormalization()),
    "spectral": middle(layers.SpectralNormalization(layers.Conv2D(8, 3))),
}

ATTENTION: dict[str, Callable[[], Any]] = {
    "squeeze_and_excitation": middle(_squeeze_and_excitation),
    "gate_without_dimensions": middle(_gate_without_dimensions),
    "efficient_channel": middle(_efficient_channel_attention),
    "cbam": middle(_cbam),
    "softmax_inside": middle(_softmax_inside),
    "selective_kernel": middle(_selective_kernel),
    "layer_of_its_own": middle(Gate()),
}

SHAPES: dict[str, Callable[[], Any]] = {
    "flatten": _sequential(
        lambda: layers.Conv2D(8, 3, activation="relu"),
        layers.MaxPooling2D,
        layers.Flatten,
        lambda: layers.Dense(16, activation="relu"),
        lambda: layers.Dense(CLASSES),
    ),
    "nested_sequential": _sequential(
        lambda: keras.Sequential([layers.Rescaling(1 / 255.0), layers.RandomFlip()]),
        lambda: keras.Sequential([layers.Conv2D(8, 3), layers.BatchNormalization(), layers.ReLU()]),
        lambda: keras.Sequential([layers.GlobalAveragePooling2D(), layers.Dense(CLASSES, activation="softmax")]),
    ),
    "inverted_residual": middle(_inverted_residual),
    "scaled_residual": middle(_scaled_residual),
    "dense_block": middle(_dense_block),
    "separable": middle(layers.SeparableConv2D(8, 3, depth_multiplier=2)),
    "groups": middle(layers.Conv2D(8, 3, groups=4)),
    "dilated": middle(layers.Conv2D(8, 3, dilation_rate=2, padding="same")),
    "depth_multiplier": middle(layers.DepthwiseConv2D(3, depth_multiplier=2)),
    "transposed": middle(layers.Conv2DTranspose(8, 3, strides=2, padding="same")),
    "up_sampling": middle(layers.UpSampling2D(2, interpolation="bilinear")),
    "padding_before_pooling": middle(lambda x: layers.MaxPooling2D(2)(layers.ZeroPadding2D(2)(x))),
    "attention_of_positions": middle(_attention_of_positions),
    "permute": middle(layers.Permute((2, 1, 3))),
    "free_permute": middle(lambda x: x + layers.Permute((3, 1, 2))(ops.mean(x, axis=(1, 2), keepdims=True))[:, :1]),
    "wide_concatenation": middle(lambda x: layers.Concatenate(axis=2)([x, x * 0.5])),
    "parts": middle(lambda x: x[:, 1:, :-1, :4] * x[:, :-1, 1:, 4][..., None]),
    "every_second": middle(lambda x: ops.concatenate([x[:, ::2, ::2], x[:, 1::2, 1::2]], axis=-1)),
    "one_token": middle(lambda x: x * layers.Reshape((256, 8))(x)[:, 3, None, None, :]),
    "split": middle(lambda x: ops.concatenate([ops.relu(one) for one in ops.split(x, 2, axis=-1)][::-1], axis=-1)),
    "channel_shuffle": middle(
        lambda x: layers.Reshape((16, 16, 8))(layers.Permute((1, 2, 4, 3))(layers.Reshape((16, 16, 2, 4))(x)))
    ),
    "operations": middle(lambda x: ops.maximum(ops.minimum(x, 0.5), x * 0.1) + ops.expand_dims(ops.mean(x, -1), -1)),
    "grey": lambda: keras.Sequential(
        [keras.Input((28, 28, 1)), layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(CLASSES)]
    ),
    "transfer": start(_tutorial_base),
    "called_twice": middle(_called_twice),
    "subclassed": lambda: _called(Subclassed()),
}

POPULAR: dict[str, Callable[[], Any]] = {
    f"{kind}-{name}": build
    for kind, builders in {
        "head": HEADS,
        "preprocessing": PREPROCESSING,
        "activation": ACTIVATIONS,
        "normalization": NORMALIZATIONS,
        "attention": ATTENTION,
        "shape": SHAPES,
    }.items()
    for name, build in builders.items()
}


def _called(model: Any) -> Any:
    model(np.zeros((1, *SIZE), np.float32))
    return model


def popular(name: str) -> Any:
    """Return a model by its name, with statistics and weights that make its outputs differ between photos."""
    keras.utils.set_random_seed(11)
    model = POPULAR[name]()
    rng = np.random.default_rng(3)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.1, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.05, 0.5, layer.moving_variance.shape))
    return model
