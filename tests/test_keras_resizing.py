"""``--resize keras`` gives the pixels that Keras' data sets give, on the host and, with NumPy alone, on a device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import Command
from xedge.bundle.reading import open_bundle
from xedge.models.compact import embedded
from xedge.photos.keras_resizing import bilinear
from xedge.photos.preprocess import Preprocessing, scheme
from xedge.types import FloatArray, UInt8Array
from xedge.vocabulary import Crop, Resize


def noise(height: int, width: int, channels: int = 3) -> UInt8Array:
    random = np.random.default_rng(height * 1000 + width)
    pixels: UInt8Array = random.integers(0, 256, (height, width, channels)).astype(np.uint8)
    return pixels


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 60), st.integers(1, 60), st.sampled_from((1, 3)))
def test_values_are_those_of_tensorflow(high: int, wide: int, height: int, width: int, channels: int) -> None:
    """To a unit in the sixth digit: the kernel may fuse a product and a sum."""
    pixels = noise(high, wide, channels)
    expected = tf.image.resize(pixels, (height, width), method="bilinear").numpy()
    np.testing.assert_allclose(bilinear(pixels, height, width), expected, rtol=0, atol=1e-4)


def from_keras(folder: Path, *, size: tuple[int, int], crop: bool, colour: str) -> FloatArray:
    """The photos of a folder in the order of their names, as Keras' data set has them: (N, H, W, C) float32."""
    data = keras.utils.image_dataset_from_directory(
        folder,
        labels=None,
        image_size=size,
        crop_to_aspect_ratio=crop,
        color_mode=colour,
        shuffle=False,
        batch_size=None,
        verbose=False,
    )
    rows: FloatArray = np.stack([np.asarray(photo) for photo in data])
    return rows


@pytest.mark.parametrize("crop", ["none", "center"])
@pytest.mark.parametrize("size", [(32, 32), (24, 40), (150, 100)], ids=["smaller", "of another shape", "larger"])
def test_pixels_are_those_of_a_data_set_of_keras(size: tuple[int, int], crop: Crop, tmp_path: Path) -> None:
    """PNG, which both decode to the same pixels. Where Keras' value lies in the middle, either neighbour is right."""
    for place, (high, wide) in enumerate(((97, 61), (61, 97), (120, 120), (33, 200))):
        Image.fromarray(noise(high, wide)).save(tmp_path / f"{place}.png")
    expected = from_keras(tmp_path, size=size, crop=crop == "center", colour="rgb")
    prepared = scheme("raw", *size, 3, crop, resize="keras")
    got = np.stack([prepared.pixels(file) for file in sorted(tmp_path.glob("*.png"))])
    assert np.abs(got - expected).max() <= 0.5 + 1e-4
    assert (got == np.rint(expected)).mean() > 0.999


def test_pixels_of_photographs_are_closer_to_keras_than_those_of_pillow(tmp_path: Path) -> None:
    """JPEG, which TensorFlow decodes otherwise than Pillow by a step here and there."""
    files = sorted((embedded.ROOT / "test" / "pants").glob("*.jpg"))[:6]
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    expected = from_keras(tmp_path, size=(48, 48), crop=False, colour="rgb")
    ways: tuple[Resize, Resize] = ("pillow", "keras")
    distance = {}
    for way in ways:
        prepared = scheme("raw", 48, 48, 3, resize=way)
        distance[way] = float(np.abs(np.stack([prepared.pixels(file) for file in files]) - expected).mean())
    assert distance["keras"] < 1.5
    assert distance["keras"] < distance["pillow"] / 3, distance


def test_the_manifest_keeps_it_and_a_device_needs_no_keras(here: Command, few_photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    done = here("convert", "--target", "onnx", "--resize", "keras", "--data", few_photos, "--output", out)
    assert done.returncode == 0, done.stderr
    kept = open_bundle(out).manifest.preprocessing
    assert kept.resize == "keras"
    assert "without antialiasing (keras)" in here("info", out).stdout
    assert json.loads((out / "manifest.json").read_text())["making"]["options"]["resize"] == "keras"
    photo = next((embedded.ROOT / "test" / "pants").glob("*.jpg"))
    script = (
        "import sys\nfor name in ('keras', 'tensorflow', 'cv2', 'torch'):\n    sys.modules[name] = None\n"
        "import xedge\nwith xedge.load(sys.argv[1]) as model:\n    print(model.classify(sys.argv[2])[0].label)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, out, photo], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "pants"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--crop", "scale", "--size", "64"), "--resize keras and --crop scale"),
        (("--preprocess", "timm:config.json"), "--resize keras and --preprocess timm:config.json"),
    ],
)
def test_what_does_not_go_with_it_is_refused(options: tuple[str, ...], words: str, here: Command) -> None:
    done = here("convert", "--target", "onnx", "--resize", "keras", *options)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_centre_that_is_cut_afterwards_is_refused() -> None:
    with pytest.raises(ValueError, match="resize is keras"):
        Preprocessing(height=8, width=8, crop="short", resized=(9, 9), resize="keras")
