"""TFLite: what its runtime and its readers ask of a file beyond what every target's conformance tests hold."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

from tests.conformance import opened
from tests.networks import network, photos_for
from xedge import convert
from xedge.converters import Form, find_target
from xedge.device.processor import has_half_arithmetic
from xedge.device.system import System
from xedge.quantization import recipe
from xedge.quantization.calibration import calibrate
from xedge.quantization.static import static_int8
from xedge.runtimes._interpreter import _is_marked
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


@pytest.mark.parametrize("fixed", [False, True])
def test_averages_over_windows_end_no_partition(pixels: UInt8Array, tmp_path: Path, fixed: bool) -> None:
    x = source = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu")(x)
    for _ in range(2):
        x = keras.layers.Conv2D(8, 3, activation="relu")(keras.layers.AveragePooling2D(3, strides=1)(x))
    model = keras.Model(source, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    graph, target = read_keras(model), find_target("tflite")
    seen = calibrate(graph, photos_for(model, pixels))
    equal, plan = recipe.int8(graph, seen, rules=target.rules, fixed=fixed)
    execution = opened(target.convert(equal, Form(precision="int8"), plan), tmp_path).execution()
    assert execution.partitions == 1
    assert execution.delegated == execution.operators


def test_signature_names_are_keras_names(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = network("xception")
    data = find_target("tflite").convert(read_keras(model), Form(precision="fp32"))[".tflite"]
    signature = Interpreter(model_content=data).get_signature_list()["serving_default"]
    assert signature == {"inputs": [model.layers[0].name], "outputs": ["predictions"]}


def test_half_precision_is_marked_and_changes_nothing_here(pixels: UInt8Array, tmp_path: Path) -> None:
    graph, target = read_keras(network("xception")), find_target("tflite")
    forms = {half: Form(precision="fp16", half=half) for half in (False, True)}
    sessions = {}
    for half, form in forms.items():
        (tmp_path / str(half)).mkdir()
        sessions[half] = opened(target.convert(graph, form), tmp_path / str(half))
        (file,) = (tmp_path / str(half)).glob("*.tflite")
        assert _is_marked(file) == half
    photo = photos_for(network("xception"), pixels)[:1]
    if not has_half_arithmetic():
        assert (sessions[True].run(photo) == sessions[False].run(photo)).all()
    assert sessions[True].execution().options == ({"arithmetic": "float16"} if has_half_arithmetic() else {})


@pytest.mark.parametrize(("features", "expected"), [("fp asimd fphp asimdhp asimddp", True), ("fp asimd", False)])
def test_half_arithmetic_is_what_the_processor_says(features: str, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(f"processor : 0\nFeatures : {features}\n")
    assert has_half_arithmetic(System(root=tmp_path)) == expected


@pytest.mark.parametrize(("bias", "marked"), [(1.0, True), (2e4, False)])
def test_values_too_large_for_half_precision_leave_it_out(bias: float, marked: bool, tmp_path: Path) -> None:
    photo = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", bias_initializer=keras.initializers.Constant(bias))(photo)
    x = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(photo, x)
    lines: list[str] = []
    options = {"target": "tflite", "precision": "fp16", "output": tmp_path / "out", "preprocess": "unit"}
    (made,) = convert(model, report=lines.append, **options)  # type: ignore[arg-type]
    assert (made.manifest.recipe.activations is not None) == marked
    assert _is_marked(tmp_path / "out" / made.manifest.artifact) == marked
    assert any("too near the end of half precision" in line for line in lines) != marked


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
