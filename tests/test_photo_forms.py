"""Sets of photos in every form: the same photos with the same classes, whatever they are stored in."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import Command, Once
from xedge.errors import InputError, MissingRuntimeError
from xedge.photos.reading import address_of, read_photos
from xedge.photos.sets import PhotoSet
from xedge.photos.stored import photo_bytes
from xedge.photos.truth import truth_of


@pytest.fixture(scope="module")
def folder(few_photos: Path) -> PhotoSet:
    """The photos as class folders, which the other forms must equal."""
    return read_photos(few_photos)


def contents(photos: PhotoSet) -> list[tuple[bytes, str]]:
    """Return the bytes of each photo and the name of its class, in any order."""
    pairs = zip(photos.files, photos.truth, strict=True)
    return sorted((photo_bytes(photo), photos.classes[index]) for photo, index in pairs)


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def sharded(folder: PhotoSet, place: Path, suffix: str, *, numbers: bool = False) -> None:
    """Write two of WebDataset's shards."""
    for shard in range(2):
        with tarfile.open(place / f"val-{shard:06}.tar", "w") as archive:
            for index in range(shard, len(folder.files), 2):
                label: Any = folder.truth[index] if numbers else folder.classes[folder.truth[index]]
                add(archive, f"{index:08}.jpg", photo_bytes(folder.files[index]))
                said = str(label) if suffix == ".cls" else json.dumps({"label": label, "url": "somewhere"})
                add(archive, f"{index:08}{suffix}", said.encode())


