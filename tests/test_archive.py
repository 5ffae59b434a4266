"""An archive that knows no links, as GitHub's zip and Windows make, installs and works."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_the_folders_that_users_look_for_are_links_to_the_package() -> None:
    for name in ("converters", "quantization"):
        assert (ROOT / name).resolve() == ROOT / "xedge" / name
        assert not (ROOT / "xedge" / name).is_symlink()


@pytest.mark.installs
def test_an_archive_without_links_installs_and_converts(tmp_path: Path) -> None:
    """The packages that xedge needs are taken from this environment; xedge itself is the archive's."""
    archive, installed = tmp_path / "xedge.zip", tmp_path / "installed"
    subprocess.run(["git", "archive", "--format=zip", f"--output={archive}", "HEAD"], cwd=ROOT, check=True)
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(archive) as members:
        members.extractall(unpacked)  # which makes of a link a text file that names its target
    assert not (unpacked / "converters").is_dir()
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        installed,
        archive,
    ]
    subprocess.run(pip, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    environment.pop("KERAS_BACKEND", None)
    found = subprocess.run(
        [sys.executable, "-c", "import xedge.quantization.recipe as one; print(one.__file__)"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(installed))
    command = [sys.executable, "-m", "xedge", "convert", "--target", "tflite", "--precision", "int8"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "xception_compact_tflite_int8" / "manifest.json").is_file()
