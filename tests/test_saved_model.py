"""SavedModels are read into the reference graph by the operations of their function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tests.conftest import FURTHER, Command
from tests.popular import POPULAR, SIZE, popular
from tests.test_popular import photos_for
from xedge.conversion.reference import parity
from xedge.errors import UnsupportedError
from xedge.graph.evaluate import Evaluator
from xedge.graph.fold import simplify
from xedge.sources._freezing import freeze
from xedge.sources.keras.inference import for_inference
from xedge.sources.saved_model.function import FunctionBuilder

# TensorFlow writes these with comparisons, or in functions of their own; the libraries' converters take them.
OUTSIDE = {
    *("activation-celu", "activation-soft_shrink", "activation-hard_shrink", "activation-sparse_plus"),
    *("activation-sparse_sigmoid", "activation-relu_with_everything", "activation-relu_with_threshold"),
    *("activation-elu_layer", "normalization-group", "shape-groups"),
}
# TensorFlow itself cannot freeze the state of this one.
NOT_FROZEN = {"preprocessing-newer_augmentation"}
QUICK = [name for at, name in enumerate(name for name in POPULAR if name not in OUTSIDE | NOT_FROZEN) if at % 4 == 0]
REST = [name for name in POPULAR if name not in {*QUICK, *NOT_FROZEN}]


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=FURTHER) for name in REST)])
def test_a_function_of_popular_constructs_is_read(name: str, tmp_path: Path) -> None:
    model = for_inference(popular(name))
    height, width, channels = model.input_shape[1:]
    freeze(lambda photo: model(photo, training=False), (height, width, channels), tmp_path)
    if name in OUTSIDE:
        with pytest.raises(UnsupportedError, match="not in the reference graph's set"):
            FunctionBuilder(name).read(tmp_path)
        return
    photos = photos_for(name, (height, width, channels))
    graph = simplify(FunctionBuilder(name).read(tmp_path))
    expected = np.asarray(keras.ops.convert_to_numpy(model(photos, training=False)), np.float32)
    assert parity(Evaluator(graph).output(photos), expected, "logits") < 1


def _exported(folder: Path) -> Any:
    keras.utils.set_random_seed(6)
    photo = keras.Input(SIZE)
    x = layers.RandomFlip()(layers.Rescaling(1 / 127.5, -1)(photo))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, activation="gelu")(x))
    x = layers.Dense(6)(layers.DepthwiseConv2D(3, dilation_rate=2)(x))
    model = keras.Model(photo, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    for_inference(model).export(str(folder), verbose=False)
    return model


@pytest.mark.slow
def test_a_saved_model_is_converted_by_the_reference_graph(xedge: Command, tmp_path: Path) -> None:
    _exported(tmp_path / "saved")
    command = ("convert", "saved", "--target", "all", "--precision", "int8", "--output", "out", "--json")
    done = xedge(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for one in json.loads(done.stdout):
        assert one["manifest"]["recipe"]["way"] == "reference graph"
        assert one["manifest"]["preprocessing"]["scale"] == [1.0]
        assert xedge("run", one["path"], "--runs", 3, cwd=tmp_path).returncode == 0
