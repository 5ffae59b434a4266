"""What several tests need: the command as a user types it, bundles of the embedded default, the full-size model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# In this process models are built and trained, which Keras' light backend cannot; commands choose their own.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from filelock import FileLock

from xedge.bundle.reading import Bundle, open_bundle
from xedge.photos.sets import CalibrationSet
from xedge.models.compact import embedded
from xedge.types import UInt8Array

Command = Callable[..., subprocess.CompletedProcess[str]]


# Whose conformance takes half a minute each.
LARGE_NETWORKS = ("inception_v3", "resnet50")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Large networks make a test slow, whatever it does with them."""
    for item in items:
        parameters = getattr(item, "callspec", None)
        if parameters is not None and parameters.params.get("name") in LARGE_NETWORKS:
            item.add_marker(pytest.mark.slow)


def run_xedge(*arguments: object, cwd: Path | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-m", "xedge", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="session")
def xedge() -> Command:
    """Run a command in a process of its own, as a user does."""
    return run_xedge


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the embedded default converted by the command: one bundle for each target and precision.

    It is made once for all of xdist's workers; tests leave it as it is.
    """
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    shared = tmp_path_factory.getbasetemp() if alone else tmp_path_factory.getbasetemp().parent
    folder = shared / "bundles"
    with FileLock(shared / "bundles.lock"):
        if not folder.exists():
            making = shared / "making"
            done = run_xedge("convert", "--target", "all", "--precision", "all", "--output", making)
            assert done.returncode == 0, done.stderr
            making.rename(folder)
    return folder


@pytest.fixture(scope="session")
def int8_bundle(bundles: Path) -> Bundle:
    return open_bundle(bundles / "tflite_int8")


@pytest.fixture(scope="session")
def pixels() -> UInt8Array:
    """(8, 128, 128, 3) uint8, real photos of different classes."""
    photos = embedded.test_photos()
    from PIL import Image

    files = photos.files[:: len(photos.files) // 8][:8]
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


@pytest.fixture(scope="session")
def calibration() -> CalibrationSet:
    return embedded.calibration_photos()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the full-size model and its photos."""
    folder = os.environ.get("XEDGE_SHARED")
    if not folder:
        pytest.skip("needs the full-size model: set XEDGE_SHARED to the folder that holds data/xception_clothing.keras")
    path = Path(folder) / "data"
    assert (path / "xception_clothing.keras").is_file(), f"XEDGE_SHARED={folder} has no data/xception_clothing.keras"
    return path
