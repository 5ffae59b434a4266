"""Popular constructs, one by one: each is read into the reference graph and computes what Keras computes."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.popular import POPULAR, popular
from xedge import convert
from xedge.bundle.reading import open_bundle
from xedge.conversion.reference import parity
from xedge.graph.evaluate import Evaluator
from xedge.sources.keras.layers import read_keras
from xedge.types import FloatArray

# No size of a tensor: Keras takes a sum for that of a bias where the number of photos is that of the rows.
PHOTOS = 15
# The side of a patch of one colour: neighbouring pixels are alike, as in photos.
COARSE = 4
# The share of probability that int8 may move between classes, on average; the networks are small and untrained.
MOVED = 0.05


def photos_for(name: str, shape: tuple[int, ...]) -> FloatArray:
    """Coarse noise with a few shades, as pixels for models that scale them and as [-1, 1] for others."""
    rng = np.random.default_rng(5)
    low, high = (0, 255) if name.startswith("preprocessing") else (-1, 1)
    shades = rng.uniform(low, high, (PHOTOS, 1, 1, shape[-1]))
    height, width, channels = shape
    coarse = rng.uniform(low, high, (PHOTOS, -(-height // COARSE), -(-width // COARSE), channels))
    noise = coarse.repeat(COARSE, axis=1).repeat(COARSE, axis=2)[:, :height, :width]
    return ((shades + noise) / 2).astype(np.float32)


@pytest.mark.parametrize("name", POPULAR)
def test_a_popular_construct_takes_the_reference_graph(name: str) -> None:
    model = popular(name)
    graph = read_keras(model)
    photos = photos_for(name, graph.input.shape)
    expected = np.asarray(keras.ops.convert_to_numpy(model(photos, training=False)), np.float32)
    got = Evaluator(graph).output(photos)
    assert got.shape == expected.shape
    assert np.ptp(expected, axis=0).max() > 1e-4, "every photo has the same answer"
    assert parity(got, expected, "logits") < 1


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Preprocessed photos that fix the ranges, in the two scales of ``photos_for`` and for one channel."""
    folder = tmp_path_factory.mktemp("calibration")
    for name, shape in {"preprocessing": (32, 32, 3), "shape": (32, 32, 3), "shape-grey": (28, 28, 1)}.items():
        np.save(folder / f"{name}.npy", photos_for(name, shape))
    return {file.stem: file for file in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.further if at % 4 else ()) for at, name in enumerate(POPULAR)]
)
def test_int8_of_a_popular_construct_is_near_float_on_every_target(
    name: str, calibration: dict[str, Path], tmp_path: Path
) -> None:
    file, model = tmp_path / "model.keras", popular(name)
    model.save(file)
    raw = name.startswith("preprocessing")
    kind = name if name == "shape-grey" else "preprocessing" if raw else "shape"
    made = convert(
        file,
        target="all",
        precision="int8",
        calibration=calibration[kind],
        preprocess="raw" if raw else "tf",
        output=tmp_path / "out",
    )
    for one in made:
        assert one.manifest.recipe.way == "reference graph"
        golden = open_bundle(one.path).golden()
        assert golden.reference is not None
        moved = float(np.abs(golden.expected - golden.reference).sum(-1).mean()) / 2
        assert moved < MOVED, f"{one.manifest.target}: {moved:.3f} of the probability"
