"""Where the embedded default's files are, without importing any framework."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from xedge.photos.sets import CalibrationSet, PhotoSet, read_folder

ROOT = Path(__file__).resolve().parent
MODEL = ROOT / "model.keras"


def labels() -> tuple[str, ...]:
    """Return the class names in the order of the outputs."""
    return tuple((ROOT / "labels.txt").read_text().splitlines())


def test_photos() -> PhotoSet:
    """Return the labelled test photos; none was trained on."""
    return read_folder(ROOT / "test")


def calibration_photos() -> CalibrationSet:
    """Return the calibration photos; all come from the training photos."""
    return CalibrationSet(source="embedded clothing photos", photos=read_folder(ROOT / "calibration").files)


@cache
def card() -> dict[str, object]:
    """Return what was recorded when the model was trained."""
    loaded: dict[str, object] = json.loads((ROOT / "card.json").read_text())
    return loaded
