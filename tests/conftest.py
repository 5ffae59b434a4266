"""What several tests need: commands, what they wrote, bundles of the embedded default, the full-size model."""

from __future__ import annotations

import gc
import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

# In this process models are built and trained, which Keras' light backend cannot; commands choose their own.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# As commands do: waiting threads of one worker's linear algebra would take the cores from the other workers.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from filelock import FileLock

from xedge.bundle.reading import Bundle, open_bundle
from xedge.cli.main import main
from xedge.models.compact import embedded
from xedge.photos.sets import CalibrationSet
from xedge.types import UInt8Array

ALL_CORES = sorted(os.sched_getaffinity(0))

Command = Callable[..., subprocess.CompletedProcess[str]]
Once = Callable[[str, Callable[[Path], object]], Path]

# The quick part holds these networks on every target in every precision: small ones that have every operation of the
# set between them, and a small Xception. The others, which arrange the same operations otherwise, are in the slow part.
QUICK_NETWORKS = ("activations", "arithmetic", "attention", "curves", "normalizations", "resampling", "xception")
# Marks of an instance of what others hold in the quick or the slow part.
FURTHER = (pytest.mark.slow, pytest.mark.further)
# When .ci/run has run for so many minutes, it begins no more tests with these marks.
MOST_MINUTES = {"further": 50, "slow": 78, "installs": 78, "emulated": 78}
# These take seconds wherever they are looked at, and half a minute for conformance.
LARGE_NETWORKS = ("inception_v3", "resnet50")
# What a line about how far a stage is looks like: "evaluate 20/372 photos", "round 1/5: tflite_int8".
PROGRESS = re.compile(r"\b\d+/\d+( photos| layers|:)|^accuracy on \d+ photos$|^(self-test|latency|in turns) ?")
# So many photos fix the ranges where a test does not look at the accuracy of what they give.
CALIBRATION = embedded.ROOT / "calibration"
TWENTY_FOR_CALIBRATION = ("--calibration", CALIBRATION, "--calibration-count", 20)
FEW_FOR_CALIBRATION = ("--calibration", CALIBRATION, "--calibration-count", 10)

# Pages are tested in a real browser.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
CHROMIUM_FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker, with the commands that it runs, a part of the cores of its own.

    Threads of runtimes and of TensorFlow wait for each other in loops, which takes the cores from other workers.
    """
    if worker := getattr(config, "workerinput", None):
        share, number = len(ALL_CORES) // worker["workercount"], int(worker["workerid"].removeprefix("gw"))
        os.sched_setaffinity(0, ALL_CORES[number * share : (number + 1) * share] or ALL_CORES)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what a slow machine has no time for in .ci/run, which says when it began: a skipped test says so."""
    minutes = (time.time() - float(os.environ.get("XEDGE_TESTS_START", "inf"))) / 60
    for mark, most in MOST_MINUTES.items():
        if minutes > most and item.get_closest_marker(mark) is not None:
            pytest.skip(f".ci/run has no more time on this machine: run pytest -m {mark}")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Large networks make a test slow, whatever it does with them; further instances are each worker's last tests.

    Tests that need the bundles come first: one worker begins with making them, while the others do what needs none.
    """
    for item in items:
        parameters = getattr(item, "callspec", None)
        if parameters is not None and parameters.params.get("name") in LARGE_NETWORKS:
            item.add_marker(pytest.mark.slow)
    yield  # Those that were not asked for are left out here.
    items.sort(key=lambda item: "bundles" not in getattr(item, "fixturenames", ()))
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    further = [item for item in items if item.get_closest_marker("further") is not None]
    others = [item for item in items if item.get_closest_marker("further") is None]
    # Each worker begins with one of these parts of the list.
    items[:] = [
        item
        for worker in range(workers)
        for part in (others, further)
        for item in part[len(part) * worker // workers : len(part) * (worker + 1) // workers]
    ]


def pytest_collection_finish() -> None:
    """Have garbage collections pass over what was imported: converting collects several times, TensorFlow is large."""
    gc.freeze()


def run_xedge(*arguments: object, cwd: Path | None = None, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
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


def run_here(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, which saves the seconds that importing Keras takes."""
    words, out, err = [str(argument) for argument in arguments], io.StringIO(), io.StringIO()
    with _in_folder(cwd or Path.cwd()), redirect_stdout(out), redirect_stderr(err):
        code = main(words)
    return subprocess.CompletedProcess(["xedge", *words], code, out.getvalue(), err.getvalue())


def without_progress(stderr: str) -> list[str]:
    """Return the lines of standard error that are not about how far a stage is, as a slow machine is told.

    Such a line comes after 20 seconds of silence, which is a matter of how much else the machine does.
    """
    return [line for line in stderr.splitlines() if not PROGRESS.search(line)]


@contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="session")
def xedge() -> Command:
    """Run a command in a process of its own, as a user does."""
    return run_xedge


@pytest.fixture(scope="session")
def here() -> Command:
    """Run a command in this process, where nothing is tested that only a process of its own shows."""
    return run_here


@pytest.fixture
def all_cores() -> Iterator[None]:
    """Let a test, and the commands that it runs, use every core."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, ALL_CORES)
    yield
    os.sched_setaffinity(0, mine)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return a folder that a function fills: made once for all of xdist's workers, who leave it as it is.

    The function is given an empty folder, which is renamed when it is full: what is made must not know its own path.
    With the variable XEDGE_TESTS_MADE, several calls of pytest on the same code share what lies in that folder.
    """
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    shared = tmp_path_factory.getbasetemp() if alone else tmp_path_factory.getbasetemp().parent
    if kept := os.environ.get("XEDGE_TESTS_MADE"):
        shared = Path(kept)
        shared.mkdir(parents=True, exist_ok=True)

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, making = shared / name, shared / f"{name}.making"
        with FileLock(shared / f"{name}.lock"):
            if not folder.exists():
                shutil.rmtree(making, ignore_errors=True)
                making.mkdir()
                make(making)
                making.rename(folder)
        return folder

    return made


def succeeding(*arguments: object, cwd: Path) -> str:
    """Run a command that must succeed, and return what it printed."""
    done = run_xedge(*arguments, cwd=cwd, timeout=3600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def bundles(once: Once) -> Path:
    """A folder with the embedded default converted by the command: one bundle for each target and precision.

    What ``convert`` printed lies beside them, in the file ``said``.
    """

    def make(folder: Path) -> None:
        # TensorRT's parser has no dynamic range, which the others get in a second command.
        every = ("convert", "--target", "all,tensorrt", "--precision", "fp32,fp16,int8", "--output", ".")
        said = succeeding(*every, cwd=folder)
        succeeding("convert", "--target", "all", "--precision", "dynamic", "--output", ".", cwd=folder)
        (folder / "said").write_text(said)

    return once("bundles", make)


@pytest.fixture(scope="session")
def integers(once: Once) -> Path:
    """The embedded default for TFLite, with integers from end to end."""
    integer = ("convert", "--target", "tflite", "--precision", "int8", "--io", "int8", *TWENTY_FOR_CALIBRATION)
    return once("integers", lambda folder: succeeding(*integer, "--output", "integers", cwd=folder)) / "integers"


# What commands write with --json about the embedded default; bundles are given by their names.
DOCUMENTS: dict[str, tuple[object, ...]] = {
    "run_fp32": ("run", "tflite_fp32", "--runs", 100),
    "run_int8": ("run", "tflite_int8", "--runs", 100),
    "verify": (
        "verify",
        *("tflite_fp32", "tflite_int8", "onnx_fp32", "onnx_int8", "openvino_fp32", "openvino_int8"),
    ),
    "analyze": ("analyze", "--photos", 4, *TWENTY_FOR_CALIBRATION),
}


@pytest.fixture(scope="session")
def document(once: Once, bundles: Path) -> Callable[[str], Path]:
    """Return the JSON file that a command wrote, by its name in ``DOCUMENTS``."""

    def written(name: str) -> Path:
        def make(folder: Path) -> None:
            succeeding(*DOCUMENTS[name], "--json", folder / "document.json", cwd=bundles)

        return once(f"document_{name}", make) / "document.json"

    return written


@pytest.fixture(scope="session")
def few_photos(once: Once) -> Path:
    """A labelled folder of two photos for each class, for tests that do not look at the accuracy."""

    def make(folder: Path) -> None:
        for label in embedded.labels():
            of_class = [file for file in embedded.test_photos().files if file.parent.name == label]
            (folder / label).mkdir()
            for file in of_class[:2]:
                shutil.copy(file, folder / label)

    return once("few_photos", make)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window. It lasts for a module: while it is open, nothing else may run an event loop."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def int8_bundle(bundles: Path) -> Bundle:
    return open_bundle(bundles / "tflite_int8")


@pytest.fixture(scope="session")
def pixels() -> UInt8Array:
    """(8, 128, 128, 3) uint8, real photos of different classes."""
    from tests.networks import real_photos

    return real_photos(8)


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


@pytest.fixture(scope="session")
def bucket() -> Iterator[Any]:
    """A bucket on a server that speaks S3 on loopback, and what a process needs to reach it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    reached = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    reached |= {"AWS_DEFAULT_REGION": "us-east-1"}
    before = {name: os.environ.get(name) for name in reached}
    os.environ.update(reached)
    client = boto3.client("s3")
    client.create_bucket(Bucket="photos")
    yield client
    server.stop()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
