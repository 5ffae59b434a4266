"""The doctor: real processes that fail in the ways that boards know, and systems that no wheel fits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.test_board import BOARDS, board
from xedge.doctor.examination import Finding, examine, examine_bundle
from xedge.doctor.place import Place
from xedge.doctor.probe import probe_import, start
from xedge.errors import CheckError
from xedge.processes import Finished


def imports(arguments: Sequence[str]) -> Finished:
    return Finished(list(arguments), 0, "2.0 1.26.4\n", "")


PI5 = replace(Place(), begin=imports, machine="aarch64", python=(3, 11), libc=("glibc", "2.36"), virtual=True)


def found(place: Place) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(place).findings}


def failing(stderr: str = "", code: int = 1) -> Place:
    """A Pi on which every runtime is installed and fails to import in the same way."""

    def begin(arguments: Sequence[str]) -> Finished:
        return Finished(list(arguments), code, "", stderr)

    return replace(PI5, begin=begin, installed=lambda package: "2.0")


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "illegal instruction"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "memory"),
        ("import ctypes; ctypes.string_at(0)", "segmentation fault"),
        ("import nothing_of_this_name", "No module named"),
        ('raise ImportError("/lib/libm.so.6: version `GLIBC_2.38\' not found (required by x.so)")', "GLIBC_2.38"),
        ("raise ImportError('libgomp.so.1: cannot open shared object file: No such file')", "libgomp.so.1 is missing"),
        ("raise AttributeError('_ARRAY_API not found')", "built for NumPy 1"),
    ],
    ids=["SIGILL", "SIGKILL", "SIGSEGV", "no module", "old glibc", "no library", "NumPy 2"],
)
def test_a_process_that_fails_is_understood(program: str, cause: str) -> None:
    """In real processes; the doctor's own goes on."""
    probe = probe_import("anything", lambda arguments: start(["-c", program]))
    assert not probe.works
    assert cause in (probe.cause or "")


def test_what_imports_works() -> None:
    probe = probe_import("json")
    assert probe.works
    assert probe.cause is None


def test_this_machine_is_healthy(xedge: Command, bundles: Path) -> None:
    done = xedge("doctor", "--for", bundles / "tflite_int8", "--json")
    report = json.loads(done.stdout)
    statuses = {one["name"]: one["status"] for one in report["findings"]}
    assert statuses["ai-edge-litert"] == statuses["onnxruntime"] == statuses["openvino"] == "ok"
    assert statuses["tflite_int8"] == "ok"
    assert report["install"] is None
    assert done.returncode == (CheckError.exit_code if "problem" in statuses.values() else 0)


def test_a_bundle_that_does_not_run_says_why(bundles: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(bundles / "tflite_int8", tmp_path / "broken"))
    next(broken.glob("*.tflite")).write_bytes(b"TFL3")
    finding = examine_bundle(Place(), broken)
    assert finding.status == "problem"
    assert "does not match its sha256" in (finding.advice or "")
    killed = replace(Place(), begin=lambda arguments: Finished(list(arguments), -9, "", ""))
    assert "memory" in (examine_bundle(killed, broken).advice or "")


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (PI5, "pip install 'xedge[litert]'"),
        (replace(PI5, virtual=False), "python3 -m venv ~/xedge && ~/xedge/bin/pip install 'xedge[litert]'"),
        (replace(PI5, machine="armv7l"), "pip install 'xedge[tflite]'"),
        (replace(PI5, libc=("glibc", "2.31"), python=(3, 10)), "pip install 'xedge[tflite]'"),
        (replace(PI5, python=(3, 8), libc=("glibc", "2.31")), "pip install 'xedge[tflite]'"),
        (replace(PI5, machine="riscv64"), "use Python 3.10 to 3.14"),
    ],
    ids=["pi5", "no environment", "32 bits", "old system", "very old Python", "riscv"],
)
def test_what_to_install_fits_board_and_python(place: Place, line: str) -> None:
    nothing = found(replace(place, installed=lambda package: None))
    assert nothing["runtime"].status == "problem"
    assert line in (nothing["runtime"].advice or "")


@pytest.mark.parametrize(
    ("stderr", "code", "words"),
    [
        ("", -4, "install an older release"),
        ("ImportError: /lib/x: version `GLIBCXX_3.4.30' not found (required by y)", 1, "a newer system"),
        ("AttributeError: _ARRAY_API not found", 1, "numpy<2"),
    ],
    ids=["illegal instruction", "old libstdc++", "NumPy 2"],
)
def test_a_runtime_that_does_not_import_has_a_remedy(stderr: str, code: int, words: str) -> None:
    finding = found(failing(stderr, code))["tflite-runtime" if "ARRAY" in stderr else "onnxruntime"]
    assert finding.status == "problem"
    assert words in (finding.advice or "")


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [("pi3", "problem", "power supply"), ("pi4", "warning", "power supply"), ("zero2", "problem", "cool the board")],
    ids=["pi3", "pi4", "zero2"],
)
def test_power_and_heat_of_a_board(name: str, status: str, words: str, tmp_path: Path) -> None:
    finding = found(replace(PI5, system=board(tmp_path, *BOARDS[name])))["throttling"]
    assert finding.status == status
    assert words in (finding.advice or "")


def test_processors_without_dot_products_are_told_of(tmp_path: Path) -> None:
    for features, status in (("fp asimd crc32", "warning"), ("fp asimd asimddp", "ok"), ("", "unknown")):
        system = board(tmp_path, {"proc/cpuinfo": f"processor : 0\nFeatures : {features}\n"}, {})
        assert found(replace(PI5, system=system))["CPU features"].status == status


def test_old_python_and_little_memory(tmp_path: Path) -> None:
    system = board(tmp_path, {"proc/meminfo": "MemTotal: 900000 kB\nMemAvailable: 90000 kB\n"}, {})
    place = replace(PI5, python=(3, 8), system=system)
    assert found(place)["Python"].status == "problem"
    assert found(place)["memory free"].status == "warning"
