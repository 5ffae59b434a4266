"""A Raspberry Pi 3, 4 and 5, as far as their processors go: arm64 Debian under QEMU, the real aarch64 wheels, SSH.

Timings there mean nothing and are labelled so; what is held here is that everything runs and gives the same results.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Command, run_xedge
from tests.machine import Machine, serving
from xedge.errors import BundleError
from xedge.remote.answers import Ran
from xedge.remote.deploy import PYTHON

pytestmark = pytest.mark.emulated
CORES = {"pi3": "cortex-a53", "pi4": "cortex-a72", "pi5": "cortex-a76"}
BUNDLES = (
    "tflite_fp32",
    "tflite_fp16",
    "tflite_int8",
    "integers",
    "onnx_fp32",
    "onnx_int8",
    "openvino_fp32",
    "openvino_int8",
)
# For what is held here, a Pi 4's processor is one more of a Pi 3's kind.
BOARDS = ("pi3", "pi5", pytest.param("pi4", marks=pytest.mark.further))
# OpenVINO 2026.4 compiles no int8 for processors without half precision.
REFUSED = {("pi3", "openvino_int8"), ("pi4", "openvino_int8")}
# Largest difference of a probability from x86-64's: float sums in another order, half precision in OpenVINO on A76.
TOLERANCE = {"tflite_fp32": 2e-5, "onnx_fp32": 2e-5, "openvino_fp32": 2e-5, "tflite_fp16": 2e-5, "integers": 0.0}
# Half-precision arithmetic, which only this processor has.
HALF = {("pi5", "tflite_fp16"): 0.05}
CRASH = re.compile(r"uncaught target signal|ended with -|Segmentation fault")
OUTPUTS = """
import json, sys
from pathlib import Path
from xedge.bundle.reading import open_bundle
from xedge.runtimes import Settings
from xedge.runtimes.classifier import open_classifier
for bundle in map(open_bundle, map(Path, sys.argv[1:])):
    classifier = open_classifier(bundle.artifact, bundle.manifest, Settings(threads=1, exact=True))
    rows = [classifier.session.run(classifier.input(pixels))[0] for pixels in bundle.golden().pixels]
    print(json.dumps({"type": str(rows[0].dtype), "rows": [row.tolist() for row in rows]}))
"""


@pytest.fixture(scope="module")
def system() -> Path:
    """The folder with the emulated system, made once and kept."""
    if os.geteuid() != 0 or platform.machine() != "x86_64":
        pytest.skip("the emulated system is made as root on x86-64: chroot and binfmt_misc need it")
    build = Path(__file__).parent / "emulated" / "build"
    done = subprocess.run([build], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, "tests/emulated/build failed; what it said is above"
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def board(system: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """An SSH server whose user lives in the emulated system; ssh's name for it chooses the processor."""
    folder, root = tmp_path_factory.mktemp("board"), (system / "root").resolve()
    home = root / "home" / f"test-{os.getpid()}"
    home.mkdir(parents=True)
    names = {name: {"QEMU_CPU": core} for name, core in CORES.items()}
    with serving(folder, home, root=root, names=names, python="python3") as made:
        yield made
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def artifacts(bundles: Path, integers: Path) -> list[Path]:
    """The embedded default on every target, and once with integers from end to end."""
    return [integers if name == integers.name else bundles / name for name in BUNDLES]


def retried(attempt: Callable[[], subprocess.CompletedProcess[str]]) -> subprocess.CompletedProcess[str]:
    """Try once more if the emulator crashed; a second crash counts."""
    done = attempt()
    if CRASH.search(done.stderr + done.stdout):
        print(f"the emulator crashed, once more: {done.stderr.strip()[-300:]}", file=sys.stderr)
        done = attempt()
    return done


@pytest.mark.parametrize("name", BOARDS)
def test_everything_runs_over_ssh(
    name: str, board: Machine, system: Path, artifacts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Doctor, self-test, latency and accuracy of each bundle; the first time everything is sent and installed."""
    monkeypatch.setenv("XEDGE_SSH", f"ssh -F {board.config}")
    options = ("--wheels", system / "wheels", "--limit", 8, "--runs", 3, "--json")
    command: Command = run_xedge
    done = retried(lambda: command("run", "--on", name, *artifacts, *options, timeout=1500))
    refused = [bundle for board_name, bundle in REFUSED if board_name == name]
    assert done.returncode == (BundleError.exit_code if refused else 0), done.stderr
    report = json.loads(done.stdout)
    assert sorted(report["failures"]) == refused
    assert all(
        "no int8 on Arm processors without half precision" in one["message"] for one in report["failures"].values()
    )
    found = {one["name"]: one for one in report["doctor"]["findings"]}
    assert found["emulation"]["found"] == "QEMU"
    assert [found[package]["status"] for package in ("ai-edge-litert", "onnxruntime", "openvino")] == ["ok"] * 3
    assert ("asimddp" in found["CPU features"]["found"]) == (name == "pi5")
    ran = {run["bundle"]: run for run in report["runs"]}
    assert [strip(bundle) for bundle in ran] == [bundle for bundle in BUNDLES if (name, bundle) not in REFUSED]
    for run in report["runs"]:
        assert run["board"]["machine"] == "aarch64"
        assert any(reason.startswith("emulated") for reason in run["verdict"]["reasons"])
        assert run["self_test"]["max_difference"] <= run["self_test"]["tolerance"]
        assert run["accuracy"]["photos"] == 8
        halves = run["execution"]["options"].get("arithmetic") == "float16"
        assert halves == ((name, strip(run["bundle"])) in HALF)


def strip(bundle: str) -> str:
    """A bundle's name without the part of its hash that it has on the board."""
    return bundle.rsplit("-", 1)[0]


@pytest.fixture(scope="module")
def own(artifacts: list[Path]) -> list[str]:
    """What this machine's outputs are, one line of JSON for each bundle that has a tolerance."""
    compared = [bundle for bundle in artifacts if bundle.name in TOLERANCE]
    return subprocess.run(
        [sys.executable, "-c", OUTPUTS, *compared], capture_output=True, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.parametrize("name", BOARDS)
def test_outputs_are_those_of_this_machine(name: str, board: Machine, artifacts: list[Path], own: list[str]) -> None:
    """Integers are equal one by one; floats differ by the order of their sums."""
    compared = [bundle.name for bundle in artifacts if bundle.name in TOLERANCE]
    there = [sorted((board.home / ".xedge" / "bundles").glob(f"{bundle}-*"))[0].name for bundle in compared]
    arguments = [PYTHON, "-c", OUTPUTS, *(f"@bundles/{folder}" for folder in there)]
    answer = retried(partial(asked, board, name, arguments))
    assert answer.returncode == 0, answer.stderr
    for bundle, own_line, their_line in zip(compared, own, answer.stdout.splitlines(), strict=True):
        expected, got = json.loads(own_line), json.loads(their_line)
        assert got["type"] == expected["type"] == ("int8" if bundle == "integers" else "float32")
        difference = float(np.abs(np.array(got["rows"]) - np.array(expected["rows"])).max())
        print(f"{name} {bundle}: largest difference {difference:.2g}")
        assert difference <= HALF.get((name, bundle), TOLERANCE[bundle])
        assert difference > 1e-4 or (name, bundle) not in HALF


def asked(board: Machine, name: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program there."""
    answer = board.reach(name).ask(Ran, {"do": "run", "arguments": arguments})
    return subprocess.CompletedProcess(arguments, answer.code, answer.out, answer.err)
