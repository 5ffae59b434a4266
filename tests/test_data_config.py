"""Files of preprocessing of timm and torchvision: the same pixels as theirs, and a line for what is wrong in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import xedge
from tests.conftest import Command
from tests.patterns import digest, pattern
from tests.test_bundle import edit
from xedge.bundle.manifest import Manifest
from xedge.bundle.reading import MANIFEST, Bundle, open_bundle
from xedge.codec import from_json, to_json
from xedge.conversion.data_config import DataConfig, applied, read_data_config
from xedge.errors import BundleError, InputError, UsageError
from xedge.photos.preprocess import Preprocessing, normalization

# Which pixels timm and torchvision make of photos; ``make.py`` there writes it.
DATA = Path(__file__).parent / "data" / "torchvision"
CASES: list[dict[str, Any]] = json.loads((DATA / "pixels.json").read_text())["cases"]
RESOLVED: dict[str, Any] = json.loads((DATA / "resolved.json").read_text())
PRESET: dict[str, Any] = json.loads((DATA / "resnet50.json").read_text())


def read(named: str) -> DataConfig:
    found = read_data_config(named, "none")
    assert found is not None
    return found


def shape_of(case: dict[str, Any]) -> tuple[int, int, int]:
    values = case["config"]
    if case["kind"] == "timm":
        channels, height, width = values["input_size"]
        return height, width, channels
    return (*values["crop_size"] * 2, 3)


@pytest.mark.parametrize("place", range(len(CASES)))
def test_pixels_are_those_of_the_library(place: int, tmp_path: Path) -> None:
    case = CASES[place]
    (tmp_path / "config.json").write_text(json.dumps(case["config"]))
    shape = shape_of(case)
    preprocessing = read(f"{case['kind']}:{tmp_path / 'config.json'}").preprocessing(shape, exif=False)
    made = {}
    for size in case["digests"]:
        width, height = map(int, size.split("x"))
        pixels = preprocessing.pixels(pattern(width, height, shape[2]))
        assert pixels.shape == shape
        made[size] = digest(pixels)
    assert made == case["digests"]


def test_the_files_that_the_libraries_write_are_read() -> None:
    resolved, whole = read(f"timm:{DATA / 'resolved.json'}"), read(f"timm:{DATA / 'config.json'}")
    assert resolved == whole
    made = whole.preprocessing((224, 224, 3), exif=True)
    assert made.fitting == "turned by EXIF, bicubic the short side to 256, then the centre of 224x224"
    assert made.pixel == pytest.approx((1 / 127.5, -1.0))
    made = read(f"torchvision:{DATA / 'resnet50.json'}").preprocessing((224, 224, 3), exif=False)
    assert made.fitting == "bilinear the short side to 232, then the centre of 224x224"


def test_values_are_those_of_normalize() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    scale, offset = normalization(mean, deviation)
    made = Preprocessing(height=1, width=256, scale=scale, offset=offset).scaled(np.stack([pixels] * 3, -1))
    # ToTensor and Normalize, in float32.
    expected = (pixels.astype(np.float32)[:, None] / np.float32(255) - np.array(mean, np.float32)) / np.array(
        deviation, np.float32
    )
    np.testing.assert_allclose(made, expected, atol=1e-6)


WITHOUT = object()
# What is wrong in a file, what is changed in it, and the words of the refusal.
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "no size": ("timm", {"input_size": WITHOUT}, r"\$\.input_size: is missing"),
    "no share": ("timm", {"crop_pct": WITHOUT}, r"\$\.crop_pct: is missing"),
    "no filter": ("timm", {"interpolation": WITHOUT}, r"\$\.interpolation: is missing"),
    "a filter at random": ("timm", {"interpolation": "random"}, r"\$\.interpolation: should be one of 'nearest', "),
    "another mode": ("timm", {"crop_mode": "fill"}, r"\$\.crop_mode: should be one of 'center', 'squash', 'border'"),
    "a text for a number": ("timm", {"crop_pct": "0.875"}, r"\$\.crop_pct: should be a number, but is '0.875'"),
    "a number for a list": ("timm", {"mean": 0.5}, r"\$\.mean: should be a list"),
    "true for a number": ("timm", {"crop_pct": True}, r"\$\.crop_pct: should be a number"),
    "two sizes": ("timm", {"input_size": [224, 224]}, r"\$\.input_size: should be a list of 3"),
    "channels last": ("timm", {"input_size": [224, 224, 3]}, "photos have 1 or 3 channels, which come first"),
    "a size of zero": ("timm", {"input_size": [3, 0, 224]}, "photos of 0x224 pixels"),
    "a huge size": ("timm", {"input_size": [3, 1 << 20, 224]}, "a side has 1 to 16384"),
    "half a pixel": ("timm", {"input_size": [3, 224.5, 224]}, r"\$\.input_size\[1\]: should be a whole number"),
    "a mean too few": ("timm", {"mean": [0.5, 0.5]}, "mean has 2 and std 3 values"),
    "a mean of pixels": ("timm", {"mean": [123.7, 116.3, 103.5]}, "and not from 0 to 1"),
    "a deviation of zero": ("timm", {"std": [0.2, 0, 0.2]}, "pixels cannot be divided by that"),
    "a deviation below zero": ("timm", {"std": [0.2, -0.2, 0.2]}, "pixels cannot be divided by that"),
    "a deviation near zero": ("timm", {"std": [0.2, 1e-300, 0.2]}, "pixels cannot be divided by that"),
    "no number": ("timm", {"mean": [0.5, float("nan"), 0.5]}, r"\$\.mean\[1\]: should be a finite number"),
    "an infinite one": ("timm", {"std": [0.5, float("inf"), 0.5]}, r"\$\.std\[1\]: should be a finite number"),
    "a share of zero": ("timm", {"crop_pct": 0}, "crop_pct is 0, and not above 0 and up to 2"),
    "a share in percent": ("timm", {"crop_pct": 87.5}, "crop_pct is 87.5, and not above 0 and up to 2"),
    "a tiny share": ("timm", {"crop_pct": 1e-4}, r"resized is \(2240000, 2240000\); a side has 1 to 16384"),
    "a border": ("timm", {"crop_border_pixels": 4}, r"\$\.crop_border_pixels: is '4', which xedge does not do"),
    "TensorFlow": ("timm", {"tf_preprocessing": True}, r"\$\.tf_preprocessing: is 'True', which xedge does not do"),
    "a grey colour": ("timm", {"color": "L"}, "color is L, which does not go with 3 channels"),
    "another colour": ("timm", {"color": "YUV"}, r"\$\.color: should be one of 'RGB', 'BGR', 'L'"),
    "another kind": ("torchvision", RESOLVED, r"\$\.resize_size: is missing"),
    "without antialias": ("torchvision", {**PRESET, "antialias": False}, "Pillow always antialiases"),
    "two sides": ("torchvision", {**PRESET, "crop_size": [224, 192]}, r"\$\.crop_size: should be a list of 1"),
    "an exact filter": ("torchvision", {**PRESET, "interpolation": "nearest-exact"}, r"\$\.interpolation: should be "),
    "two means": ("torchvision", {**PRESET, "mean": [0.5] * 2, "std": [0.5] * 2}, "photos of 1 or 3 channels"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_a_file_is_one_line(name: str, tmp_path: Path) -> None:
    kind, change, words = WRONG[name]
    values = {key: value for key, value in {**RESOLVED, **change}.items() if value is not WITHOUT}
    (tmp_path / "config.json").write_text(json.dumps(values if kind == "timm" else change))
    with pytest.raises(InputError, match=words) as error:
        read(f"{kind}:{tmp_path / 'config.json'}")
    assert str(error.value).startswith(f"{tmp_path / 'config.json'}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "is not JSON"),
        (b"[" * 200_000, "is nested too deep"),
        (b"[1]", r"\$: should be an object"),
        (b"7", r"\$: should be an object"),
        (b'{"pretrained_cfg": 3}', r"\$\.pretrained_cfg: should be an object"),
        (b'{"pretrained_cfg": {"mean": []}}', r"\$\.pretrained_cfg\.input_size: is missing"),
        (b"\xff\xfe", "cannot be read as UTF-8 text"),
        (b" " * (1 << 20) + b"{}", "cannot be read as UTF-8 text"),
    ],
)
def test_a_file_that_holds_no_config_is_refused(text: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text)
    for kind in ("timm", "torchvision"):
        if b"pretrained_cfg" in text and kind == "torchvision":
            continue
        with pytest.raises(InputError, match=words) as error:
            read(f"{kind}:{tmp_path / 'config.json'}")
        assert "\n" not in str(error.value)


def test_a_missing_file_a_folder_and_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file of preprocessing"):
        read(f"timm:{tmp_path / 'nothing.json'}")
    with pytest.raises(InputError, match="cannot be read"):
        read(f"timm:{tmp_path}")
    for named in ("tim:config.json", "timm", "timm:", "imagenet", ""):
        with pytest.raises(UsageError, match="unknown preprocessing"):
            read(named)
    with pytest.raises(UsageError, match="leave crop out"):
        read_data_config(f"timm:{DATA / 'resolved.json'}", "center")


def test_a_file_for_another_input_is_refused() -> None:
    config, named = read(f"timm:{DATA / 'resolved.json'}"), f"timm:{DATA / 'resolved.json'}"
    with pytest.raises(InputError, match="input_size is 3x224x224, but the model takes 3x128x128"):
        applied(config, named, (128, 128, 3), exif=False)
    with pytest.raises(InputError, match="the model takes 1x224x224"):
        applied(config, named, (224, 224, 1), exif=False)
    config, named = read(f"torchvision:{DATA / 'resnet50.json'}"), f"torchvision:{DATA / 'resnet50.json'}"
    with pytest.raises(InputError, match="crop_size is 224 and there are 3 channels, but the model takes 3x224x192"):
        applied(config, named, (224, 192, 3), exif=False)


def test_a_photo_that_would_become_huge_or_empty_is_refused(tmp_path: Path) -> None:
    long = Preprocessing(height=224, width=224, crop="short", resized=(256, 256))
    Image.new("RGB", (1, 4000)).save(tmp_path / "line.png")
    with pytest.raises(InputError, match=r"line\.png: has 1x4000 pixels and would be resized to 256x1024000"):
        long.pixels(tmp_path / "line.png")
    flat = Preprocessing(height=24, width=24, crop="border", resized=(24, 24), fill=(0, 0, 0))
    with pytest.raises(InputError, match="would be resized to 0x24"):
        flat.pixels(tmp_path / "line.png")


GOOD = Preprocessing(height=24, width=24, crop="border", resized=(24, 25), fill=(1, 2, 255), resize="hamming")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resized": None}, "resized is None, which does not go with the crop border"),
        ({"crop": "none"}, "does not go with the crop none"),
        ({"crop": "short"}, "does not go with the crop short"),
        ({"fill": None}, "fill is None"),
        ({"fill": [1, 2]}, "it needs 3 values from 0 to 255"),
        ({"fill": [1, 2, 256]}, "it needs 3 values from 0 to 255"),
        ({"resized": [0, 24]}, "a side has 1 to 16384"),
        ({"resized": [24, 1 << 40]}, "a side has 1 to 16384"),
        ({"resized": [24]}, r"\$\.resized: should be a list of 2"),
        ({"crop": "centre"}, r"\$\.crop: should be "),
        ({"resize": "bicubic2"}, r"\$\.resize: should be one of 'nearest'"),
    ],
)
def test_values_that_contradict_each_other_are_refused(change: dict[str, Any], words: str) -> None:
    document = to_json(GOOD)
    assert from_json(Preprocessing, document) == GOOD
    with pytest.raises(BundleError, match=words):
        from_json(Preprocessing, {**document, **change})


def test_bundles_from_before_open(int8_bundle: Bundle, tmp_path: Path) -> None:
    document = to_json(int8_bundle.manifest)
    for name in ("resized", "fill"):
        del document["preprocessing"][name]
    assert from_json(Manifest, document) == int8_bundle.manifest


def test_a_bundle_prepares_photos_as_the_file_says(here: Command, few_photos: Path, tmp_path: Path) -> None:
    values = {**RESOLVED, "input_size": [3, 128, 128], "crop_pct": 0.9, "interpolation": "lanczos"}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": values}))
    command = ("convert", "--target", "tflite", "--output", "bundle", "--data", few_photos)
    done = here(*command, "--preprocess", "timm:config.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = "lanczos the short side to 142, then the centre of 128x128"
    assert f"preprocessing timm:config.json: {words}" in done.stdout
    assert words in here("info", "bundle", cwd=tmp_path).stdout
    assert here("run", "bundle", "--runs", 3, "--data", few_photos, cwd=tmp_path).returncode == 0
    preprocessing = open_bundle(tmp_path / "bundle").manifest.preprocessing
    assert (preprocessing.crop, preprocessing.resized) == ("short", (142, 142))
    plain = here(*command[:-1], few_photos, "--preprocess", "tf", "--output", "plain", cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    compared = here("verify", "bundle", "plain", cwd=tmp_path)
    assert compared.returncode == 3
    assert words in compared.stderr
    edit(tmp_path / "bundle", lambda document: document["preprocessing"].pop("resized"))
    broken = here("run", "bundle", cwd=tmp_path)
    assert broken.returncode == 5
    assert f"{MANIFEST}: $.preprocessing: resized is None" in broken.stderr.strip().splitlines()[-1]


def test_python_takes_a_file_too_and_refuses_what_it_does_not_know(few_photos: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"target": "tflite", "output": tmp_path / "bundle", "data": few_photos}
    (tmp_path / "config.json").write_text(json.dumps({**RESOLVED, "input_size": [3, 128, 128], "crop_mode": "border"}))
    (made,) = xedge.convert(preprocess=f"timm:{tmp_path / 'config.json'}", **given)
    assert made.manifest.preprocessing.fill == (128, 128, 128)
    with pytest.raises(UsageError, match="unknown preprocessing 'torsh'; did you mean torch"):
        xedge.convert(preprocess="torsh", **given)
    with pytest.raises(InputError, match="but the model takes 3x128x128"):
        xedge.convert(preprocess=f"timm:{DATA / 'resolved.json'}", **given)


def test_the_command_line_refuses_files_in_one_line(here: Command, tmp_path: Path) -> None:
    command = ("convert", "--target", "tflite", "--output", "out")
    for more, code, words in (
        (("--preprocess", "timm:nothing.json"), 3, "nothing.json: there is no such file of preprocessing"),
        (("--preprocess", "tfx"), 2, "unknown preprocessing 'tfx'; did you mean tf?"),
        (("--preprocess", f"timm:{DATA / 'config.json'}", "--crop", "center"), 2, "leave --crop out"),
        (("--preprocess", f"timm:{DATA / 'config.json'}"), 3, "input_size is 3x224x224, but the model takes 3x128x128"),
    ):
        done = here(*command, *more, cwd=tmp_path)
        assert done.returncode == code
        assert words in done.stderr.strip().splitlines()[-1]
        assert not (tmp_path / "out").exists()
