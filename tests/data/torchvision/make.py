"""Write what timm and torchvision make of photos, and compare more of it with xedge.

Needs PyTorch, torchvision and timm, and of xedge only its sources:

    PYTHONPATH=. python tests/data/torchvision/make.py write
    PYTHONPATH=. python tests/data/torchvision/make.py compare 1500
    PYTHONPATH=. python tests/data/torchvision/make.py known
"""

from __future__ import annotations

import importlib.metadata
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torchvision
from PIL import Image
from timm.data import create_transform, resolve_data_config, resolve_model_data_config
from timm.models import save_for_hf
from torchvision import models
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from tests.patterns import digest, pattern

FOLDER = Path(__file__).parent
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
# Width and height of photos: landscape, portrait, odd, near the size of the input, smaller than it, narrow.
PHOTOS = [(640, 480), (480, 640), (500, 375), (333, 501), (501, 334), (257, 257), (224, 224), (256, 255), (100, 80)]
PHOTOS += [(80, 101), (31, 47), (300, 20), (13, 200), (7, 5), (1, 1), (97, 96), (255, 341), (1023, 767)]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Shape, share of the centre, mode, filter.
CONFIGS = [
    ((3, 96, 96), 0.875, "center", "bilinear"),
    ((3, 96, 96), 0.95, "center", "bicubic"),
    ((3, 97, 97), 0.9, "center", "bicubic"),
    ((3, 95, 95), 0.965, "center", "lanczos"),
    ((3, 96, 96), 1.0, "center", "nearest"),
    ((3, 224, 224), 0.888, "center", "bicubic"),
    ((3, 96, 96), 1.15, "center", "bicubic"),
    ((3, 64, 97), 1.15, "squash", "bilinear"),
    ((3, 64, 96), 0.875, "center", "bilinear"),
    ((3, 97, 64), 0.9, "center", "bicubic"),
    ((3, 64, 65), 0.5, "center", "bilinear"),
    ((1, 28, 28), 0.875, "center", "bilinear"),
    ((3, 96, 96), 0.875, "squash", "bicubic"),
    ((3, 64, 97), 0.9, "squash", "box"),
    ((3, 96, 96), 1.0, "squash", "bilinear"),
    ((3, 96, 96), 0.875, "border", "bilinear"),
    ((3, 96, 96), 1.0, "border", "bicubic"),
    ((3, 64, 97), 0.9, "border", "hamming"),
    ((1, 32, 31), 1.0, "border", "lanczos"),
]


def config(shape: tuple[int, int, int], share: float, mode: str, name: str) -> dict[str, Any]:
    """Return a data config of timm."""
    channels = shape[0]
    return {
        "input_size": shape,
        "interpolation": name,
        "mean": MEAN[:channels],
        "std": STD[:channels],
        "crop_pct": share,
        "crop_mode": mode,
    }


def by_timm(given: dict[str, Any], photo: Image.Image) -> np.ndarray:
    """Return the pixels (height, width, channels) uint8 that timm makes of a photo."""
    tensor = create_transform(**given, is_training=False, normalize=False)(photo)
    return np.asarray(tensor).transpose(1, 2, 0)


def preset(transforms: Any) -> dict[str, Any]:
    """Return the values of a preset of torchvision, as the documentation says to write them."""
    names = ("resize_size", "crop_size", "mean", "std", "interpolation", "antialias")
    values: dict[str, Any] = json.loads(
        json.dumps({name: getattr(transforms, name) for name in names}, default=lambda one: one.value)
    )
    return values


def by_torchvision(transforms: Any, photo: Image.Image) -> np.ndarray:
    """Return the pixels (height, width, channels) uint8 that a preset of torchvision makes of a photo."""
    functional = torchvision.transforms.functional
    resized = functional.resize(photo, transforms.resize_size, interpolation=transforms.interpolation)
    cut = functional.center_crop(resized, transforms.crop_size)
    pixels = np.asarray(cut)
    # The preset itself, of which these are the first two steps.
    whole = transforms(photo).numpy().transpose(1, 2, 0)
    expected = (pixels / np.float32(255) - np.float32(transforms.mean)) / np.float32(transforms.std)
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    return pixels


def presets() -> list[Any]:
    """Return the presets of all classifiers of torchvision, each once, and some whose centre is beyond the photo."""
    found = {}
    for crop, side in ((96, 64), (97, 64), (96, 95)):
        small = ImageClassification(crop_size=crop, resize_size=side, interpolation=InterpolationMode.BICUBIC)
        found[json.dumps(preset(small))] = small
    for name in models.list_models(models):
        for one in models.get_model_weights(name):
            transforms = one.transforms()
            found[json.dumps(preset(transforms))] = transforms
    return list(found.values())


