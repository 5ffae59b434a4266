"""The times of operators: whose they are, and how much of an inference they explain."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import cast

import ai_edge_litert
import numpy as np
import pytest

from tests.conftest import Command
from xedge import run
from xedge.bundle.reading import open_bundle
from xedge.errors import UnsupportedError
from xedge.measuring.profile import profile_of
from xedge.runtimes import Execution, Session, Settings, TimedOperation
from xedge.runtimes.classifier import open_bundle_classifier
from xedge.runtimes.litert.matching import match, placed
from xedge.runtimes.litert.profiling import KernelTime, kernel_times
from xedge.types import Tensor
from xedge.vocabulary import PART

PACKAGE = Path(next(iter(ai_edge_litert.__path__)))
VERSION = importlib.metadata.version("ai-edge-litert")
# The usual share is more than nine tenths; a busy machine takes time between kernels.
LEAST_EXPLAINED = 0.5


@pytest.mark.parametrize("precision", ["fp32", "fp16", "dynamic", "int8"])
def test_litert_times_the_nodes_of_the_graph(bundles: Path, precision: str) -> None:
    bundle = open_bundle(bundles / f"tflite_{precision}")
    classifier, _ = open_bundle_classifier(bundle, Settings(threads=1), "litert")
    timed = classifier.session.timed(classifier.input(bundle.golden().pixels[0]))
    times = {one.name: one.ms for one in timed}
    nodes = {name.split(PART)[0] for name in times}
    assert {"block1_conv1", "block2_sepconv1/depthwise", "block2_sepconv1", "add", "avg_pool", "predictions"} <= nodes
    assert all(ms >= 0 for ms in times.values())
    assert times["block1_conv2"] > 0


def test_the_kernels_explain_the_inference(bundles: Path) -> None:
    artifact = open_bundle(bundles / "tflite_fp32").artifact
    told = kernel_times(PACKAGE, VERSION, artifact, 1, np.zeros((1, 128, 128, 3), np.float32), "float32", 20)
    assert told is not None
    assert LEAST_EXPLAINED < sum(kernel.ms for kernel in told.kernels) / told.whole_ms <= 1


def test_a_wheel_without_the_profiler_tells_nothing(tmp_path: Path) -> None:
    photo = np.zeros((1, 8, 8, 3), np.float32)
    artifact = tmp_path / "none.tflite"
    assert kernel_times(tmp_path, VERSION, artifact, 1, photo, "float32", 2) is None
    assert kernel_times(PACKAGE, "2.1.4", artifact, 1, photo, "float32", 2) is None
    (tmp_path / "libLiteRt.so").write_bytes(b"not a library")
    assert kernel_times(tmp_path, VERSION, artifact, 1, photo, "float32", 2) is None


def test_kernels_go_to_operators_in_their_order() -> None:
    operators = ["QUANTIZE", "CONV_2D", "RELU", "ADD", "RELU", "DEQUANTIZE", "DEPTHWISE_CONV_2D", "ADD", "MEAN"]
    kernels = ["Convert (NC)", "Convert (NC, F32, QDU8)", "Fully Connected (NC, QDU8)", "Add (ND)", "Clamp (NC)"]
    kernels += ["Convolution (NHWC, F32) DWConv", "Add (ND)", "Clamp (NC)", "Mean (ND) Reduce2"]
    assert match(operators, kernels) == [0, 1, 1, 3, 4, 6, 7, 7, 8]
    assert match(operators, kernels[1:]) == [1, 1, 3, 4, 6, 7, 7, 8]  # integers that a convolution makes itself
    assert match(operators, kernels[3:]) is None
    assert match(operators, kernels[:-1]) is None
    assert match([*operators, "GATHER"], kernels) is None


def test_kernels_of_several_partitions_go_to_their_operators() -> None:
    operators = ["CONV_2D", "ADD", "RELU", "CONV_2D", "SOFTMAX"]

    def kernel(name: str, index: int, *, delegated: bool = True) -> KernelTime:
        return KernelTime(kernel=name, index=index, delegated=delegated, ms=1.0)

    first = [kernel("Convolution (NHWC, QC8) IGEMM", 0), kernel("Add (ND)", 1)]
    second = [kernel("Fully Connected (NC, QS8, QC8W) GEMM", 0)]
    between, behind = kernel("RELU", 2, delegated=False), kernel("SOFTMAX", 4, delegated=False)
    assert placed(operators, [[3], [0, 1]], [*first, between, *second, behind]) == [0, 1, 2, 3, 4]
    assert placed(operators, [[0, 1]], [*first, between, *second, behind]) is None
    own = [kernel(kind, at, delegated=False) for at, kind in enumerate(operators)]
    assert placed(operators, [], own) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("target", ["tflite", "onnx", "openvino"])
def test_a_profile_tells_kernels_precisions_threads_and_speed(target: str, bundles: Path) -> None:
    report = run(bundles / f"{target}_int8", data=None, runs=5, threads=2, profile=True)
    assert report.profile is not None
    products = [one for one in report.profile.operations if one.product]
    assert len(products) >= 20
    assert all(one.kernels and one.precision != "unknown" for one in products)
    assert {one.threads for one in products} == {2}
    # ONNX Runtime does not tell the shapes of the kernels of convolutions.
    speeds = [one.giga_per_second for one in products if one.giga_per_second is not None]
    assert len(speeds) > len(products) / 2 or target == "onnx"
    assert all(speed < 1e5 for speed in speeds)
    assert sum(one.role == "integer" for one in products) > len(products) / 2


@pytest.mark.parametrize("target", ["tflite", "onnx", "openvino"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_run_tells_where_the_time_goes(target: str, precision: str, bundles: Path) -> None:
    report = run(bundles / f"{target}_{precision}", data=None, runs=5, threads=1, profile=True)
    assert report.profile is not None
    names = [one.name for one in report.profile.operations]
    assert len(names) == len(set(names)) > 20
    assert sum(one.ms for one in report.profile.operations) == pytest.approx(report.profile.total_ms)
    assert sum(one.share for one in report.profile.operations) == pytest.approx(1)
    assert sum(name.startswith(("block", "add", "avg_pool", "conv2d", "predictions")) for name in names) > 20


def test_a_runtime_that_tells_no_times_is_named(here: Command, bundles: Path) -> None:
    class Silent:
        """A session of a runtime that tells no times."""

        def timed(self, photo: Tensor) -> list[TimedOperation]:
            del photo
            return []

        def execution(self) -> Execution:
            return Execution(runtime="tflite-runtime", version="2.14", threads=1)

    with pytest.raises(UnsupportedError, match=r"tflite-runtime 2\.14 does not tell them"):
        profile_of(cast("Session", Silent()), np.zeros(1, np.float32))
    done = here("run", bundles / "tflite_int8", "--no-accuracy", "--runs", 5, "--profile")
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("operation ") for line in done.stdout.splitlines())
