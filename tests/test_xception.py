"""The reference Xception is the published network, and each of its variants builds, trains and converts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.networks import NETWORKS, network
from xedge.errors import InputError
from xedge.models.xception import XceptionConfig, xception
from xedge.models.zoo import load_weights


@pytest.fixture(scope="module")
def published() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.applications.Xception(weights=None)


def test_defaults_are_the_published_network(published: keras.Model) -> None:
    ours = xception()
    assert ours.count_params() == published.count_params() == 22_910_480
    assert [type(layer) for layer in ours.layers] == [type(layer) for layer in published.layers]
    named = [layer.name for layer in published.layers if layer.name.startswith(("block", "avg_pool", "predictions"))]
    assert [n for n in (layer.name for layer in ours.layers) if n in named] == named


@pytest.fixture(scope="module")
def ours() -> keras.Model:
    keras.utils.set_random_seed(2)
    return xception()


@pytest.mark.parametrize("kind", ["new.weights.h5", "whole.keras", "published.h5"])
def test_weights_load_in_both_directions(published: keras.Model, ours: keras.Model, tmp_path: Path, kind: str) -> None:
    """Weight by weight: the probabilities of untrained networks of a thousand classes are alike to seven digits."""
    for source, target in ((published, ours), (ours, published)):
        for layer in target.layers:
            layer.set_weights([w * 0.5 + 0.1 for w in layer.get_weights()])
        assert not any(map(np.array_equal, source.get_weights(), target.get_weights()))
        file = tmp_path / kind
        if kind == "new.weights.h5":
            source.save_weights(file)
        elif kind == "published.h5":
            _save_published_layout(source, file)
        else:
            source.save(file)
        load_weights(target, file)
        for before, after in zip(source.get_weights(), target.get_weights(), strict=True):
            assert np.array_equal(before, after)


def _save_published_layout(model: keras.Model, file: Path) -> None:
    """Write weights as Keras Applications publishes them: one HDF5 group for each layer, in the layers' order."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(file, "w") as archive:
        legacy_h5_format.save_weights_to_hdf5_group(archive, model)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    other = xception(XceptionConfig(input_shape=(71, 71, 3), width_multiplier=0.125, middle_blocks=0))
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(InputError, match="do not fit"):
        load_weights(xception(), tmp_path / "other.weights.h5")


@pytest.mark.parametrize("name", [name for name in NETWORKS if name.startswith("xception")])
def test_each_variant_trains_a_step(name: str) -> None:
    model = network(name)
    logits = model.layers[-1].activation.__name__ == "linear"
    # One step, which is not worth being compiled.
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=logits), run_eagerly=True)
    photos = np.random.default_rng(0).uniform(-1, 1, (4, *model.input_shape[1:])).astype(np.float32)
    before = model.get_weights()[0].copy()
    loss = model.train_on_batch(photos, np.arange(4))
    assert np.isfinite(loss)
    assert np.abs(model.get_weights()[0] - before).max() > 0


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"input_shape": (70, 299, 3)}, id="too small"),
        pytest.param({"classes": 0}, id="no classes"),
        pytest.param({"width_multiplier": 0.0}, id="no width"),
        pytest.param({"convolution": "ordinary", "intermediate": "relu"}, id="nothing to be between"),
        pytest.param({"convolution": "ordinary", "order": "pointwise_first"}, id="nothing to be first"),
    ],
)
def test_impossible_configurations_fail_when_built(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        XceptionConfig(**wrong)


def test_structure_follows_the_configuration() -> None:
    def kinds(**changes: Any) -> list[str]:
        small: dict[str, Any] = {"input_shape": (71, 71, 3), "classes": 3, "width_multiplier": 0.125}
        config = XceptionConfig(**{**small, "middle_blocks": 2, **changes})
        return [type(layer).__name__ for layer in xception(config).layers]

    assert kinds().count("Add") == 3 + 2 + 1
    assert kinds(residual=False).count("Add") == 0
    assert "SeparableConv2D" not in kinds(convolution="ordinary")
    first = kinds(order="pointwise_first")
    assert first.index("DepthwiseConv2D") > first.index("Conv2D")
