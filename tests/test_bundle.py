"""Bundles: damaged, foreign or hostile ones are refused; making one loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Command
from xedge.bundle.reading import MANIFEST, Bundle, open_bundle
from xedge.errors import BundleError, InputError, ResourceError, XedgeError
from xedge.files import write_file


@pytest.fixture
def copy(int8_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(int8_bundle.root, tmp_path / "bundle"))


def edit(bundle: Path, change: Callable[[dict[str, object]], object]) -> None:
    document = json.loads((bundle / MANIFEST).read_text())
    change(document)
    (bundle / MANIFEST).write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: (b / "labels.txt").write_text("x"), "does not match its sha256"),
        (lambda b: next(b.glob("*.tflite")).write_bytes(b"TFL3"), "does not match its sha256"),
        (lambda b: (b / "golden/0.png").unlink(), "is missing"),
        (lambda b: (b / MANIFEST).write_text("{"), "not JSON"),
        (lambda b: edit(b, lambda d: d.update(schema_version=99)), "schema_version"),
        (lambda b: edit(b, lambda d: d.update(target=7)), "$.target"),
        (lambda b: edit(b, lambda d: d.pop("input")), "$.input: is missing"),
        (lambda b: edit(b, lambda d: d.update(extra=1)), "$.extra"),
        (lambda b: edit(b, lambda d: d.update(files={})), "has no hash"),
        (lambda b: edit(b, lambda d: d["files"].update({"../outside": "0"})), "leads out of the bundle"),  # type: ignore[attr-defined]
    ],
)
def test_damage_is_named(copy: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(copy)
    with pytest.raises(BundleError) as error:
        open_bundle(copy)
    assert words in str(error.value)
    assert str(copy) in str(error.value)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=MANIFEST):
        open_bundle(tmp_path)


@pytest.mark.parametrize("member", ["../evil.txt", "/evil.txt", "bundle/../../evil.txt"])
def test_zips_cannot_write_outside(tmp_path: Path, member: str) -> None:
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(member, "x")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(BundleError, match="leads out"):
        open_bundle(archive, scratch)
    assert not list(tmp_path.rglob("evil.txt"))


def test_zip_and_folder_are_the_same_bundle(xedge: Command, tmp_path: Path) -> None:
    done = xedge("convert", "--target", "tflite", "--zip", "--output", tmp_path / "made")
    assert done.returncode == 0, done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["made.zip"]
    assert xedge("run", tmp_path / "made.zip", "--runs", 3).returncode == 0


def test_truncated_zip_is_refused(copy: Path, tmp_path: Path) -> None:
    whole = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", copy.parent, "bundle"))
    whole.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(XedgeError, match=r"whole\.zip"):
        open_bundle(whole, tmp_path)


def test_another_folder_is_not_overwritten(xedge: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    done = xedge("convert", "--target", "tflite", "--output", tmp_path / "mine")
    assert done.returncode == 3
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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
        time.sleep(0.3)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip().splitlines() == ["xedge: error: interrupted; nothing half-made was left"]
    assert not list(tmp_path.iterdir())


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


def test_a_full_disk_loses_nothing(xedge: Command, full_disk: Path) -> None:
    try:
        done = xedge("convert", "--target", "tflite", "--output", full_disk / "out")
        assert done.returncode == 7
        assert "no space left" in done.stderr
        assert not list(full_disk.iterdir())
    finally:
        subprocess.run(["umount", str(full_disk)], check=True)


def test_a_disk_that_may_not_be_written_is_named(xedge: Command, full_disk: Path) -> None:
    try:
        subprocess.run(["mount", "-o", "remount,ro", str(full_disk)], check=True)
        done = xedge("convert", "--target", "tflite", "--output", full_disk / "out")
        assert done.returncode == 7
        assert "no permission to write" in done.stderr
    finally:
        subprocess.run(["umount", str(full_disk)], check=True)


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda d: d.mkdir(), 3, "no photos here"),
        (lambda d: d.write_text("x"), 3, "is a file"),
        (
            lambda d: ((d / "hat").mkdir(parents=True), (d / "hat" / "a.jpg").write_text("no photo")),
            3,
            "not a readable photo",
        ),
        (lambda d: ((d / "sofa").mkdir(parents=True), (d / "sofa" / "a.jpg").write_text("x")), 3, "'sofa' is none"),
    ],
)
def test_wrong_photos_are_named(
    xedge: Command, int8_bundle: Bundle, tmp_path: Path, make: Callable[[Path], object], code: int, words: str
) -> None:
    make(tmp_path / "data")
    done = xedge("run", int8_bundle.root, "--runs", 3, "--data", tmp_path / "data")
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


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
