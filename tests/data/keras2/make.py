"""Make the files of Keras 2 that the tests read, with what Keras 2 answers; run it where TensorFlow 2.0 to 2.15 is.

    python make.py 2.15.zip [MODEL ...]

Each model becomes an HDF5 file and, from TensorFlow 2.12 on, a .keras archive, which 2.12 only writes when it is asked
to. Those that this TensorFlow cannot build or write are left out and named. ``expected.npz`` holds the photos
(N, 16, 16, 3) uint8 and the outputs of each model by its name. All go into one zip.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf

keras = tf.keras
layers = keras.layers
SIZE = (16, 16, 3)
VERSION = tuple(int(part) for part in tf.__version__.split(".")[:2])
registered = getattr(keras.utils, "register_keras_serializable", lambda package: lambda kind: kind)


@registered("shop")
class Doubled(layers.Layer):
    """A layer of one's own."""

    def call(self, x):
        return 2.0 * x


def photo_layer(name):
    """Return a layer that TensorFlow had among the experimental ones at first."""
    return getattr(layers, name, None) or getattr(layers.experimental.preprocessing, name)


def body(x, channels=6):
    """Return what most models here begin with."""
    return layers.Conv2D(channels, 3, strides=2, activation="relu")(photo_layer("Rescaling")(1 / 127.5, -1)(x))


def end(x):
    """Return three probabilities."""
    return layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def flat():
    photo = keras.Input(SIZE)
    x = layers.BatchNormalization()(body(photo))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(layers.ReLU(6.0)(x))
    x = layers.LeakyReLU(alpha=0.2)(layers.SeparableConv2D(5, 3)(x))
    return keras.Model(photo, end(layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal")(x)))


def sequential():
    return keras.Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=SIZE),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(5, activation="elu"),
            layers.Dropout(0.5),
            layers.Dense(3),
        ]
    )


def teachable():
    """The structure of Teachable Machine: a functional model in a Sequential, beside another one in a third."""
    photo = keras.Input(SIZE)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, use_bias=False)(photo))
    base = keras.Model(photo, layers.Conv2D(6, 1)(layers.ReLU(6.0)(x)))
    features = keras.Sequential([base, layers.GlobalAveragePooling2D()])
    head = keras.Sequential([layers.Dense(5, activation="relu"), layers.Dense(3, activation="softmax", use_bias=False)])
    return keras.Sequential([features, head])


def frozen_base():
    """A transfer: a nested base that is not trained, called in inference, with augmentation before it."""
    inner = keras.Input(SIZE)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(inner))
    base = keras.Model(inner, layers.BatchNormalization()(layers.Conv2D(4, 3)(layers.ReLU()(x))), name="base")
    base.trainable = False
    photo = keras.Input(SIZE)
    x = keras.Sequential(
        [photo_layer("RandomFlip")("horizontal"), photo_layer("RandomRotation")(0.2), photo_layer("RandomZoom")(0.1)]
    )(photo)
    x = base(x / 127.5 - 1.0, training=False)
    return keras.Model(photo, end(layers.Dropout(0.2)(x)))


def deep():
    """Models inside of models inside of models, one of which is called twice."""
    inner = keras.Sequential([layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()])
    middle_in = keras.Input((14, 14, 4))
    middle = keras.Model(middle_in, layers.Add()([inner(middle_in), middle_in]))
    photo = keras.Input(SIZE)
    x = layers.Conv2D(4, 3)(photo_layer("Rescaling")(1 / 255.0)(photo))
    return keras.Model(photo, end(middle(middle(x))))


def shared_layer():
    photo = keras.Input(SIZE)
    conv = layers.Conv2D(6, 3, padding="same", activation="tanh")
    x = body(photo)
    return keras.Model(photo, end(layers.Concatenate()([conv(x), conv(conv(x))])))


