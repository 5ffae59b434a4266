"""Bundles: damaged, foreign or hostile ones are refused; making one loses nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command, without_progress
from xedge.bundle.reading import MANIFEST, Bundle, open_bundle
from xedge.errors import BundleError, InputError, ResourceError, XedgeError
from xedge.files import write_file


@pytest.fixture
def copy(int8_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(int8_bundle.root, tmp_path / "bundle"))


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((bundle / MANIFEST).read_text())
    change(document)
    (bundle / MANIFEST).write_text(json.dumps(document))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "other labels": (lambda b: (b / "labels.txt").write_text("x"), "does not match its sha256"),
    "an artifact cut off": (lambda b: next(b.glob("*.tflite")).write_bytes(b"TFL3"), "does not match its sha256"),
    "no golden photo": (lambda b: (b / "golden/0.png").unlink(), "is missing"),
    "no JSON": (lambda b: (b / MANIFEST).write_text("{"), "not JSON"),
    "another version": (lambda b: edit(b, lambda d: d.update(schema_version=99)), "schema_version"),
    "a number for a name": (lambda b: edit(b, lambda d: d.update(target=7)), "$.target"),
    "a field too few": (lambda b: edit(b, lambda d: d.pop("input")), "$.input: is missing"),
    "a field too many": (lambda b: edit(b, lambda d: d.update(extra=1)), "$.extra"),
    "no hashes": (lambda b: edit(b, lambda d: d.update(files={})), "has no hash"),
    "a path that leads out": (
        lambda b: edit(b, lambda d: d["files"].update({"../outside": "0"})),
        "leads out of the bundle",
    ),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named(copy: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(copy)
    with pytest.raises(BundleError) as error:
        open_bundle(copy)
    assert words in str(error.value)
    assert str(copy) in str(error.value)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=MANIFEST):
        open_bundle(tmp_path)


@pytest.mark.parametrize(
    "member", ["../evil.txt", "/evil.txt", "bundle/../../evil.txt"], ids=["above", "from the root", "down and up"]
)
def test_zips_cannot_write_outside(tmp_path: Path, member: str) -> None:
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(member, "x")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(BundleError, match="leads out"):
        open_bundle(archive, scratch)
    assert not list(tmp_path.rglob("evil.txt"))


def test_zip_and_folder_are_the_same_bundle(xedge: Command, here: Command, few_photos: Path, tmp_path: Path) -> None:
    done = here("convert", "--target", "tflite", "--zip", "--output", tmp_path / "made", "--data", few_photos)
    assert done.returncode == 0, done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["made.zip"]
    assert xedge("run", tmp_path / "made.zip", "--runs", 3, "--limit", 5).returncode == 0


def test_truncated_zip_is_refused(copy: Path, tmp_path: Path) -> None:
    whole = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", copy.parent, "bundle"))
    whole.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(XedgeError, match=r"whole\.zip"):
        open_bundle(whole, tmp_path)


def test_what_is_told_of_a_damaged_zip_does_not_quote_all_of_it(copy: Path, tmp_path: Path) -> None:
    """A header that says that a name is 60,000 bytes long makes zipfile quote as many bytes of the archive."""
    whole = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", copy.parent, "bundle"))
    with zipfile.ZipFile(whole) as archive:
        header = archive.getinfo(f"bundle/{MANIFEST}").header_offset
    data = bytearray(whole.read_bytes())
    data[header + 26 : header + 28] = (60000).to_bytes(2, "little")
    whole.write_bytes(data)
    with pytest.raises(BundleError, match=r"whole\.zip: the zip is damaged \(File name in directory") as error:
        open_bundle(whole, tmp_path)
    assert len(str(error.value)) < 500


def test_another_folder_is_not_overwritten(here: Command, few_photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    done = here("convert", "--target", "tflite", "--output", tmp_path / "mine", "--data", few_photos)
    assert done.returncode == 3
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interruption_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    command = [sys.executable, "-m", "xedge", "convert", "--target", "tflite", "--output", "out"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - nothing else runs here
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the model is read; conversion and scoring follow
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert without_progress(errors) == ["xedge: error: interrupted; nothing half-made was left"]
    assert not list(tmp_path.iterdir())


def test_an_interruption_that_a_library_turns_into_its_own_error_is_told_as_one(tmp_path: Path) -> None:
    """NumPy raises ImportError for whatever comes while it is imported, for example."""
    script = (
        "import os, signal, sys\n"
        "from xedge.cli import info, main\n"
        "def command(options):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    except BaseException:\n"
        "        raise ImportError('the library was not imported') from None\n"
        "info.main = command\n"
        "sys.argv[1:] = ['info', 'bundle']\n"
        "sys.exit(main.program())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert without_progress(done.stderr) == ["xedge: error: interrupted; nothing half-made was left"]


@pytest.fixture
def full_disk(tmp_path: Path) -> Path:
    """A real file system of 2 MB, too small for the bundle."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("only root may mount the small file system that this test fills")
    return disk


