"""Photos of every mode and depth, photos that were turned, and what of a folder is not taken."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Command
from xedge.errors import InputError
from xedge.models.compact import embedded
from xedge.photos.calibration import read_calibration
from xedge.photos.decoding import photo_suffixes
from xedge.photos.preprocess import scheme
from xedge.photos.sets import read_folder

PHOTO = Image.open(embedded.test_photos().files[0]).convert("RGB")
GREY = PHOTO.convert("L")
WIDE = np.asarray(GREY).astype(np.uint16)
LAB = Image.merge("LAB", (GREY, *(Image.new("L", GREY.size, 128),) * 2))
COLOUR, ONE = scheme("tf", 32, 32, 3), scheme("tf", 32, 32, 1)
# A photo of each mode as it is stored, the name of its file, and the photo of eight bits that it is equal to.
MODES = {
    "16 bits of grey": (Image.fromarray(WIDE * 257), "a.png", GREY),
    "16 bits of grey, shifted": (Image.fromarray(WIDE << 8), "a.png", GREY),
    "16 bits in a TIFF": (Image.fromarray(WIDE * 257), "a.tif", GREY),
    "16 bits in a PGM": (Image.fromarray(WIDE * 257), "a.pgm", GREY),
    "a palette": (PHOTO.convert("P"), "a.png", PHOTO.convert("P").convert("RGB")),
    "a GIF": (PHOTO.convert("P"), "a.gif", PHOTO.convert("P").convert("RGB")),
    "transparency": (PHOTO.convert("RGBA"), "a.png", PHOTO),
    "grey and transparency": (GREY.convert("LA"), "a.png", GREY),
    "one bit": (GREY.convert("1"), "a.png", GREY.convert("1").convert("L")),
    "CMYK": (PHOTO.convert("CMYK"), "a.tif", PHOTO.convert("CMYK").convert("RGB")),
    "LAB": (LAB, "a.tif", LAB.convert("RGB")),
    "JPEG 2000": (PHOTO, "a.jp2", PHOTO),
    "WebP without loss": (PHOTO, "a.webp", PHOTO),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_gives_the_values_of_its_copy_with_eight_bits(name: str, tmp_path: Path) -> None:
    stored, file, copy = MODES[name]
    stored.save(tmp_path / file, lossless=True)  # which only WebP knows
    assert np.array_equal(COLOUR.pixels(tmp_path / file), COLOUR.pixels(copy))
    assert np.array_equal(ONE.pixels(tmp_path / file), ONE.pixels(copy.convert("L")))


@pytest.mark.parametrize(
    ("stored", "mode"),
    [
        (Image.fromarray(np.asarray(GREY).astype(np.float32)), "F"),
        (Image.fromarray(np.asarray(GREY).astype(np.int32)), "I"),
    ],
)
def test_modes_whose_values_have_no_range_are_refused_by_name(stored: Image.Image, mode: str, tmp_path: Path) -> None:
    stored.save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=f"has pixels of mode {mode}, whose values have no fixed range"):
        COLOUR.pixels(tmp_path / "a.tif")


def _sideways(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    PHOTO.rotate(90, expand=True).save(path, exif=exif, quality=95)


def test_photos_are_turned_only_where_it_is_asked_for(tmp_path: Path) -> None:
    _sideways(tmp_path / "a.jpg")
    as_stored = COLOUR.pixels(tmp_path / "a.jpg").astype(int)
    upright = scheme("tf", 32, 32, 3, exif=True).pixels(tmp_path / "a.jpg").astype(int)
    expected = COLOUR.pixels(PHOTO).astype(int)
    assert np.abs(upright - expected).mean() < 3
    assert np.abs(as_stored - expected).mean() > 20


def test_the_bundle_remembers_that_photos_are_turned(here: Command, tmp_path: Path) -> None:
    for place, name in enumerate(embedded.labels()):
        (tmp_path / "photos" / name).mkdir(parents=True)
        _sideways(tmp_path / "photos" / name / f"{place}.jpg")
    convert = ("convert", "--target", "tflite", "--data", "photos")
    told = here(*convert, "--output", "as_stored", cwd=tmp_path)
    assert "10 of 10 photos in photos have an EXIF orientation" in told.stdout
    assert "convert with the option exif" in told.stdout
    turned = here(*convert, "--exif", "--output", "turned", cwd=tmp_path)
    assert "EXIF orientation" not in turned.stdout
    assert "turned by EXIF" in here("info", "turned", cwd=tmp_path).stdout
    refused = here("verify", "as_stored", "turned", cwd=tmp_path)
    assert refused.returncode == 3
    assert "turned by EXIF" in refused.stderr


def _folder(root: Path) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir()
        GREY.save(root / name / "a.png")
    return root


def test_what_is_not_taken_of_a_folder_is_told(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "empty").mkdir()
    (folder / "cat" / "more").mkdir()
    for name in ("x.heic", "y.heic", "notes.txt", "README"):
        (folder / "cat" / name).write_text("x")
    for name in (".hidden.png", ".DS_Store", "Thumbs.db"):
        (folder / "dog" / name).write_text("x")
    (folder / ".ipynb_checkpoints").mkdir()
    GREY.save(folder / ".ipynb_checkpoints" / "a.png")
    found = read_folder(folder)
    assert found.classes == ("cat", "dog")
    assert found.left_out == (
        "2 files .heic",
        "1 file without a suffix",
        "1 file .txt",
        "1 folder (empty) without photos",
        "1 folder (cat/more) inside a folder",
    )


def test_a_folder_holds_what_pillow_reads() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".ppm", ".jp2"} <= photo_suffixes()
    assert not {".pdf", ".eps", ".h5", ".mpg"} & photo_suffixes()


@pytest.mark.parametrize("name", ["a\nb", "caf\udce9"])
def test_class_folders_that_cannot_be_labels_are_refused(name: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "cat").rename(folder / name)
    with pytest.raises(InputError, match="is not one line of Unicode"):
        read_folder(folder)


def test_a_photo_that_cannot_be_read_costs_only_itself(here: Command, bundles: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name in embedded.labels():
        (photos / name).mkdir(parents=True)
        PHOTO.save(photos / name / "a.jpg")
    whole = (photos / embedded.labels()[3] / "a.jpg").read_bytes()
    (photos / embedded.labels()[3] / "b.jpg").write_bytes(whole[: len(whole) // 2])
    bundle = bundles / "tflite_fp32"
    ran = here("run", bundle, "--runs", 5, "--data", photos)
    assert ran.returncode == 0
    assert "not scored: 1 photo that cannot be read, such as" in ran.stdout
    assert "10 photos)" in ran.stdout
    good, bad = (photos / embedded.labels()[3] / name for name in ("a.jpg", "b.jpg"))
    predicted = here("predict", bundle, good, bad, good)
    assert predicted.returncode == 3
    assert len(predicted.stdout.splitlines()) == 2
    assert "b.jpg: not a readable photo" in predicted.stderr


def test_arrays_are_refused_before_they_take_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((10, 8, 8, 3), np.uint8))
    path.write_bytes(path.read_bytes().replace(b"(10, 8, 8, 3)", b"(9999999, 8, 8, 8)"[:13]))
    with pytest.raises(InputError):
        read_calibration(path, 5, 0, (8, 8, 3))
    np.save(path, np.full((10, 8, 8, 3), 1e300))
    with pytest.raises(InputError, match="values that are no finite float32 numbers"):
        read_calibration(path, 5, 0, (8, 8, 3))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="not a plain file"):
        read_calibration(path, 5, 0, (8, 8, 3))