def table(folder: PhotoSet, place: Path, *, names: bool) -> None:
    """Write two Parquet shards as Hugging Face's data sets have them."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    feature: dict[str, Any] = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel"}}
    if names:
        feature["label"]["names"] = list(folder.classes)
    schema = pa.schema([("image", kind), ("label", pa.int64())])
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": feature}})})
    for shard in range(2):
        chosen = range(shard, len(folder.files), 2)
        images = [{"bytes": photo_bytes(folder.files[index]), "path": f"{index}.jpg"} for index in chosen]
        columns = [pa.array(images, kind), pa.array([folder.truth[index] for index in chosen])]
        pq.write_table(pa.table(columns, schema=schema), place / f"val-{shard}.parquet", row_group_size=3)


@pytest.fixture(scope="module")
def flat(once: Once, folder: PhotoSet) -> Path:
    """The photos in a flat folder, with a CSV file of their classes beside it."""

    def make(place: Path) -> None:
        (place / "photos").mkdir()
        lines = ["label,file"]
        for index, photo in enumerate(folder.files):
            (place / "photos" / f"{index}.jpg").write_bytes(photo_bytes(photo))
            lines.append(f"{folder.classes[folder.truth[index]]},{index}.jpg")
        (place / "truth.csv").write_text("\n".join(lines))

    return once("flat_photos", make)


def test_a_flat_folder_with_a_file_of_classes(folder: PhotoSet, flat: Path) -> None:
    assert contents(read_photos(flat / "photos", flat / "truth.csv")) == contents(folder)
    assert not read_photos(flat / "photos").labelled


@pytest.mark.parametrize("above", ["", "val/", "./val/"])
def test_a_tar_of_class_folders(folder: PhotoSet, tmp_path: Path, above: str) -> None:
    with tarfile.open(tmp_path / "val.tar", "w") as archive:
        for photo, index in zip(folder.files, folder.truth, strict=True):
            add(archive, f"{above}{folder.classes[index]}/{Path(str(photo)).name}", photo_bytes(photo))
    found = read_photos(tmp_path / "val.tar")
    assert contents(found) == contents(folder)
    assert found.digest() == folder.digest()
    assert [found.name_of(one) for one in found.files] == [folder.name_of(one) for one in folder.files]


def test_a_flat_tar_with_a_file_of_classes(folder: PhotoSet, flat: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "val.tar", "w") as archive:
        archive.add(flat / "photos", "photos")
    assert contents(read_photos(tmp_path / "val.tar", flat / "truth.csv")) == contents(folder)


@pytest.mark.parametrize("suffix", [".cls", ".json"])
def test_webdataset_shards(folder: PhotoSet, tmp_path: Path, suffix: str) -> None:
    sharded(folder, tmp_path, suffix)
    for named in (tmp_path, f"{tmp_path}/val-*.tar"):
        assert contents(read_photos(named)) == contents(folder)


def test_webdataset_shards_with_numbers_are_those_of_the_outputs(folder: PhotoSet, tmp_path: Path) -> None:
    sharded(folder, tmp_path, ".cls", numbers=True)
    found = read_photos(tmp_path)
    assert found.numbered
    assert sorted(truth_of(found, None, 10)) == sorted(folder.truth)
    with pytest.raises(InputError, match="has class 9, but the model's 9 classes are numbered from 0 to 8"):
        truth_of(found, None, 9)


def test_parquet_shards(folder: PhotoSet, tmp_path: Path) -> None:
    table(folder, tmp_path, names=True)
    assert contents(read_photos(f"{tmp_path}/val-*.parquet")) == contents(folder)
    table(folder, tmp_path, names=False)
    found = read_photos(tmp_path)
    assert found.numbered
    assert found.digest() == folder.digest()


IMAGENET = {1: "n02119789", 2: "n02100735", 3: "n01440764"}


def imagenet(folder: PhotoSet, place: Path) -> list[int]:
    """Write three photos in the layout of ILSVRC2012_val, and return their numbers in the development kit."""
    import scipy.io

    synsets = np.array(
        [(number, name, "words", 0) for number, name in IMAGENET.items()] + [(4, "n00001740", "entity", 3)],
        dtype=[("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("num_children", object)],
    )
    scipy.io.savemat(place / "meta.mat", {"synsets": synsets})
    with tarfile.open(place / "ILSVRC2012_img_val.tar", "w") as archive:
        for index, photo in enumerate(folder.files[:3], start=1):
            add(archive, f"ILSVRC2012_val_{index:08}.JPEG", photo_bytes(photo))
    numbers = [2, 3, 1]
    (place / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number}\n" for number in numbers))
    return numbers


def test_imagenets_validation_photos_unopened(folder: PhotoSet, tmp_path: Path) -> None:
    """The kit numbers classes otherwise than models, which sort them by their WordNet names."""
    numbers = imagenet(folder, tmp_path)
    ground_truth = tmp_path / "ILSVRC2012_validation_ground_truth.txt"
    found = read_photos(tmp_path / "ILSVRC2012_img_val.tar", ground_truth)
    assert found.classes == ("n01440764", "n02100735", "n02119789")
    assert [found.classes[index] for index in found.truth] == [IMAGENET[number] for number in numbers]
    names = tmp_path / "synsets.txt"
    names.write_text("".join(f"{IMAGENET[number]}\n" for number in numbers))
    assert read_photos(tmp_path / "ILSVRC2012_img_val.tar", names).truth == found.truth
    kaggle = tmp_path / "LOC_val_solution.csv"
    rows = [f"ILSVRC2012_val_{i:08},{IMAGENET[number]} 1 2 3 4 " for i, number in enumerate(numbers, start=1)]
    kaggle.write_text("\n".join(["ImageId,PredictionString", *rows]))
    assert read_photos(tmp_path / "ILSVRC2012_img_val.tar", kaggle).truth == found.truth
    (tmp_path / "meta.mat").unlink()
    with pytest.raises(InputError, match=r"not the order of a model's outputs; put meta\.mat of the kit beside it"):
        read_photos(tmp_path / "ILSVRC2012_img_val.tar", ground_truth)


def test_what_does_not_fit_is_told(folder: PhotoSet, flat: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.csv"
    short.write_text("file,label\n0.jpg,hat\n")
    twice = tmp_path / "twice.csv"
    twice.write_text("file,label\n0.jpg,hat\n0.jpg,shoes\n")
    prose = tmp_path / "prose.txt"
    prose.write_text("These are the classes of my photos.\n")
    compressed = tmp_path / "val.tar.gz.tar"
    with tarfile.open(compressed, "w:gz") as archive:
        archive.add(flat / "photos", "photos")
    nothing = tmp_path / "nothing.parquet"
    pq.write_table(pa.table({"text": ["a"]}), nothing)
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 and nothing else")
    for data, truth, words in (
        (flat / "photos", short, "has no class for the photo 1.jpg"),
        (flat / "photos", twice, "has the photo 0.jpg twice"),
        (flat / "photos", prose, "give a CSV file with the columns file and label"),
        (flat / "photos", tmp_path / "missing.csv", "no such file"),
        (folder.root, flat / "truth.csv", "has class folders already"),
        (compressed, None, "is not a .tar whose photos can be read one by one"),
        (nothing, None, "has the columns text, but none named image, img, photo"),
        (damaged, None, "not a readable Parquet file"),
        (f"{tmp_path}/nowhere-*.tar", None, "no file matches this pattern"),
        (tmp_path / "nowhere", None, "no such folder of photos"),
        ("nonsense://bucket/val", None, "nonsense"),
    ):
        with pytest.raises(InputError) as raised:
            read_photos(data, truth)
        assert words in str(raised.value)


def test_a_tar_that_was_cut_off_is_told_when_its_photo_is_read(folder: PhotoSet, tmp_path: Path) -> None:
    sharded(folder, tmp_path, ".cls")
    found = read_photos(tmp_path)
    shard = tmp_path / "val-000000.tar"
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(InputError, match="the file ends before this photo does"):
        photo_bytes(found.files[0])


def test_an_address_survives_a_path() -> None:
    assert address_of(Path("s3://bucket/val-*.tar")) == "s3://bucket/val-*.tar"
    assert address_of("photos/val") == "photos/val"


def test_every_form_is_read_from_s3(bucket: Any, folder: PhotoSet, flat: Path, tmp_path: Path) -> None:
    sharded(folder, tmp_path, ".json")
    table(folder, tmp_path, names=True)
    for file in tmp_path.iterdir():
        bucket.upload_file(str(file), "photos", f"shards/{file.name}")
    for photo in folder.files:
        bucket.put_object(Bucket="photos", Key=f"folders/{folder.name_of(photo)}", Body=photo_bytes(photo))
    for file in (flat / "photos").iterdir():
        bucket.upload_file(str(file), "photos", f"flat/{file.name}")
    assert contents(read_photos("s3://photos/shards/val-*.tar")) == contents(folder)
    assert contents(read_photos(Path("s3://photos/shards/val-*.parquet"))) == contents(folder)
    assert contents(read_photos("s3://photos/folders/")) == contents(folder)
    assert contents(read_photos("s3://photos/flat", flat / "truth.csv")) == contents(folder)
    with pytest.raises(InputError, match=r"s3://photos/nowhere-\*\.tar: no file matches this pattern"):
        read_photos("s3://photos/nowhere-*.tar")


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, folder: PhotoSet, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingRuntimeError, match=r"fsspec is needed and not installed: pip install"):
        read_photos("s3://photos/val.tar")
    table(folder, tmp_path, names=True)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingRuntimeError, match=r"pyarrow is needed and not installed"):
        read_photos(tmp_path)
    shutil.rmtree(tmp_path)


@pytest.mark.slow
def test_commands_take_every_form(here: Command, bundles: Path, folder: PhotoSet, flat: Path, tmp_path: Path) -> None:
    """The same photos give the same accuracy, and the same digest by which later runs are recognized."""
    sharded(folder, tmp_path, ".json")
    documents = []
    for data in (
        ("--data", folder.root),
        ("--data", tmp_path),
        ("--data", flat / "photos", "--truth", flat / "truth.csv"),
    ):
        ran = here("run", bundles / "tflite_int8", *data, "--runs", 2, "--json")
        assert ran.returncode == 0, ran.stderr
        documents.append(json.loads(ran.stdout))
        verified = here("verify", bundles / "tflite_int8", bundles / "tflite_fp32", *data, "--json")
        assert verified.returncode == 0, verified.stderr
        documents[-1]["members"] = json.loads(verified.stdout)["members"]
    first, *others = documents
    for other in others:
        assert other["accuracy"] == first["accuracy"]
        assert other["answers"]["photos_sha256"] == first["answers"]["photos_sha256"]
        assert [one["accuracy"] for one in other["members"]] == [one["accuracy"] for one in first["members"]]


@pytest.mark.slow
def test_converting_takes_every_form(here: Command, folder: PhotoSet, flat: Path, tmp_path: Path) -> None:
    sharded(folder, tmp_path, ".cls", numbers=True)
    command = ("convert", "--target", "tflite", "--precision", "int8", "--calibration-count", 5, "--json")
    documents = []
    for number, given in enumerate(
        [
            ("--data", folder.root, "--calibration", folder.root),
            ("--data", f"{tmp_path}/*.tar", "--calibration", f"{tmp_path}/*.tar"),
            ("--data", flat / "photos", "--truth", flat / "truth.csv", "--calibration", flat / "photos"),
        ]
    ):
        done = here(*command, *given, "--output", tmp_path / f"made_{number}")
        assert done.returncode == 0, done.stderr
        documents.append(json.loads(done.stdout)[0]["manifest"])
    assert len({document["accuracy"]["sha256"] for document in documents}) == 1
    assert len({document["accuracy"]["reference"]["top1"] for document in documents}) == 1
