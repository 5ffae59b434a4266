"""Models of many classes: what is written and shown grows with photos and classes, not with the square of the classes.

Sizes and numbers of entries are counted, because times depend on the machine.
"""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import xedge
from tests import fabricated
from tests.conftest import Command, Once
from xedge.bundle.reading import CONFUSION, MANIFEST, open_bundle
from xedge.cli.run_text import text
from xedge.errors import BundleError
from xedge.metrics import Accuracy, accuracy, confusion, ranks
from xedge.photos.sets import PhotoSet
from xedge.photos.truth import truth_of
from xedge.reporting.gather import gather
from xedge.reporting.page import page

CLASSES, SIZE = 1000, 16
LABELS = tuple(f"kind {index:05}" for index in range(CLASSES))
# The classes that have photos, and how many each of them has.
PHOTOGRAPHED, EACH = (0, 3, 500, 999), 3


@pytest.fixture(scope="module")
def made(once: Once) -> Path:
    """A folder with ``bundle``, ``photos`` and ``labels.txt``: a model of 1,000 classes with photos of four."""

    def make(folder: Path) -> None:
        keras.utils.set_random_seed(0)
        photo, rng = keras.Input((SIZE, SIZE, 3)), np.random.default_rng(0)
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(photo))
        model = keras.Model(photo, layers.Dense(CLASSES, activation="softmax")(x))
        (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
        for index in PHOTOGRAPHED:
            (folder / "photos" / LABELS[index]).mkdir(parents=True)
            for number in range(EACH):
                pixels = rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / LABELS[index] / f"{number}.png")
        xedge.convert(
            model,
            target="tflite",
            output=folder / "bundle",
            labels=folder / "labels.txt",
            data=folder / "photos",
            preprocess="tf",
        )

    return once("many_classes", make)


def test_a_manifest_is_as_small_as_that_of_few_classes(made: Path) -> None:
    manifest = (made / "bundle" / MANIFEST).read_text()
    assert len(manifest) < 5_000
    assert "confusion" not in json.loads(manifest)["accuracy"]["artifact"]
    # A cell of the matrix and a class take less than 100 bytes, and both the artifact and the reference have them.
    photos = len(PHOTOGRAPHED) * EACH
    assert (made / "bundle" / CONFUSION).stat().st_size < 2 * 100 * photos


def test_what_was_answered_class_by_class_is_in_a_file_of_its_own(made: Path, here: Command) -> None:
    bundle = open_bundle(made / "bundle")
    found = bundle.confusion()
    assert found is not None
    assert CONFUSION in bundle.manifest.files
    for one in (found.artifact, found.reference):
        assert one is not None
        assert [(each.index, each.label, each.photos) for each in one.classes] == [
            (index, LABELS[index], EACH) for index in PHOTOGRAPHED
        ]
        assert sum(count for _, _, count in one.cells) == len(PHOTOGRAPHED) * EACH
    done = here("info", made / "bundle", "--json", "-")
    assert json.loads(done.stdout)["confusion"]["artifact"]["cells"] == [list(cell) for cell in found.artifact.cells]


def test_a_bundle_without_labelled_photos_has_no_such_file(tmp_path: Path) -> None:
    photo = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(photo, layers.Dense(6, activation="softmax")(layers.GlobalAveragePooling2D()(photo)))
    (one,) = xedge.convert(model, target="onnx", output=tmp_path / "bundle", preprocess="tf")
    assert not (one.path / CONFUSION).exists()
    assert open_bundle(one.path).confusion() is None


