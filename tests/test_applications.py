"""Every family of Keras Applications takes the reference graph, and int8 of it is bounded on every target."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.families import FAMILIES, network, prepared
from xedge import convert
from xedge.bundle.reading import open_bundle
from xedge.conversion.reference import parity
from xedge.converters import find_target
from xedge.device.board import usable_cores
from xedge.device.processor import has_dot_product
from xedge.graph.evaluate import Evaluator
from xedge.graph.ir import Graph
from xedge.metrics import agreement
from xedge.models.compact import embedded
from xedge.photos.preprocess import scheme
from xedge.runtimes import Settings, choose_runtime
from xedge.sources.keras.layers import read_keras
from xedge.types import FloatArray

PHOTOS = 24


@lru_cache(maxsize=1)
def built(name: str) -> tuple[Any, FloatArray]:
    """Return a network of a family and the photos to which its head was fitted."""
    plain, photos = scheme("raw", 96, 96, 3), embedded.test_photos()
    chosen = range(0, len(photos.files), len(photos.files) // PHOTOS)
    values = prepared(name, np.stack([plain.pixels(photos.files[at]) for at in chosen]))
    return network(name, values, np.array([photos.truth[at] for at in chosen])), values


def graph_of(model: Any, photos: FloatArray) -> Graph:
    """Return a network's reference graph, which answers as Keras does."""
    graph, expected = read_keras(model), np.asarray(model(photos[:4], training=False))
    assert np.ptp(expected, axis=0).max() > 0.05, "every photo has the same answer"
    assert parity(Evaluator(graph).output(photos[:4]), expected, "probabilities") < 1
    return graph


@pytest.mark.parametrize("name", [name for name, known in FAMILIES.items() if known.quick])
def test_a_family_takes_the_reference_graph(name: str) -> None:
    graph_of(*built(name))


# The largest total variation between int8 and float on any target: 1.3 times what was measured, on a processor with
# VNNI and on photos to which the head was fitted.
BOUNDS = {
    "MobileNet": 0.2,
    "MobileNetV2": 0.203,
    "MobileNetV3Small": 0.026,
    "MobileNetV3Large": 0.065,
    "EfficientNetB0": 0.066,
    "EfficientNetV2B0": 0.016,
    "EfficientNetV2S": 0.033,
    "VGG16": 0.016,
    "VGG19": 0.012,
    "ResNet50": 0.151,
    "ResNet101": 0.233,
    "ResNet50V2": 0.09,
    "DenseNet121": 0.027,
    "Xception": 0.012,
    "InceptionV3": 0.238,
    "InceptionResNetV2": 0.014,
    "NASNetMobile": 0.075,
    "ConvNeXtTiny": 0.005,
}
# The same, on a processor without VNNI, where more was measured there.
WITHOUT_VNNI = {"EfficientNetV2B0": 0.021}


# Larger or smaller siblings of others here.
SIBLINGS = (
    *("MobileNet", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2S", "VGG19"),
    *("ResNet101", "ResNet50V2", "InceptionResNetV2"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.further if name in SIBLINGS else ()) for name in FAMILIES]
)
def test_a_family_takes_the_reference_graph_and_int8_is_bounded_on_every_target(name: str, tmp_path: Path) -> None:
    model, photos = built(name)
    expected = Evaluator(graph_of(model, photos)).output(photos)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "photos.npy", photos)
    made = convert(
        tmp_path / "model.keras",
        target="all",
        precision="int8",
        calibration=tmp_path / "photos.npy",
        preprocess=FAMILIES[name].preprocess,
        output=tmp_path / "out",
    )
    bounds = BOUNDS if has_dot_product() else BOUNDS | WITHOUT_VNNI
    for one in made:
        session = choose_runtime(open_bundle(one.path).artifact).open(
            open_bundle(one.path).artifact, Settings(threads=usable_cores())
        )
        layout = (0, 3, 1, 2) if find_target(one.manifest.target).layout == "NCHW" else (0, 1, 2, 3)
        fed = np.ascontiguousarray(photos.transpose(layout))
        got = np.concatenate([session.run(photo[None]) for photo in fed])
        moved = agreement(got, expected).total_variation
        assert moved < bounds[name], f"{one.manifest.target}: {moved:.3f}"
