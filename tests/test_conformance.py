"""Conformance: every network on every target in every precision runs on the real runtime, close to the graph.

A new target inherits all of this by being registered (what is held is in ``tests.conformance``), a new network by
``tests.networks``. The quick part holds two networks; the others are in the slow part.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import conformance
from tests.conformance import Subject
from tests.conftest import FURTHER, QUICK_NETWORKS
from tests.networks import NETWORKS
from xedge.converters import Form, find_target, targets
from xedge.errors import UnsupportedError
from xedge.graph.ir import Graph
from xedge.quantization.plan import Plan
from xedge.types import UInt8Array
from xedge.vocabulary import Precision

TARGETS = [target.name for target in targets()]
WITH_INTEGER_ENDS = [target.name for target in targets() if target.ends]
WITH_HALF_ARITHMETIC = [target.name for target in targets() if target.in_half is not None]
WITH_BATCHES = [target.name for target in targets() if target.batches]
PAIRS = [(target.name, precision) for target in targets() for precision in target.precisions]
EVERY_NETWORK = [pytest.param(n, marks=() if n in QUICK_NETWORKS else FURTHER) for n in NETWORKS]
# Convolutions of one position and of nine, with numbers of inputs that are even and odd.
SIZES = ((1, 64), (3, 16), (3, 5), (3, 3), (3, 1))
PRODUCTS = [pytest.param(size, inputs, id=f"{size}x{size}x{inputs}") for size, inputs in SIZES]

Subjects = Callable[[str], Subject]


@pytest.fixture(scope="module")
def subject(pixels: UInt8Array) -> Subjects:
    return cache(lambda name: Subject(name, pixels))


@pytest.mark.parametrize(("target", "precision"), PAIRS)
@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_conformance(target: str, name: str, precision: Precision, subject: Subjects, tmp_path: Path) -> None:
    conformance.check_outputs(target, precision, subject(name), tmp_path)


@pytest.mark.parametrize("target", WITH_HALF_ARITHMETIC)
@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_half_arithmetic(target: str, name: str, subject: Subjects, tmp_path: Path) -> None:
    conformance.check_outputs(target, "fp16", subject(name), tmp_path, half=True)


@pytest.mark.parametrize("target", WITH_INTEGER_ENDS)
@pytest.mark.parametrize("name", ["xception", "resnet50", "one_channel"])
def test_all_integer_artifacts_take_and_give_integers(
    target: str, name: str, subject: Subjects, tmp_path: Path
) -> None:
    conformance.check_integer_ends(target, subject(name), tmp_path)


@pytest.mark.parametrize(("target", "precision"), PAIRS)
@pytest.mark.parametrize(("size", "inputs"), PRODUCTS)
def test_the_largest_products_do_not_overflow(
    target: str, precision: Precision, size: int, inputs: int, tmp_path: Path
) -> None:
    conformance.check_largest_products(target, precision, size, inputs, tmp_path)


@pytest.mark.parametrize(("target", "precision"), PAIRS)
@pytest.mark.parametrize("name", ["xception", "one_channel"])
def test_preprocessing_inside_gives_what_it_gives_outside(
    target: str, name: str, precision: Precision, subject: Subjects, tmp_path: Path
) -> None:
    conformance.check_preprocessing_inside(target, precision, subject(name), tmp_path)


@pytest.mark.parametrize("target", WITH_BATCHES)
def test_batches(target: str, subject: Subjects, tmp_path: Path) -> None:
    conformance.check_batches(target, subject("one_channel"), tmp_path)


@pytest.mark.parametrize(("target", "precision"), PAIRS)
def test_the_same_graph_gives_the_same_bytes(target: str, precision: Precision, subject: Subjects) -> None:
    conformance.check_same_bytes(target, precision, subject("one_channel"))


def test_a_target_without_a_runtime_is_converted_to_and_not_run(
    subject: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conformance, "runs_here", lambda target: False)
    one = subject("one_channel")
    conformance.check_outputs("tflite", "int8", one, tmp_path)
    conformance.check_integer_ends("tflite", one, tmp_path)
    conformance.check_largest_products("onnx", "fp32", 1, 4, tmp_path)
    conformance.check_preprocessing_inside("onnx", "fp32", one, tmp_path)
    conformance.check_batches("onnx", one, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "form", "words"),
    [
        pytest.param(
            "tflite", Form(precision="fp16", io="int8"), "int8 input and output with fp16", id="tflite-fp16-int8"
        ),
        pytest.param("onnx", Form(precision="int8", io="int8"), "have float32 or uint8", id="onnx-int8-int8"),
        pytest.param("openvino", Form(precision="int8", io="int8"), "have float32 or uint8", id="openvino-int8-int8"),
        pytest.param("openvino", Form(precision="fp16", half=True), "no choice of arithmetic", id="openvino-half"),
        pytest.param("onnx", Form(precision="int8", half=True), "no choice of arithmetic", id="onnx-int8-half"),
        pytest.param("tflite", Form(precision="fp32", batch=4), "one photo", id="tflite-batch-of-4"),
    ],
)
def test_a_target_says_what_it_has_instead(target: str, form: Form, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        find_target(target).check(form)


def test_the_three_targets_hold_the_same_integers(subject: Subjects, tmp_path: Path) -> None:
    """Weights, their scales, biases and activation scales are equal, tensor for tensor, where both targets have them.

    The differences that the targets' rules ask for: activations are int8 in TFLite and uint8, moved by 128, in the
    others; OpenVINO, and ONNX where a pointwise convolution can be a matrix product, keep biases in float and do not
    round what only float operations read.
    """
    one = subject("xception")
    graph, plan = one.quantized()
    tflite, onnx, openvino = (_integers(name, graph, plan, tmp_path) for name in ("tflite", "onnx", "openvino"))
    weighted = sorted(plan.kernels)
    for name in weighted:
        assert np.array_equal(tflite[f"{name}#kernel"], onnx[f"{name}#kernel"]), name
        assert np.array_equal(tflite[f"{name}#kernel"], openvino[f"{name}#kernel"]), name
        assert np.array_equal(tflite[f"{name}#scales"], onnx[f"{name}#scales"]), name
        assert np.array_equal(tflite[f"{name}#scales"], openvino[f"{name}#scales"]), name
        if f"{name}#bias" in onnx:
            assert np.array_equal(tflite[f"{name}#bias"], onnx[f"{name}#bias"]), name
        else:
            assert plan.gives_float(one.graph, name), name
    common = {name for name in tflite if "#" not in name} & set(onnx)
    assert len(common) >= len(weighted)
    for name in common:
        assert tflite[name] == pytest.approx(onnx[name], rel=1e-7), name
    rounded = {name for name in openvino if "#" not in name}
    unrounded = {n.name for n in one.graph if n.name in common and n.name not in rounded}
    for name in rounded & common:
        assert tflite[name] == pytest.approx(openvino[name], rel=1e-5), name
    for name in unrounded:
        readers = one.graph.consumers(name)
        moved = type(one.graph[name]).__name__ in ("Pool", "Pad", "Reshape")
        left_real = {r.name for r in readers if not plan.is_integer(r.name) or r.name in unrounded}
        assert moved or left_real == {r.name for r in readers}, name


def _integers(target: str, graph: Graph, plan: Plan, folder: Path) -> dict[str, Any]:
    """An artifact's integer weights (out, in, h, w), their scales, biases, and (scale, zero point) of activations."""
    files = find_target(target).convert(graph, Form(precision="int8"), plan)
    paths = [folder / f"{target}{suffix}" for suffix in files]
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    return {"tflite": _tflite_integers, "onnx": _onnx_integers, "openvino": _openvino_integers}[target](paths[0])