def test_predicting_does_not_read_what_only_info_needs(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise BundleError("the answers class by class were read")

    monkeypatch.setattr("xedge.bundle.reading.from_json", refused)
    with xedge.load(made / "bundle") as model:
        (best,) = model.classify(next((made / "photos").rglob("*.png")), top=1)
    assert best.label == LABELS[best.index]


def test_a_run_is_written_and_shown_without_the_square_of_its_classes(
    made: Path, here: Command, tmp_path: Path
) -> None:
    done = here("run", made / "bundle", "--data", made / "photos", "--runs", 10, "--json", tmp_path / "run.json")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "run.json").read_text())
    assert len(written["confusion"]["classes"]) == len(PHOTOGRAPHED)
    assert len(written["confusion"]["cells"]) <= len(PHOTOGRAPHED) * EACH
    # Most of it are the names of the classes, which stand in it once.
    assert (tmp_path / "run.json").stat().st_size < 60 * CLASSES
    done = here("report", tmp_path / "run.json", "--output", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").stat().st_size < 60_000


def test_ten_thousand_classes_need_no_matrix() -> None:
    """A dense one would have 100 million cells."""
    classes, photos = 10_000, 500
    rng = np.random.default_rng(0)
    truth, answers = rng.integers(0, classes, photos), rng.integers(0, classes, photos)
    labels = [str(index) for index in range(classes)]
    tracemalloc.start()
    found = confusion(answers, truth, labels)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.cells) <= photos
    assert len(found.classes) <= photos
    assert peak_bytes < 10_000_000


def test_the_confusion_is_that_of_the_dense_matrix() -> None:
    rng = np.random.default_rng(0)
    truth, answers = rng.integers(0, 7, 200), rng.integers(0, 7, 200)
    dense = np.zeros((7, 7), int)
    np.add.at(dense, (truth, answers), 1)
    found = confusion(answers, truth, "abcdefg")
    assert list(found.cells) == [(i, j, dense[i, j]) for i in range(7) for j in range(7) if dense[i, j]]
    for one in found.classes:
        assert one.label == "abcdefg"[one.index]
        assert one.photos == dense[one.index].sum()
        assert one.top1 == pytest.approx(dense[one.index, one.index] / one.photos)


def test_the_rank_of_the_true_class_is_that_of_a_stable_sort() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.integers(0, 5, (300, 12)).astype(np.float32)
    truth = rng.integers(0, 12, 300)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    places = [row.tolist().index(true) for row, true in zip(order, truth, strict=True)]
    assert ranks(probabilities, truth).tolist() == places
    found = accuracy(probabilities, truth)
    assert found.top1 == np.mean(order[:, 0] == truth)
    assert found.top5 == np.mean((order[:, :5] == truth[:, None]).any(1))


def test_each_label_is_looked_at_once_to_find_the_class_of_every_folder() -> None:
    """The folders once went through all labels each, which are 100 million comparisons at 10,000 classes."""
    looked_at = 0

    class Labels(tuple[str, ...]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            nonlocal looked_at
            for label in super().__iter__():
                looked_at += 1
                yield label

    files = tuple(Path("photos") / label / "a.png" for label in LABELS)
    photos = PhotoSet(root=Path("photos"), files=files, classes=LABELS, truth=tuple(range(CLASSES)))
    assert truth_of(photos, Labels(LABELS), CLASSES).tolist() == list(range(CLASSES))
    assert looked_at == CLASSES


def test_of_many_classes_a_terminal_shows_the_worst() -> None:
    run = fabricated.run()
    assert run.answers is not None
    truth = np.repeat(np.arange(60), 4)
    answers = truth.copy()
    answers[truth == 41] = 7
    answers[truth == 17] = [17, 17, 17, 3]
    top1 = float((answers == truth).mean())
    scored = Accuracy(photos=len(truth), top1=top1, top5=None, interval95=(0.9, 1.0))
    told = replace(run, accuracy=scored, answers=None, confusion=confusion(answers, truth, LABELS))
    words = text(told)
    rows = [line.split() for line in words.splitlines() if line.startswith("kind ")]
    assert len(rows) == 10
    assert [row[1:] for row in rows[:2]] == [["00041", "0.00", "%"], ["00017", "75.00", "%"]]
    assert "These 10 of 60 classes have the lowest accuracy" in words


def test_a_page_tells_classes_of_one_name_apart() -> None:
    run = fabricated.run()
    assert run.answers is not None
    labels = ("crane", "hen", "crane", *run.answers.labels[3:])
    text = page(gather([replace(run, answers=replace(run.answers, labels=labels))]))
    assert "<span>crane (class 0)</span>" in text
    assert "<span>crane (class 2)</span>" in text
