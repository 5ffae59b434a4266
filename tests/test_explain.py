"""``xedge explain`` names faults that were planted, and finds nothing to mend where there are none."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import xedge
from tests.conftest import FURTHER, Command
from tests.planted import FAULTS, HEALTHY
from xedge.api.documents import read_document
from xedge.bundle.reading import MANIFEST, Bundle
from xedge.device.system import System
from xedge.explaining.explanation import Explanation, explain_bundle
from xedge.measuring.latency import Schedule
from xedge.measuring.starting import RunOptions

# Those that are quick to make; the others need TensorFlow's converter or NNCF.
QUICK = ("onnx: transpositions", "onnx: products in float", "tflite: one thread")
# The same faults on one more target.
FURTHER_FAULTS = (
    *("onnx: not quantized", "onnx: one thread", "openvino: not quantized", "openvino: one thread"),
    *("openvino: float island", "openvino: too many threads"),
)


def explained(fault: str, folder: Path) -> Explanation:
    """Make an artifact with a fault, and explain its bundle."""
    planted = FAULTS[fault]
    made = planted.make(folder)
    if not (made / MANIFEST).is_file():
        made = xedge.wrap(made, preprocess="tf", output_kind="probabilities", output=folder / "wrapped").path
    return xedge.explain(made, runs=30, **{"threads": 2, **planted.options})


@pytest.mark.usefixtures("all_cores")
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(name, marks=() if name in QUICK else FURTHER if name in FURTHER_FAULTS else pytest.mark.slow)
        for name in FAULTS
    ],
)
def test_a_planted_fault_is_named(fault: str, tmp_path: Path) -> None:
    found = explained(fault, tmp_path)
    named = [(cause.kind, f"{cause.words} {cause.reason}") for cause in found.causes]
    planted = FAULTS[fault]
    assert any(kind == planted.kind and re.search(planted.words, words) for kind, words in named), named
    assert not found.healthy


@pytest.mark.usefixtures("all_cores")
@pytest.mark.parametrize("target", [pytest.param(name, marks=pytest.mark.slow) for name in HEALTHY])
def test_a_healthy_bundle_has_nothing_to_mend(target: str, tmp_path: Path) -> None:
    found = xedge.explain(HEALTHY[target](tmp_path), runs=30, threads=2)
    assert found.healthy, found.causes


@pytest.mark.parametrize(
    ("processor", "named"),
    [
        ("flags : fpu sse2 avx2 fma\n", True),
        ("flags : fpu sse2 avx2 fma avx512_vnni\n", False),
        ("Features : fp asimd crc32\n", True),
        ("Features : fp asimd asimdhp asimddp\n", False),
        ("", False),
    ],
    ids=["x86", "x86 with VNNI", "Cortex-A72", "Cortex-A76", "unknown"],
)
def test_a_processor_without_dot_products_is_named(
    processor: str, named: bool, int8_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(processor)
    options = RunOptions(threads=1, schedule=Schedule(runs=3))
    found = explain_bundle(int8_bundle, options, system=System(root=tmp_path))
    assert any(cause.kind == "no dot product" for cause in found.causes) == named
    elsewhere = dataclasses.replace(found, causes=tuple(it for it in found.causes if it.kind == "no dot product"))
    assert elsewhere.healthy, "no change of the bundle gives a processor instructions"


@pytest.mark.usefixtures("all_cores")
def test_the_command_says_where_the_time_goes(xedge: Command, bundles: Path, tmp_path: Path) -> None:
    path = tmp_path / "explained.json"
    done = xedge(
        "explain", bundles / "tflite_int8", "--against", bundles / "tflite_fp32", "--threads", 1, "--json", path
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"time +\d+\.\d+ % in integers", done.stdout)
    assert re.search(r"against +\d+\.\d+ of the time of tflite_fp32", done.stdout)
    assert re.search(r"idle cores: 1 of \d+ cores compute\n   because .*\n   cure +run it with --threads", done.stdout)
    assert re.search(r"worth +.* here, measured with --threads", done.stdout)
    document = read_document(path)
    assert isinstance(document, Explanation)
    assert document.timed_ms is not None
    assert document.integer_share is not None
    assert document.integer_share > 0.5
