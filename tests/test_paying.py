"""A precision that is known not to pay on a processor is told of: in the run report, on the screen and as a cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_board import board
from xedge.bundle.reading import open_bundle
from xedge.cli.run_text import text
from xedge.device.system import System
from xedge.explaining.explanation import explain_bundle
from xedge.measuring.latency import Schedule
from xedge.measuring.paying import unpaid
from xedge.measuring.run import run_bundle
from xedge.measuring.starting import RunOptions

A72 = "processor : 0\nFeatures : fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid\n"
A76 = "processor : 0\nFeatures : fp asimd evtstrm aes crc32 atomics fphp asimdhp asimddp\n"
X86 = "processor : 0\nflags : fpu sse2 avx2\n"
QUICK = RunOptions(threads=1, schedule=Schedule(warmup_s=0.0, runs=3))


def on(cpuinfo: str, folder: Path) -> System:
    """A system whose processor says this of itself."""
    return board(folder, {"proc/cpuinfo": cpuinfo}, {})


@pytest.mark.parametrize(
    ("cpuinfo", "name", "told"),
    [
        pytest.param(A72, "onnx_dynamic", True, id="A72"),
        pytest.param(A76, "onnx_dynamic", False, id="A76"),
        pytest.param(X86, "onnx_dynamic", False, id="x86 without VNNI"),
        pytest.param("", "onnx_dynamic", False, id="unknown"),
        pytest.param(A72, "onnx_fp32", False, id="fp32"),
        pytest.param(A72, "tflite_dynamic", False, id="tflite"),
    ],
)
def test_a_run_notes_it(cpuinfo: str, name: str, told: bool, bundles: Path, tmp_path: Path) -> None:
    report = run_bundle(open_bundle(bundles / name), None, QUICK, system=on(cpuinfo, tmp_path))
    assert any("dynamic range is slower than fp32" in one for one in report.notes) == told
    assert ("NOTE: ONNX Runtime's dynamic range is slower than fp32 on this processor" in text(report)) == told


@pytest.mark.parametrize(("cpuinfo", "told"), [(A72, True), (A76, False)], ids=["A72", "A76"])
def test_it_is_a_cause(cpuinfo: str, told: bool, bundles: Path, tmp_path: Path) -> None:
    found = explain_bundle(open_bundle(bundles / "onnx_dynamic"), QUICK, system=on(cpuinfo, tmp_path))
    causes = [cause for cause in found.causes if cause.kind == "slow precision"]
    assert [cause.cure for cause in causes] == (["take fp32, or convert to tflite"] if told else [])


def test_other_providers_have_kernels_of_their_own(bundles: Path, tmp_path: Path) -> None:
    manifest, system = open_bundle(bundles / "onnx_dynamic").manifest, on(A72, tmp_path)
    assert unpaid(manifest, "cpu", system) is not None
    assert unpaid(manifest, "cuda", system) is None