def operators():
    photo = keras.Input(SIZE)
    x = photo[..., ::-1] - [103.9, 116.8, 123.7]
    x = layers.Conv2D(6, 3)(1.0 - x / 127.5)
    x = x * tf.nn.relu6(x + 3.0) / 6.0
    x = tf.concat([x, tf.nn.relu(x), tf.nn.leaky_relu(x, 0.1)], axis=-1)
    x = tf.clip_by_value(x, -1.0, 0.8) + tf.reduce_max(x, axis=[1, 2], keepdims=True)
    x = tf.math.maximum(x, 0.1 * x) * tf.sigmoid(tf.expand_dims(tf.reduce_mean(x, axis=-1), -1))
    x = tf.reshape(tf.reduce_mean(x, axis=[1, 2]), [-1, 18])
    return keras.Model(photo, tf.nn.softmax(layers.Dense(3)(x)))


def more_operators():
    photo = keras.Input(SIZE)
    x = tf.image.resize(tf.cast(photo, tf.float32), [12, 12]) * (1 / 255.0)
    x = layers.Conv2D(6, 3)(x)
    first, second = tf.split(x, 2, axis=-1)
    x = tf.stack([first, tf.square(second)], axis=-1)
    x = tf.squeeze(tf.reshape(x, [-1, 10, 10, 6, 1]), axis=-1)
    x = tf.nn.swish(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])) - tf.nn.elu(-x[:, :1, :1, :])
    x = tf.math.l2_normalize(tf.abs(x) + tf.sqrt(tf.exp(x)), axis=-1)
    return keras.Model(photo, end(tf.nn.bias_add(x, [0.1, 0.2, 0.3, -0.1, -0.2, -0.3])))


def preprocess_input():
    photo = keras.Input(SIZE)
    x = keras.applications.mobilenet_v2.preprocess_input(photo)
    return keras.Model(photo, end(layers.Conv2D(6, 3)(x)))


def caffe():
    photo = keras.Input(SIZE)
    x = keras.applications.resnet50.preprocess_input(photo)
    return keras.Model(photo, end(layers.Conv2D(6, 3)(x)))


def hard_sigmoid():
    """Keras 3 has another slope under the same name."""
    photo = keras.Input(SIZE)
    x = layers.Conv2D(6, 3, activation="hard_sigmoid")(body(photo))
    return keras.Model(photo, end(layers.Activation("hard_sigmoid")(layers.Conv2D(6, 1)(x))))


def mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        photo = keras.Input(SIZE)
        x = layers.BatchNormalization()(body(photo))
        x = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
        return keras.Model(photo, layers.Activation("softmax", dtype="float32")(x))
    finally:
        keras.mixed_precision.set_global_policy("float32")


def normalizations():
    photo = keras.Input(SIZE)
    normalization = photo_layer("Normalization")()
    normalization.adapt(PHOTOS.astype(np.float32))
    x = layers.LayerNormalization()(layers.Conv2D(6, 3)(normalization(photo)))
    x = layers.experimental.SyncBatchNormalization()(x)
    return keras.Model(photo, end(layers.UnitNormalization()(x)))


def photo_layers():
    photo = keras.Input(SIZE)
    x = photo_layer("CenterCrop")(12, 14)(photo_layer("RandomCrop")(14, 14)(photo))
    x = photo_layer("Resizing")(10, 10)(photo_layer("RandomContrast")(0.2)(layers.RandomBrightness(0.1)(x)))
    x = layers.GaussianNoise(0.1)(photo_layer("RandomTranslation")(0.1, 0.1)(photo_layer("Rescaling")(1 / 255.0)(x)))
    x = layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(6, 3)(x))
    return keras.Model(photo, end(layers.Cropping2D(1)(layers.ZeroPadding2D(((1, 2), (0, 1)))(x))))


def thresholds():
    photo = keras.Input(SIZE)
    x = layers.ThresholdedReLU(theta=0.1)(body(photo))
    x = layers.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.2)(layers.Conv2D(6, 3)(x))
    return keras.Model(photo, end(layers.Conv2D(6, 3, activation=layers.ELU(alpha=0.5))(x)))


def attention():
    photo = keras.Input(SIZE)
    x = body(photo)
    gate = layers.Reshape((1, 1, 6))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(6, 1, activation="sigmoid")(layers.Conv2D(2, 1, activation="swish")(gate))
    x = layers.Multiply()([x, gate])
    x = layers.Average()([x, layers.Maximum()([x, layers.Subtract()([x, layers.Activation("gelu")(x)])])])
    return keras.Model(photo, end(layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x)))