def _tflite_integers(path: Path) -> dict[str, Any]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    found: dict[str, Any] = {}
    for tensor in model.subgraphs[0].tensors:
        name, data = tensor.name.decode(), model.buffers[tensor.buffer].data
        q = tensor.quantization
        if name.endswith("#kernel") and tensor.type == schema.TensorType.INT8:
            kernel = np.frombuffer(bytes(data), np.int8).reshape(tensor.shape)
            depthwise = q.quantizedDimension == 3
            found[name] = kernel.transpose(3, 0, 1, 2) if depthwise else kernel.transpose(0, 3, 1, 2)
            found[name.replace("#kernel", "#scales")] = q.scale
        elif name.endswith("#bias") and tensor.type == schema.TensorType.INT32:
            found[name] = np.frombuffer(bytes(data), np.int32)
        elif tensor.type == schema.TensorType.INT8 and data is None:
            found[name.split("#")[0]] = (float(q.scale[0]), int(q.zeroPoint[0]))
    return found


def _onnx_integers(path: Path) -> dict[str, Any]:
    import onnx

    model = onnx.load(path)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found: dict[str, Any] = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero_point = (values[name] for name in node.input[1:])
            found[node.input[1].removesuffix("#scale")] = (float(scale), int(zero_point) - 128)
    for name, value in values.items():
        if name.endswith("#kernel#integers"):
            is_product = value.ndim == 2
            found[name.removesuffix("#integers")] = value.T[:, :, None, None] if is_product else value
            found[name.replace("#kernel#integers", "#scales")] = values[name.replace("#integers", "#scale")]
        elif name.endswith("#bias#integers"):
            found[name.removesuffix("#integers")] = value
    return found


def _openvino_integers(path: Path) -> dict[str, Any]:
    import openvino

    found: dict[str, Any] = {}
    for node in openvino.Core().read_model(path).get_ops():
        name = node.get_friendly_name()
        if name.endswith("#kernel#integers"):
            kernel = node.data
            found[name.removesuffix("#integers")] = kernel.reshape(-1, *kernel.shape[-3:])
        elif name.endswith("#kernel#scales"):
            found[name.replace("#kernel#scales", "#scales")] = node.data.reshape(-1)
        elif node.get_type_name() == "FakeQuantize":
            low, high = (float(node.input_value(i).get_node().data.reshape(())) for i in (1, 2))
            scale = (high - low) / 255
            found[name.removesuffix("#quantized")] = (scale, round(-128 - low / scale))
    return found
