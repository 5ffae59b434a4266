"""Conformance: every network in every precision runs on the real runtime and stays close to the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.networks import NETWORKS, network, photos_for
from xedge.converters import tflite
from xedge.errors import UnsupportedError
from xedge.graph.evaluate import Evaluator
from xedge.graph.fold import without_softmax
from xedge.graph.from_keras import read_keras
from xedge.quantization.calibration import calibrate
from xedge.quantization.static import static_int8
from xedge.runtimes import Session, choose_runtime
from xedge.types import FloatArray, UInt8Array
from xedge.vocabulary import PRECISIONS, Precision

# Noise over signal that each precision may bring to these untrained networks' centred outputs.
NOISE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 0.05, "dynamic": 0.4, "int8": 0.35}


def opened(data: bytes, folder: Path) -> Session:
    file = folder / "artifact.tflite"
    file.write_bytes(data)
    return choose_runtime("tflite").open(file, 2)


def noise(got: FloatArray, expected: FloatArray) -> float:
    """Root mean square error over the outputs' own spread; an untrained network's may hardly spread at all."""
    spread = max(float(np.sqrt(((expected - expected.mean(0)) ** 2).mean())), 0.1 * float(np.abs(expected).mean()))
    return float(np.sqrt(((got - expected) ** 2).mean())) / spread


# Measured: 0.64 with least-squares ranges, 0.46 with min-max; random weights make a network that int8 does not fit.
NOT_YET = pytest.mark.xfail(strict=True, reason="int8 of the untrained MobileNetV2 of width 0.35 has noise 0.64")
KNOWN = [pytest.param(name, marks=NOT_YET if name == "transfer" else ()) for name in NETWORKS]


@pytest.mark.parametrize("name", KNOWN)
def test_conformance(name: str, pixels: UInt8Array, tmp_path: Path) -> None:
    model = network(name)
    graph = without_softmax(read_keras(model))
    photos = photos_for(model, pixels)
    expected = Evaluator(graph).output(photos)
    for precision in PRECISIONS:
        plan = static_int8(graph, calibrate(graph, photos)) if precision == "int8" else None
        session = opened(tflite.convert(graph, precision, plan), tmp_path)
        got = np.concatenate([session.run(photo[None]) for photo in photos])
        assert noise(got, expected) <= NOISE[precision], precision


@pytest.mark.parametrize("name", ["xception", "resnet50", "one_channel"])
def test_all_integer_artifacts_take_and_give_integers(name: str, pixels: UInt8Array, tmp_path: Path) -> None:
    model = network(name)
    graph = without_softmax(read_keras(model))
    photos = photos_for(model, pixels)
    plan = static_int8(graph, calibrate(graph, photos), all_integer=True)
    session = opened(tflite.convert(graph, "int8", plan, "int8"), tmp_path)
    start, end = plan.activations[graph.input.name], plan.activations[graph.output]
    rows = [session.run(start.quantize(photo[None])) for photo in photos]
    assert all(row.dtype == np.int8 for row in rows)
    got = np.concatenate([end.dequantize(row) for row in rows])
    assert noise(got, Evaluator(graph).output(photos)) <= NOISE["int8"]


def test_int8_xception_runs_as_one_partition(pixels: UInt8Array, tmp_path: Path) -> None:
    """No operator falls out of the delegate: stand-alone ReLUs would, one in each block."""
    model = network("xception")
    graph = read_keras(model)
    photos = photos_for(model, pixels)
    session = opened(tflite.convert(graph, "int8", static_int8(graph, calibrate(graph, photos))), tmp_path)
    execution = session.execution()
    assert execution.delegate == "XNNPACK"
    assert execution.partitions == 1
    assert execution.delegated == execution.operators


def test_signature_names_are_keras_names(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = network("xception")
    data = tflite.convert(read_keras(model), "fp32")
    signature = Interpreter(model_content=data).get_signature_list()["serving_default"]
    assert signature == {"inputs": [model.layers[0].name], "outputs": ["predictions"]}


def test_the_same_graph_gives_the_same_bytes(pixels: UInt8Array) -> None:
    graph = read_keras(network("one_channel"))
    photos = photos_for(network("one_channel"), pixels)
    made = [tflite.convert(graph, "int8", static_int8(graph, calibrate(graph, photos))) for _ in range(2)]
    assert made[0] == made[1]


def test_buffers_are_aligned() -> None:
    from ai_edge_litert import schema_py_generated as schema

    data = tflite.convert(read_keras(network("one_channel")), "fp32")
    model = schema.Model.GetRootAs(data)
    starts = []
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            starts.append(buffer._tab.Vector(buffer._tab.Offset(4)))
    assert starts
    assert all(start % 16 == 0 for start in starts)


def test_integer_ends_need_int8() -> None:
    with pytest.raises(UnsupportedError, match="int8 input and output"):
        tflite.convert(read_keras(network("one_channel")), "fp16", None, "int8")