def binary():
    photo = keras.Input(SIZE)
    return keras.Model(photo, layers.Dense(1, activation="sigmoid")(layers.Flatten()(body(photo))))


def scoped_names():
    photo = keras.Input(SIZE, name="entry/photo")
    x = layers.Conv2D(6, 3, name="entry/conv")(photo / 255.0)
    return keras.Model(photo, end(layers.BatchNormalization(name="entry/conv/bn")(x)))


def integers():
    photo = keras.Input(SIZE, dtype="uint8")
    return keras.Model(photo, end(layers.Conv2D(6, 3)(photo_layer("Rescaling")(1 / 255.0)(photo))))


def shared_models():
    """An inner model at three depths, which archives have once."""
    start = keras.Input((14, 14, 4))
    inner = keras.Model(start, layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(start)), name="inner")
    ahead = keras.Sequential([inner, layers.ReLU()])
    start = keras.Input((14, 14, 4))
    middle = keras.Model(start, layers.Add()([ahead(start), inner(start)]))
    photo = keras.Input(SIZE)
    x = layers.Conv2D(4, 3)(photo / 255.0)
    return keras.Model(photo, end(middle(inner(middle(x)))))


def same_names():
    """Two inner models whose layers have the same names but are others."""

    def branch(name):
        start = keras.Input((14, 14, 4))
        x = layers.Conv2D(4, 3, padding="same", name="conv")(start)
        return keras.Model(start, layers.BatchNormalization(name="bn")(x), name=name)

    photo = keras.Input(SIZE)
    x = layers.Conv2D(4, 3)(photo / 255.0)
    return keras.Model(photo, end(layers.Concatenate()([branch("left")(x), branch("right")(x)])))


def dictionaries():
    """A nested model that takes and returns a dictionary."""
    wide, narrow = keras.Input((14, 14, 4), name="wide"), keras.Input((14, 14, 2), name="narrow")
    joined = layers.Concatenate()([layers.Conv2D(3, 1)(wide), narrow])
    inner = keras.Model({"wide": wide, "narrow": narrow}, {"joined": joined})
    photo = keras.Input(SIZE)
    given = {"wide": layers.Conv2D(4, 3)(photo / 255.0), "narrow": layers.Conv2D(2, 3)(photo / 127.0)}
    return keras.Model(photo, end(inner(given)["joined"]))


def several_results():
    start = keras.Input((14, 14, 4))
    x = layers.Conv2D(4, 3, padding="same")(start)
    inner = keras.Model(start, [x, layers.BatchNormalization()(x)])
    photo = keras.Input(SIZE)
    first, second = inner(layers.Conv2D(4, 3)(photo / 255.0))
    return keras.Model(photo, end(layers.Concatenate()([second, *inner(first)])))


def named_as_operations():
    """Layers have the names that Keras 3 would give to the operations beside them."""
    photo = keras.Input(SIZE)
    x = layers.Conv2D(4, 3)(photo * (1 / 255.0))
    for at in range(4):
        name = f"multiply_{at}" if at else "multiply"
        x = layers.Multiply(name=name)([x * 0.9, tf.nn.relu6(x + 3.0) * (1 / 6.0)])
    return keras.Model(photo, end(x))


def windows():
    """TensorFlow's functions over height and width."""
    photo = keras.Input(SIZE)
    x = tf.nn.max_pool2d(layers.Conv2D(4, 3)(photo / 255.0), 2, 1, "SAME")
    x = tf.nn.avg_pool2d(x, [1, 3, 3, 1], [1, 2, 2, 1], "VALID")
    kernel = np.random.default_rng(2).normal(0, 0.3, (3, 3, 4, 5)).astype(np.float32)
    return keras.Model(photo, end(tf.nn.conv2d(x, kernel, 1, "SAME")))


def images():
    """TensorFlow's functions of photos."""
    if VERSION < (2, 4):
        raise NotImplementedError("there the weighing of colors joins the batch with the pixels")
    photo = keras.Input(SIZE)
    x = tf.image.central_crop(photo, 0.75)
    x = tf.image.per_image_standardization(x)
    x = tf.concat([x, tf.image.rgb_to_grayscale(x)], axis=-1)
    return keras.Model(photo, end(layers.Conv2D(4, 3)(x)))


