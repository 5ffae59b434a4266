"""Class folders and labels: one way from a name to a class, and classes of one name that are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import xedge
from tests.conftest import Command, without_progress
from xedge.errors import InputError
from xedge.photos.labels import classes_by_name, lines_of, told_apart
from xedge.photos.sets import PhotoSet
from xedge.photos.truth import truth_of

SIZE = 16
LABELS = ("crane", "hen", "crane", "owl", "jay", "kite", "coot")


def test_classes_of_one_name_are_told_apart() -> None:
    assert classes_by_name(LABELS)["crane"] == [0, 2]
    assert told_apart(LABELS[:4]) == ("crane (class 0)", "hen", "crane (class 2)", "owl")
    assert lines_of([0, 2]) == "lines 1 and 3"
    assert lines_of([0, 2, 8]) == "lines 1, 3 and 9"
    assert lines_of(range(1, 8)) == "lines 2, 3, 4, 5 and 3 others"


def labelled(*classes: str) -> PhotoSet:
    """Photos that are nowhere, one in each class folder."""
    files = tuple(Path("birds") / name / "a.jpg" for name in classes)
    return PhotoSet(root=Path("birds"), files=files, classes=classes, truth=tuple(range(len(classes))))


def test_a_folder_is_a_class_only_if_one_class_has_its_name() -> None:
    assert truth_of(labelled("jay", "owl"), LABELS, len(LABELS)).tolist() == [4, 3]
    with pytest.raises(InputError, match=r"'crane' could be several classes, because lines 1 and 3 of the labels"):
        truth_of(labelled("crane", "owl"), LABELS, len(LABELS))
    with pytest.raises(InputError, match=r"'cranes' is none of the model's 7 labels \(crane, hen, crane, owl, jay, "):
        truth_of(labelled("cranes"), LABELS, len(LABELS))


def answering(favourites: dict[int, float]) -> Any:
    """Return a model that gives each photo the same logits, the favourites more than the other classes."""
    keras.utils.set_random_seed(0)
    photo = keras.Input((SIZE, SIZE, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(photo))
    model = keras.Model(photo, layers.Dense(len(LABELS), activation="softmax")(x))
    dense = model.layers[-1]
    dense.kernel.assign(np.zeros(dense.kernel.shape))
    dense.bias.assign([favourites.get(index, 0.0) for index in range(len(LABELS))])
    return model


def photo_in(folder: Path) -> Path:
    """Write a photo into a folder that is made for it."""
    folder.mkdir(parents=True)
    Image.fromarray(np.full((SIZE, SIZE, 3), 90, np.uint8)).save(folder / "a.png")
    return folder / "a.png"


def test_two_classes_of_one_name_are_never_one(here: Command, tmp_path: Path) -> None:
    """The host and the device once took a folder of such a name for different classes, and verify passed."""
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n")
    answering({2: 3.0, 0: 2.0}).save(tmp_path / "birds.keras")
    photo = photo_in(tmp_path / "owls" / "owl")
    photo_in(tmp_path / "cranes" / "crane")
    convert = ("convert", "birds.keras", "--target", "onnx", "--labels", "labels.txt", "--preprocess", "unit")
    refused = "the class folder 'crane' could be several classes, because lines 1 and 3 of the labels"

    done = here(*convert, "--data", "cranes", "--output", "out", cwd=tmp_path)
    assert done.returncode == InputError.exit_code
    assert refused in done.stderr
    assert not (tmp_path / "out").exists()

    done = here(*convert, "--data", "owls", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lines 1 and 3 of the labels have the same name, 'crane'" in done.stdout
    done = here("run", "out", "--data", "cranes", "--runs", 3, cwd=tmp_path)
    assert done.returncode == InputError.exit_code
    assert refused in done.stderr
    assert len(without_progress(done.stderr)) == 1

    done = here("predict", "out", photo, "--json", "-", cwd=tmp_path)
    classes = json.loads(done.stdout)[0]["classes"]
    assert [(one["index"], one["label"]) for one in classes[:2]] == [(2, "crane"), (0, "crane")]
    assert "crane (class 2) " in here("predict", "out", photo, cwd=tmp_path).stdout
    with xedge.load(tmp_path / "out") as model:
        assert [one.index for one in model.classify(photo, top=2)] == [2, 0]