def write() -> None:
    """Write the digests, and the files of a real network of each library."""
    cases = []
    for given in CONFIGS:
        values = config(*given)
        digests = {f"{w}x{h}": digest(by_timm(values, pattern(w, h, given[0][0]))) for w, h in PHOTOS}
        cases.append({"kind": "timm", "config": values, "digests": digests})
    for transforms in presets():
        few = PHOTOS[len(cases) % 3 :: 3]
        digests = {f"{w}x{h}": digest(by_torchvision(transforms, pattern(w, h, 3))) for w, h in few}
        cases.append({"kind": "torchvision", "config": preset(transforms), "digests": digests})
    versions = {name: importlib.metadata.version(name) for name in ("pillow", "torchvision", "timm")}
    lines = ",\n".join(json.dumps(one) for one in cases)
    (FOLDER / "pixels.json").write_text(f'{{"versions": {json.dumps(versions)},\n"cases": [\n{lines}\n]}}\n')
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    (FOLDER / "resolved.json").write_text(json.dumps(resolve_model_data_config(network), indent=1) + "\n")
    with tempfile.TemporaryDirectory() as scratch:
        save_for_hf(network, scratch)
        (FOLDER / "config.json").write_text((Path(scratch) / "config.json").read_text())
    transforms = models.ResNet50_Weights.IMAGENET1K_V2.transforms()
    (FOLDER / "resnet50.json").write_text(json.dumps(preset(transforms)) + "\n")


def compare(count: int) -> None:
    """Compare photos of random sizes with what xedge makes of them; only this needs packages of xedge."""
    from xedge.conversion.data_config import read_data_config
    from xedge.errors import InputError

    choose, refused = random.Random(0), 0
    known = presets()
    file = Path(tempfile.mkdtemp()) / "config.json"
    for _ in range(count):
        photo = pattern(int(2 ** choose.uniform(0, 10)), int(2 ** choose.uniform(0, 10)), 3)
        if choose.random() < 0.8:
            sides = choose.choice([(96, 96), (choose.randint(8, 240),) * 2, (choose.randint(8, 99), 64)])
            share = choose.choice([0.875, 0.9, 0.95, 1.0, 1.15, choose.uniform(0.4, 1.5)])
            mode = choose.choice(["center", "squash", "border"])
            kind, values = "timm", config((3, *sides), share, mode, choose.choice(FILTERS))
            shape = (*sides, 3)
        else:
            transforms = choose.choice(known)
            kind, values = "torchvision", preset(transforms)
            shape = (*transforms.crop_size * 2, 3)
        file.write_text(json.dumps(values))
        read = read_data_config(f"{kind}:{file}", "none")
        assert read is not None
        try:
            got = read.preprocessing(shape, exif=False).pixels(photo)
        except InputError:
            refused += 1
            continue
        expected = by_timm(values, photo) if kind == "timm" else by_torchvision(transforms, photo)
        if not np.array_equal(got, expected):
            raise SystemExit(f"{photo.size} differs with {values}")
    print(f"{count - refused} photos are equal in every pixel; {refused} are too narrow for xedge")


def known() -> None:
    """Compare two photos with what xedge makes of them by each data config of the weights that timm has."""
    from xedge.conversion.data_config import read_data_config

    choose, found = random.Random(0), {}
    for name in timm.list_pretrained():
        values = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        found[json.dumps(values, sort_keys=True)] = values
    file = Path(tempfile.mkdtemp()) / "config.json"
    for text, values in found.items():
        file.write_text(text)
        read = read_data_config(f"timm:{file}", "none")
        assert read is not None
        channels, height, width = values["input_size"]
        for size in choose.sample([one for one in PHOTOS if min(one) > 10], 2):
            photo = pattern(*size, channels)
            got = read.preprocessing((height, width, channels), exif=False).pixels(photo)
            if not np.array_equal(got, by_timm(values, photo)):
                raise SystemExit(f"{size} differs with {values}")
    print(f"{2 * len(found)} photos are equal in every pixel, by all {len(found)} data configs of timm")


if __name__ == "__main__":
    {"write": write, "known": known, "compare": lambda: compare(int(sys.argv[2]))}[sys.argv[1]]()