def test_a_full_disk_loses_nothing(here: Command, few_photos: Path, full_disk: Path) -> None:
    try:
        done = here("convert", "--target", "tflite", "--output", full_disk / "out", "--data", few_photos)
        assert done.returncode == 7
        assert "no space left" in done.stderr
        assert not list(full_disk.iterdir())
    finally:
        subprocess.run(["umount", str(full_disk)], check=True)


def test_a_disk_that_may_not_be_written_is_named(here: Command, few_photos: Path, full_disk: Path) -> None:
    try:
        subprocess.run(["mount", "-o", "remount,ro", str(full_disk)], check=True)
        done = here("convert", "--target", "tflite", "--output", full_disk / "out", "--data", few_photos)
        assert done.returncode == 7
        assert "no permission to write" in done.stderr
    finally:
        subprocess.run(["umount", str(full_disk)], check=True)


def labelled(folder: Path, label: str) -> None:
    """Make a folder with one file in it that is no photo, in the folder of a class."""
    (folder / label).mkdir(parents=True)
    (folder / label / "a.jpg").write_text("no photo")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda d: d.mkdir(), "no photos here", id="empty"),
        pytest.param(lambda d: d.write_text("x"), "is a file", id="a file"),
        pytest.param(lambda d: labelled(d, "hat"), "not a readable photo", id="no photo"),
        pytest.param(lambda d: labelled(d, "sofa"), "'sofa' is none", id="another class"),
    ],
)
def test_wrong_photos_are_named(
    xedge: Command, int8_bundle: Bundle, tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    make(tmp_path / "data")
    done = xedge("run", int8_bundle.root, "--runs", 3, "--data", tmp_path / "data")
    assert done.returncode == InputError.exit_code
    assert words in done.stderr
    assert len(without_progress(done.stderr)) == 1


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """Root may rename over a device: `--json /dev/null` must not leave a plain file there."""
    with pytest.raises(ResourceError, match="no space left"):
        write_file(Path("/dev/full"), b"text")
    assert Path("/dev/full").is_char_device()
    write_file(Path("/dev/null"), b"text")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(InputError, match="cannot be written"):
        write_file(tmp_path, b"text")
    with pytest.raises(InputError, match="cannot be written"):
        write_file(Path("/proc/page.html"), b"text")


def test_a_manifest_says_what_was_lost_with_its_interval_and_mcnemars_test(xedge: Command, bundles: Path) -> None:
    for name in ("tflite_fp32", "onnx_int8", "openvino_dynamic"):
        accuracy = open_bundle(bundles / name).manifest.accuracy
        assert accuracy is not None
        assert accuracy.reference is not None
        assert accuracy.drop is not None
        low, high = accuracy.drop.interval95
        assert low <= accuracy.drop.points <= high
        assert accuracy.drop.points == pytest.approx(accuracy.drop_points)
        lost, won = accuracy.drop.lost, accuracy.drop.won
        assert (lost, won) == (0, 0) or name != "tflite_fp32"
        assert lost - won == round(accuracy.artifact.photos * (accuracy.reference.top1 - accuracy.artifact.top1))
    said = xedge("info", bundles / "onnx_int8").stdout
    assert re.search(r"drop [+-]\d\.\d\d points \[-\d\.\d\d, \+\d\.\d\d\], McNemar p [\d.]+, agreement", said), said
