"""TFLite: what its runtime and its readers ask of a file beyond what every target's conformance tests hold."""

from __future__ import annotations

from pathlib import Path

from tests.conformance import opened
from tests.networks import network, photos_for
from xedge.converters import Form, find_target
from xedge.quantization.calibration import calibrate
from xedge.quantization.static import static_int8
from xedge.sources.keras.layers import read_keras
from xedge.types import UInt8Array


def test_int8_xception_runs_as_one_partition(pixels: UInt8Array, tmp_path: Path) -> None:
    """No operator falls out of the delegate: stand-alone ReLUs would, one in each block."""
    model = network("xception")
    graph = read_keras(model)
    photos = photos_for(model, pixels)
    plan = static_int8(graph, calibrate(graph, photos))
    session = opened(find_target("tflite").convert(graph, Form(precision="int8"), plan), tmp_path)
    execution = session.execution()
    assert execution.delegate == "XNNPACK"
    assert execution.partitions == 1
    assert execution.delegated == execution.operators


def test_signature_names_are_keras_names(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = network("xception")
    data = find_target("tflite").convert(read_keras(model), Form(precision="fp32"))[".tflite"]
    signature = Interpreter(model_content=data).get_signature_list()["serving_default"]
    assert signature == {"inputs": [model.layers[0].name], "outputs": ["predictions"]}


def test_buffers_are_aligned() -> None:
    from ai_edge_litert import schema_py_generated as schema

    data = find_target("tflite").convert(read_keras(network("one_channel")), Form(precision="fp32"))[".tflite"]
    model = schema.Model.GetRootAs(data)
    starts = []
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            starts.append(buffer._tab.Vector(buffer._tab.Offset(4)))
    assert starts
    assert all(start % 16 == 0 for start in starts)
