"""Weights of 4 bits: how they are rounded and stored, what an artifact holds, and who refuses them."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers

from tests.conformance import noise, opened, with_rounded_weights
from tests.conftest import FEW_FOR_CALIBRATION, FURTHER, Command
from tests.networks import network, photos_for
from xedge import convert
from xedge.bundle.reading import open_bundle
from xedge.converters import Form, find_target
from xedge.errors import UnsupportedError
from xedge.graph.evaluate import Evaluator
from xedge.graph.ir import Conv, Dense, Graph
from xedge.quantization import adaptive_rounding, recipe
from xedge.quantization.affine import GroupedKernel
from xedge.quantization.plan import Plan
from xedge.quantization.statistics import Statistics
from xedge.quantization.weight_only import SHARE_IN_EIGHT_BITS, group_size, small_weights
from xedge.sources.keras.layers import read_keras
from xedge.types import FloatArray, UInt8Array

UNPACKING = ("onnx", "openvino")
BLOCKS = find_target("tflite").rules
# The compact default has 95.2 % and 0.042 where weights are unpacked, and 94.9 % and 0.043 on TFLite. Its total
# variation is 0.068 with the nearest integers in place of adaptive rounding, 0.064 without bias correction, and 0.059
# if no kernel has 8 bits.
AGREEMENT, TOTAL_VARIATION = 0.935, 0.05


def _with_dense(inputs: int = 64) -> keras.Model:
    """Convolutions of one and of nine positions, in groups and with an odd number of weights, and a dense layer."""
    photo = keras.Input((12, 12, 3))
    x = layers.Conv2D(inputs, 3, activation="relu")(photo)
    x = layers.Conv2D(96, 3, groups=2, activation="relu")(x)
    x = layers.SeparableConv2D(130, 3, activation="relu")(x)
    x = layers.Conv2D(5, 3, use_bias=False)(layers.Conv2D(9, 1)(x))
    x = layers.Dense(200, activation="relu")(layers.Flatten()(x))
    return keras.Model(photo, layers.Dense(7, activation="softmax")(x))


PHOTOS = np.random.default_rng(0).uniform(-1, 1, (24, 12, 12, 3)).astype(np.float32)


@cache
def _planned() -> tuple[Graph, Statistics, Plan]:
    keras.utils.set_random_seed(0)
    graph = read_keras(_with_dense())
    seen = recipe.statistics(graph, PHOTOS)
    return graph, seen, small_weights(graph, seen)


def _pointwise(inputs: int, **options: Any) -> Conv:
    """Return a pointwise convolution, or one with other options."""
    kernel, bias = np.ones((1, 1, inputs, 64), np.float32), np.zeros(64, np.float32)
    return replace(Conv(name="conv", inputs=("photo",), kernel=kernel, bias=bias), **options)


def test_integers_scales_and_bits() -> None:
    graph, _, plan = _planned()
    kernels = {node.name: node.kernel for node in graph if isinstance(node, Conv | Dense)}
    assert plan.weights.keys() == kernels.keys()
    held = {name: one.values.size for name, one in plan.weights.items() if one.bits == 8}
    odd = {name for name, kernel in kernels.items() if kernel.size % 2}
    total = sum(kernel.size for kernel in kernels.values())
    assert odd <= held.keys()
    assert 0 < sum(size for name, size in held.items() if name not in odd) <= SHARE_IN_EIGHT_BITS * total
    for name, one in plan.weights.items():
        low, high = (-8, 7) if one.bits == 4 else (-127, 127)
        assert one.values.shape == kernels[name].shape
        assert low <= one.values.min() < 0 < one.values.max() <= high
        assert one.scales.dtype == np.float16
        assert kernels[name].shape[-2] % len(one.scales) == 0
        assert (len(one.scales) == 1) or one.bits == 4


def test_groups_divide_the_inputs_of_a_filter() -> None:
    assert [group_size(_pointwise(inputs)) for inputs in (728, 1024, 7, 67)] == [91, 64, 7, 67]
    ones = np.ones((3, 3, 96, 4), np.float32), np.ones((7, 7, 3, 4), np.float32)
    assert [group_size(_pointwise(3, kernel=kernel)) for kernel in ones] == [8, 1]


def test_blocks_take_least_to_store() -> None:
    """728 inputs take 6 blocks of 128 (3,168 bits), 8 of 96 (3,200), 12 of 64 (3,264), or 23 of 32 (3,312)."""
    sizes = {728: 128, 1024: 128, 1536: 128, 192: 96, 96: 96, 33: None, 40: 64, 20: 32, 18: None, 16: None}
    assert {inputs: group_size(_pointwise(inputs), 32) for inputs in sizes} == sizes
    assert group_size(_pointwise(64, strides=(2, 2)), 32) == 64
    several = np.ones((3, 3, 64, 4), np.float32)
    for other in ({"kernel": several}, {"groups": 2}, {"padding": ((1, 1), (1, 1))}):
        assert group_size(_pointwise(64, **other), 32) is None


def test_layers_of_the_photo_stay_in_float_where_activations_are_rounded() -> None:
    graph, seen, plan = _planned()
    blocks = small_weights(graph, seen, BLOCKS)
    (first,) = graph.consumers(graph.input.name)
    assert plan.weights.keys() - blocks.weights.keys() == {first.name}
    for one in blocks.weights.values():
        assert one.bits == 8 or (one.size % 32 == 0 and one.scales.dtype == np.float16)
    assert {one.bits for one in blocks.weights.values()} == {4, 8}


def test_scales_that_half_precision_does_not_hold_give_8_bits() -> None:
    graph, seen, _ = _planned()
    node = next(node for node in graph if isinstance(node, Conv) and node.kernel.shape[-1] == 130)
    assert small_weights(graph, seen, BLOCKS).weights[node.name].bits == 4
    kernel = node.kernel.copy()
    kernel[..., 3] *= 1e-7
    nodes = tuple(replace(node, kernel=kernel) if one.name == node.name else one for one in graph)
    found = small_weights(Graph(name="g", nodes=nodes, output=graph.output, output_name="o"), seen, BLOCKS)
    assert found.weights[node.name].bits == 8


def test_blocks_are_multiplied_by_xnnpack_as_by_the_built_in_kernels(tmp_path: Path) -> None:
    """There is a stride, blocks that the inputs do not fill, a stored activation, and a dense layer."""
    keras.utils.set_random_seed(0)
    photo = keras.Input((12, 12, 3))
    x = layers.Conv2D(40, 3, activation="relu6")(photo)
    x = layers.Conv2D(200, 1, activation="relu")(x)
    x = layers.Conv2D(80, 1, strides=2)(x)
    x = layers.Dense(300, activation="relu")(layers.GlobalAveragePooling2D()(x))
    graph = read_keras(keras.Model(photo, layers.Dense(7)(x)))
    plan = small_weights(graph, recipe.statistics(graph, PHOTOS), BLOCKS)
    four = {name: one for name, one in plan.weights.items() if one.bits == 4}
    assert [one.values.shape for one in four.values()] == [(1, 1, 40, 200), (1, 1, 200, 80), (80, 300)]
    expected = Evaluator(with_rounded_weights(graph, plan)).output(PHOTOS)
    files = find_target("tflite").convert(graph, Form(precision="w4"), plan)
    assert max(code.version for code in schema.ModelT.InitFromPackedBuf(files[".tflite"], 0).operatorCodes) == 14
    session = opened(files, tmp_path)
    assert noise(np.concatenate([session.run(one[None]) for one in PHOTOS]), expected) < 0.05
    assert session.execution().partitions == 1
    built_in = Interpreter(
        model_content=files[".tflite"], experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    built_in.allocate_tensors()
    rows = []
    for one in PHOTOS:
        built_in.set_tensor(built_in.get_input_details()[0]["index"], one[None])
        built_in.invoke()
        rows.append(built_in.get_tensor(built_in.get_output_details()[0]["index"]))
    assert noise(np.concatenate(rows), expected) < 0.05


def test_scales_of_inputs_round_as_one_scale_does_if_they_are_equal() -> None:
    random = np.random.default_rng(1)
    kernel = random.normal(size=(1, 1, 24, 10)).astype(np.float32)
    rows = random.normal(size=(300, 24)) @ random.normal(size=(24, 24))
    covariance, scales = np.cov(rows.T), np.full(10, 0.5, np.float32)
    one = adaptive_rounding.rounded(kernel, scales, covariance, 0.0, limits=(-8, 7))
    several = adaptive_rounding.rounded(kernel, np.tile(scales, (24, 1)), covariance, 0.0, limits=(-8, 7))
    np.testing.assert_array_equal(one, several)


def test_rounding_compensates_between_groups() -> None:
    """The error at the output is a part of that of the nearest integers, although groups have steps of other sizes."""
    random = np.random.default_rng(2)
    kernel = random.normal(size=(1, 1, 64, 32)).astype(np.float32)
    rows = random.normal(size=(2000, 16)) @ random.normal(size=(16, 64)) + 0.1 * random.normal(size=(2000, 64))
    scales = np.repeat(np.array([[0.5], [0.25], [0.4], [0.3]], np.float32), 16, axis=0) * np.ones(32, np.float32)
    covariance = np.cov(rows.T)
    values = adaptive_rounding.rounded(kernel, scales, covariance, 0.0, limits=(-8, 7))

    def error(integers: FloatArray) -> float:
        lost = (integers * scales - kernel)[0, 0]
        return float(np.einsum("io,ij,jo->", lost, covariance, lost))

    assert error(values.astype(np.float32)) < 0.35 * error(np.clip(np.rint(kernel / scales), -8, 7))


def test_filters_of_zeros_and_of_very_small_weights() -> None:
    graph, seen, _ = _planned()
    node = next(node for node in graph if isinstance(node, Conv) and node.kernel.shape[-1] == 130)
    for factor, kind in ((0.0, np.float16), (1e-7, np.float32)):
        kernel = node.kernel.copy()
        kernel[..., 3] *= factor
        nodes = tuple(replace(node, kernel=kernel) if one.name == node.name else one for one in graph)
        found = small_weights(Graph(name="g", nodes=nodes, output=graph.output, output_name="o"), seen)
        made = found.weights[node.name]
        assert made.scales.dtype == kind
        assert np.abs(made.real - kernel)[..., 3].max() <= 0.2 * np.abs(kernel[..., 3]).max()


def _onnx_kernels(data: bytes, names: list[str]) -> dict[str, FloatArray]:
    """Return what ONNX Runtime makes of stored kernels."""
    model = onnx.load_from_string(data)
    model.graph.output.extend(onnx.helper.make_tensor_value_info(f"{name}#kernel", 1, None) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shape = [1, *session.get_inputs()[0].shape[1:]]
    feed = {session.get_inputs()[0].name: np.zeros(shape, np.float32)}
    wanted = [f"{name}#kernel" for name in names]
    return dict(zip(names, session.run(wanted, feed), strict=True))


def _openvino_kernels(files: dict[str, bytes], names: list[str], folder: Path) -> dict[str, FloatArray]:
    """Return what OpenVINO makes of stored kernels."""
    for suffix, data in files.items():
        (folder / f"model{suffix}").write_bytes(data)
    core = openvino.Core()
    model = core.read_model(folder / "model.xml")
    nodes = {node.get_friendly_name(): node for node in model.get_ops()}
    inside = openvino.Model([nodes[f"{name}#kernel"].output(0) for name in names], [], "kernels")
    results = core.compile_model(inside, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([])
    return {name: results[i] for i, name in enumerate(names)}


@pytest.mark.parametrize("target", UNPACKING)
def test_runtimes_unpack_exactly_what_the_plan_holds(target: str, tmp_path: Path) -> None:
    graph, _, plan = _planned()
    files = dict(find_target(target).convert(graph, Form(precision="w4"), plan))
    names = list(plan.weights)
    made = _onnx_kernels(files[".onnx"], names) if target == "onnx" else _openvino_kernels(files, names, tmp_path)
    for name, kernel in plan.weights.items():
        dense = isinstance(graph[name], Dense)
        expected = kernel.real if dense else kernel.real.transpose(3, 2, 0, 1)
        np.testing.assert_allclose(made[name].reshape(expected.shape), expected, rtol=1e-6, atol=0, err_msg=name)


def test_the_onnx_file_needs_no_newer_runtime_than_others() -> None:
    graph, _, plan = _planned()
    model = onnx.load_from_string(find_target("onnx").convert(graph, Form(precision="w4"), plan)[".onnx"])
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [one.version for one in model.opset_import]) == (7, [13])
    stored = {one.name: one for one in model.graph.initializer}
    for name, kernel in plan.weights.items():
        size = len(stored[f"{name}#kernel#integers"].raw_data)
        assert size == kernel.values.size * kernel.bits // 8


@pytest.mark.parametrize(
    "target", ["tflite", pytest.param("onnx", marks=FURTHER), pytest.param("openvino", marks=FURTHER)]
)
def test_the_compact_default_keeps_its_answers(target: str, xedge: Command, tmp_path: Path) -> None:
    """Convert, info, run, verify and explain it."""
    out = tmp_path / "small"
    done = xedge("convert", "--target", target, "--precision", "w4", "--output", out)
    assert done.returncode == 0, done.stderr
    bundle = open_bundle(out)
    manifest = bundle.manifest
    assert "4 bits per group" in str(manifest.recipe.weights)
    assert (manifest.recipe.activations is None) == (target in UNPACKING)
    assert manifest.calibration is not None
    assert manifest.speed is not None
    assert manifest.accuracy is not None
    assert manifest.accuracy.agreement is not None
    assert manifest.accuracy.agreement.agreement >= AGREEMENT
    assert manifest.accuracy.agreement.total_variation <= TOTAL_VARIATION
    size = sum(file.stat().st_size for file in out.iterdir() if file.suffix in (".tflite", ".onnx", ".bin"))
    assert size <= 0.68 * manifest.model.parameters
    assert "4 bits per group" in xedge("info", out).stdout
    demanded = ("--min-agreement", 93) if target == "tflite" else ()  # it has 94.9 %, the others 95.2 %
    for command in (("run", out, "--runs", 3), ("verify", out, *demanded), ("explain", out)):
        got = xedge(*command)
        assert got.returncode == 0, got.stderr
        assert "weights with one scale" not in got.stdout
        assert "computed in float" not in got.stdout


def test_targets_without_it_say_what_they_have(xedge: Command, tmp_path: Path) -> None:
    done = xedge("convert", "--target", "tensorrt", "--precision", "w4", "--output", tmp_path / "out")
    assert done.returncode == UnsupportedError.exit_code
    assert "tensorrt has no w4; it has fp32, fp16" in done.stderr
    assert not (tmp_path / "out").exists()


def test_all_stands_for_what_it_stood_for(xedge: Command, few_photos: Path, tmp_path: Path) -> None:
    few = ("--data", few_photos, *FEW_FOR_CALIBRATION)
    done = xedge("convert", "--target", "onnx", "--precision", "all", *few, "--output", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert [one["manifest"]["precision"] for one in json.loads(done.stdout)] == ["fp32", "fp16", "dynamic", "int8"]


@pytest.mark.slow
def test_a_model_that_a_library_converts_is_refused(tmp_path: Path) -> None:
    photo = keras.Input((24, 24, 3))
    x = keras.ops.sin(layers.Conv2D(4, 3)(photo))  # no graph of xedge holds it
    model = keras.Model(photo, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(UnsupportedError, match=r"w4 is only for models in the reference graph .*; choose dynamic or"):
        convert(model, target="onnx", precision="w4", output=tmp_path / "out", preprocess="unit")


def test_noise_of_the_network_of_nine_positions(pixels: UInt8Array) -> None:
    """All convolutions of a ResNet have groups; their error stays a small part of what they compute."""
    model = network("resnet50")
    graph, photos = read_keras(model), photos_for(model, pixels)
    plan = small_weights(graph, recipe.statistics(graph, photos))
    for node in graph:
        if isinstance(node, Conv):
            kernel: GroupedKernel = plan.weights[node.name]
            lost = kernel.real - node.kernel
            assert float((lost**2).mean()) <= 0.03 * float((node.kernel**2).mean())
