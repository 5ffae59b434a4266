"""Where the embedded default's files are, without importing any framework."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from xedge.photos.sets import CalibrationSet, PhotoFolder, read_folder

ROOT = Path(__file__).resolve().parent
MODEL = ROOT / "model.keras"
CALIBRATION_PHOTOS = 100


def labels() -> tuple[str, ...]:
    """Return the class names in the order of the outputs."""
    return tuple((ROOT / "labels.txt").read_text().splitlines())


def test_photos() -> PhotoFolder:
    """Return the labelled test photos; none was trained on."""
    return read_folder(ROOT / "test")


def calibration_photos(count: int = CALIBRATION_PHOTOS, seed: int = 0) -> CalibrationSet:
    """Return calibration photos; all come from the training photos.

    Args:
        count: The number of photos to draw; all of them are taken if there are not more.
        seed: The seed with which the photos are drawn.
    """
    photos = read_folder(ROOT / "calibration").sample(count, seed)
    drawn = None if count >= CALIBRATION_PHOTOS else seed
    return CalibrationSet(source="embedded clothing photos", photos=photos.files, seed=drawn)


@cache
def card() -> dict[str, object]:
    """Return what was recorded when the model was trained."""
    loaded: dict[str, object] = json.loads((ROOT / "card.json").read_text())
    return loaded