def shapes():
    """Sizes that the model asks for, and layers that only training needs."""
    photo = keras.Input(SIZE)
    x = layers.Conv2D(4, 3)(tf.cast(photo, tf.float32) / 255.0)
    size = tf.shape(x)
    x = tf.reshape(x, [size[0], size[1] * size[2], 4])
    x = layers.Dense(3)(layers.Dropout(0.2)(tf.reduce_mean(x, axis=1)))
    model = keras.Model(photo, tf.nn.softmax(x))
    model.add_loss(tf.reduce_mean(x))
    return model


def trained():
    """A model with an optimizer, metrics and a loss of one's own."""

    def own_loss(known, got):
        return tf.reduce_mean(tf.square(known - got))

    model = flat()
    model.compile("adam", own_loss, metrics=["accuracy"])
    model.fit(PHOTOS.astype(np.float32), np.eye(3, dtype=np.float32), epochs=1, verbose=0)
    return model


def own_model():
    """A functional model whose class only trains it in another way."""

    class Trainer(keras.Model):
        def train_step(self, data):
            return {}

    photo = keras.Input(SIZE)
    return Trainer(photo, end(body(photo)))


def own_dense():
    """A layer of one's own that is called as one of Keras."""

    @registered("shop")
    class Dense(layers.Layer):
        def __init__(self, units=3, **rest):
            super().__init__(**rest)
            self.units = units

        def get_config(self):
            return {**super().get_config(), "units": self.units}

        def call(self, x):
            return 2.0 * x

    photo = keras.Input(SIZE)
    return keras.Model(photo, end(Dense()(body(photo))))


def own_layer():
    photo = keras.Input(SIZE)
    return keras.Model(photo, end(Doubled()(body(photo))))


def with_code():
    photo = keras.Input(SIZE)
    return keras.Model(photo, end(layers.Lambda(lambda x: x * 2.0)(body(photo))))


MODELS = (
    *(flat, sequential, teachable, frozen_base, deep, shared_layer, operators, more_operators, preprocess_input, caffe),
    *(hard_sigmoid, mixed_precision, normalizations, photo_layers, thresholds, attention, binary, scoped_names),
    *(integers, own_layer, with_code, shared_models, same_names, dictionaries, several_results, named_as_operations),
    *(windows, images, shapes, trained, own_model, own_dense),
)
PHOTOS = np.random.default_rng(0).integers(0, 256, (3, *SIZE), dtype=np.uint8)


def varied(model):
    """Give every weight values that a mix-up of two would show."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        values = rng.normal(0, 0.3, weight.shape)
        if "variance" in weight.name:
            values = rng.uniform(0.5, 1.5, weight.shape)
        if weight.dtype.is_floating:
            weight.assign(values.astype(np.float32))
    return model


def written(build, folder):
    """Write the files of a model into a folder and return its outputs."""
    keras.backend.clear_session()
    model = build()
    if build not in (normalizations, trained):
        varied(model)
    photos = tf.constant(PHOTOS if build is integers else PHOTOS.astype(np.float32))
    outputs = np.asarray(model(photos, training=False), np.float32)
    name = build.__name__
    archive = folder / f"{name}.keras"
    model.save(str(folder / f"{name}.h5"), include_optimizer=build is trained)
    if VERSION >= (2, 12):
        try:
            model.save(str(archive), save_format="keras_v3" if VERSION == (2, 12) else "keras")
        except (TypeError, NotImplementedError) as error:
            print(f"{name}.keras: {error}")
            if archive.exists():
                archive.unlink()
    return outputs


def main(place, names):
    """Write the files of all models, or of those that are named, into a zip."""
    expected = {"photos": PHOTOS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for build in MODELS:
            if names and build.__name__ not in names:
                continue
            try:
                expected[build.__name__] = written(build, folder)
            except Exception as error:  # what this TensorFlow does not have
                print(f"{build.__name__}: {error}")
                for file in folder.glob(f"{build.__name__}.*"):
                    file.unlink()
        np.savez_compressed(folder / "expected.npz", **expected)
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in sorted(folder.iterdir()):
                packed.write(file, file.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
