"""The reference graph equals Keras, whatever the network."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from tests.networks import NETWORKS, known, photos_for
from xedge.errors import UnsupportedError
from xedge.graph import fold
from xedge.graph.evaluate import Evaluator
from xedge.graph.fold import without_head
from xedge.graph.ir import (
    Activation,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Graph,
    Input,
    Mean,
    Pad,
    Reshape,
    Scale,
    Softmax,
    same_padding,
)
from xedge.sources.keras.layers import read_keras
from xedge.types import UInt8Array


@pytest.mark.parametrize("name", NETWORKS)
def test_graph_equals_keras(name: str, pixels: UInt8Array) -> None:
    model, graph = known(name)
    photos = photos_for(model, pixels[:3])
    expected = np.asarray(model(photos, training=False))
    got = Evaluator(graph).output(photos)
    assert np.abs(got - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())
    assert np.abs(expected - expected.mean(0)).max() > 1e-6, "the photos' outputs do not differ: nothing was tested"


@pytest.mark.parametrize("name", NETWORKS)
def test_batch_normalization_is_gone_and_names_are_kept(name: str) -> None:
    model, graph = known(name)
    assert not any(isinstance(node, Scale) for node in graph)
    convolutions = {n.name for n in model._flatten_layers() if type(n).__name__ in ("Conv2D", "SeparableConv2D")}
    assert convolutions <= {node.name.rsplit("/", 1)[-1] for node in graph}


def test_output_keeps_its_name() -> None:
    _, graph = known("xception")
    assert graph.output_name == "predictions"


def test_relu_with_two_readers_stays_apart() -> None:
    _, graph = known("xception")
    relu = graph["block3_sepconv1_act"]
    assert isinstance(relu, Activation)
    assert len(graph.consumers(relu.inputs[0])) == 2


@pytest.mark.parametrize("name", ["padded", "resnet50"])
def test_padding_folds_into_the_convolution(name: str) -> None:
    _, graph = known(name)
    first = graph["conv1_conv"]
    assert isinstance(first, Conv)
    assert first.padding == ((3, 3), (3, 3))
    assert not any(isinstance(node, Pad) for node in graph)


def test_what_is_computed_twice_is_computed_once(pixels: UInt8Array) -> None:
    """As NASNet's ReLUs are; convolutions are alike only if their weights are."""
    source = keras.Input((16, 16, 3))
    x = layers.Conv2D(6, 3, name="first")(source)
    sums = [layers.Conv2D(6, 3, name=f"second{i}")(layers.ReLU(name=f"relu{i}")(x)) for i in range(2)]
    averages = [layers.AveragePooling2D(3, strides=1, name=f"average{i}")(layers.ReLU()(x)) for i in range(2)]
    x = layers.GlobalAveragePooling2D()(layers.Add(name="sum")([*sums, *averages]))
    model = keras.Model(source, layers.Dense(3)(x))
    graph = read_keras(model)
    assert not any(isinstance(node, Activation) for node in graph)
    first = graph["first"]
    assert isinstance(first, Conv)
    assert first.activation == "relu"
    assert "second1" in graph
    assert "average0" in graph
    assert "average1" not in graph
    photos = photos_for(model, pixels)
    np.testing.assert_allclose(Evaluator(graph).output(photos), np.asarray(model.predict(photos)), atol=1e-5)
    model.get_layer("second1").set_weights(model.get_layer("second0").get_weights())
    assert "second1" not in read_keras(model)


@pytest.mark.parametrize("apart", [True, False])
def test_a_normalization_of_concatenated_convolutions_folds_into_them(pixels: UInt8Array, apart: bool) -> None:
    source = keras.Input((16, 16, 3))
    x = layers.Conv2D(6, 3)(source)
    parts = [layers.Conv2D(4, 1, name="one")(x), layers.DepthwiseConv2D(1, depth_multiplier=2, name="other")(x)]
    joined = layers.Concatenate(name="joined")(parts)
    normalization = layers.BatchNormalization(name="normalized")
    x = layers.ReLU(name="relu")(normalization(joined))
    x = layers.Concatenate()([x, x] if apart else [x, joined])
    model = keras.Model(source, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    statistics = np.random.default_rng(0).uniform(0.5, 2, (4, 16)).astype(np.float32)
    normalization.set_weights(list(statistics))
    graph = read_keras(model)
    assert isinstance(graph["normalized"], Concat if apart else Depthwise)
    photos = photos_for(model, pixels)
    np.testing.assert_allclose(Evaluator(graph).output(photos), np.asarray(model.predict(photos)), atol=1e-5)


def _classifier(classes: int, *, keepdims: bool) -> keras.Model:
    x = source = keras.Input((16, 16, 3))
    x = layers.Conv2D(200, 3, strides=2, activation="relu")(x)
    x = layers.GlobalAveragePooling2D(keepdims=keepdims)(x)
    x = layers.Flatten()(x) if keepdims else x
    return keras.Model(source, layers.Dense(classes, activation="softmax", name="classes")(x))


@pytest.mark.parametrize("keepdims", [False, True])
def test_a_large_last_dense_layer_is_a_convolution(pixels: UInt8Array, keepdims: bool) -> None:
    model = _classifier(1000, keepdims=keepdims)
    graph = read_keras(model)
    average, products, flat, softmax = graph.nodes[-4:]
    assert isinstance(average, Mean)
    assert isinstance(products, Conv)
    assert isinstance(flat, Reshape)
    assert flat.name == "classes"
    assert isinstance(softmax, Softmax)
    photos = photos_for(model, pixels)
    np.testing.assert_allclose(Evaluator(graph).output(photos), np.asarray(model.predict(photos)), atol=1e-6)
    logits = without_head(graph)
    assert logits.output == "classes"
    assert logits.shape("classes") == (1000,)


def test_a_small_last_dense_layer_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(read_keras(_classifier(400, keepdims=False))["classes"], Dense)
    monkeypatch.setattr(fold, "LARGE_SHARE", 1.0)  # of all weights
    assert isinstance(read_keras(_classifier(1000, keepdims=False))["classes"], Dense)


def test_unsupported_layer_is_named() -> None:
    photo = keras.Input((16, 16, 3))
    x = layers.RandomCrop(12, 12, name="window")(photo)
    model = keras.Model(photo, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(UnsupportedError, match=r"window: .*crops nothing in inference"):
        read_keras(model)


def test_graphs_with_unknown_tensors_cannot_be_built() -> None:
    start = Input(name="photo", shape=(8, 8, 3))
    relu = Activation(name="relu", inputs=("nothing",), kind="relu")
    with pytest.raises(ValueError, match="relu"):
        Graph(name="wrong", nodes=(start, relu), output="relu", output_name="relu")


@pytest.mark.parametrize(
    ("size", "window", "stride", "expected"),
    [(299, 3, 2, (1, 1)), (74, 3, 2, (0, 1)), (147, 1, 2, (0, 0)), (7, 5, 1, (2, 2))],
    ids=["odd", "even", "of one", "wide"],
)
def test_same_padding_is_tensorflows(size: int, window: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding((size, size, 1), (window, window), (stride, stride))[0] == expected
