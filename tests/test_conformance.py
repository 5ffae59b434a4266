"""Conformance: every network on every target in every precision runs on the real runtime, close to the graph.

A new target inherits all of this by its name in ``xedge.vocabulary.TARGETS``, a new network by ``tests.networks``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.networks import NETWORKS, network, photos_for
from xedge.errors import UnsupportedError
from xedge.graph.evaluate import Evaluator
from xedge.graph.fold import without_softmax
from xedge.sources.keras.layers import read_keras
from xedge.graph.ir import Graph
from xedge.quantization import recipe
from xedge.quantization.plan import Plan
from xedge.runtimes import Session, Settings, choose_runtime
from xedge.converters import Form, Pixels, find_target
from xedge.types import FloatArray, UInt8Array
from xedge.vocabulary import NAMED_TARGETS, PRECISIONS, TARGETS, Precision

# Noise over signal that each precision may bring to these untrained networks' centred outputs.
NOISE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 0.05, "dynamic": 0.4, "int8": 0.35}
# A MobileNetV2 of width 0.35 with random weights takes rounding worse: litert-quantizer's int8 has 1.04 on it.
HARDER: dict[str, dict[Precision, float]] = {"transfer": {"dynamic": 0.55, "int8": 0.75}}

PAIRS = [(t, p) for t in (*TARGETS, *NAMED_TARGETS) for p in PRECISIONS if p in find_target(t).precisions]


def opened(files: dict[str, bytes], target: str, folder: Path) -> Session:
    """Write an artifact's files and load them, computing in float32 as the reference does."""
    paths = [folder / f"artifact{suffix}" for suffix in files]
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    return choose_runtime(target).open(paths[0], Settings(threads=2, exact=True))


def fed(photo: np.ndarray, target: str) -> np.ndarray:
    """One photo (H, W, C) as the target's input."""
    nchw = find_target(target).layout == "NCHW"
    return np.ascontiguousarray(photo.transpose(2, 0, 1) if nchw else photo)[None]


def noise(got: FloatArray, expected: FloatArray) -> float:
    """Root mean square error over the outputs' own spread; an untrained network's may hardly spread at all."""
    spread = max(float(np.sqrt(((expected - expected.mean(0)) ** 2).mean())), 0.1 * float(np.abs(expected).mean()))
    return float(np.sqrt(((got - expected) ** 2).mean())) / spread


class Subject:
    """A network without its softmax, real photos for it, and what it makes of them in float."""

    def __init__(self, name: str, pixels: UInt8Array) -> None:
        model = network(name)
        self.graph = without_softmax(read_keras(model))
        self.photos = photos_for(model, pixels)
        self.expected = Evaluator(self.graph).output(self.photos)
        self.statistics = recipe.statistics(self.graph, self.photos)

    def quantized(
        self, *, all_integer: bool = False, dynamic: bool = False, symmetric: bool = False, fit_pairs: bool = False
    ) -> tuple[Graph, Plan]:
        pixel = (1.0, 0.0) if self.graph.name == "transfer" else (1 / 127.5, -1.0)
        return recipe.int8(
            self.graph,
            self.statistics,
            pixel=pixel,
            all_integer=all_integer,
            dynamic=dynamic,
            symmetric=symmetric,
            fit_pairs=fit_pairs,
        )

    def convert(self, target: str, form: Form) -> dict[str, bytes]:
        graph, plan, found = self.graph, None, find_target(target)
        if form.precision == "int8":
            integer = form.io != "float32"
            graph, plan = self.quantized(
                all_integer=integer,
                dynamic=found.dynamic_branches,
                symmetric=found.symmetric,
                fit_pairs=found.pairs,
            )
        return dict(found.convert(graph, form, plan))


@pytest.fixture(scope="module")
def subject(pixels: UInt8Array) -> Callable[[str], Subject]:
    return cache(lambda name: Subject(name, pixels))


@pytest.mark.parametrize(("target", "precision"), PAIRS)
@pytest.mark.parametrize("name", NETWORKS)
def test_conformance(
    target: str, name: str, precision: Precision, subject: Callable[[str], Subject], tmp_path: Path
) -> None:
    one = subject(name)
    session = opened(one.convert(target, Form(precision=precision)), target, tmp_path)
    got = np.concatenate([session.run(fed(photo, target)) for photo in one.photos])
    assert noise(got, one.expected) <= {**NOISE, **HARDER.get(name, {})}[precision]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["xception", "resnet50", "one_channel"])
def test_all_integer_artifacts_take_and_give_integers(
    target: str, name: str, subject: Callable[[str], Subject], tmp_path: Path
) -> None:
    one, form = subject(name), Form(precision="int8", io=find_target(target).ends[0])
    _, plan = one.quantized(all_integer=True)
    session = opened(one.convert(target, form), target, tmp_path)
    start, end = plan.activations[one.graph.input.name], plan.activations[one.graph.output]
    shift = 128 if form.io == "uint8" else 0
    integers = [start.quantize(photo + plan.input_shift).astype(np.int16) for photo in one.photos]
    fed_integers = [(photo + shift).astype(form.io) for photo in integers]
    rows = [session.run(fed(photo, target)) for photo in fed_integers]
    assert all(row.dtype == form.io for row in rows)
    got = np.concatenate([end.dequantize((row.astype(np.int16) - shift).astype(np.int8)) for row in rows])
    assert noise(got, one.expected) <= NOISE["int8"]


@pytest.mark.parametrize(("target", "precision"), PAIRS)
@pytest.mark.parametrize(("size", "inputs"), [(1, 64), (3, 16), (3, 5), (3, 3), (3, 1)])
def test_the_largest_products_do_not_overflow(
    target: str, precision: Precision, size: int, inputs: int, tmp_path: Path
) -> None:
    """Every activation and every weight is the largest of its tensor, which sums in 16 bits hold least.

    Processors with VNNI, and Arm, have no such sums and pass in any case; ``pairs`` has its own tests.
    """
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((6, 6, inputs)),
            layers.Conv2D(8, size, use_bias=False, kernel_initializer="ones"),
            layers.GlobalAveragePooling2D(),
        ]
    )
    graph, plan, found = read_keras(model), None, find_target(target)
    photos = np.ones((4, 6, 6, inputs), np.float32)
    if precision == "int8":
        graph, plan = recipe.int8(
            graph, recipe.statistics(graph, photos), symmetric=found.symmetric, fit_pairs=found.pairs
        )
        assert plan.kernels
    session = opened(dict(found.convert(graph, Form(precision=precision), plan)), target, tmp_path)
    got = session.run(fed(photos[0], target))
    assert np.abs(got / (size * size * inputs) - 1).max() <= 0.01


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["xception", "one_channel"])
def test_preprocessing_inside_gives_what_it_gives_outside(
    target: str, name: str, precision: Precision, subject: Callable[[str], Subject], tmp_path: Path
) -> None:
    """Without padding at the first convolution the pixels are its integers; with padding they are scaled first.

    The last bit of a scaled pixel may differ, and with it, where photos are rounded, an integer.
    """
    one, pixels = subject(name), Pixels(scale=(1 / 127.5,), offset=(-1.0,))
    whole = np.rint((one.photos + 1) * 127.5).astype(np.uint8)
    photos = whole.astype(np.float32) * np.float32(1 / 127.5) + np.float32(-1)
    outside = opened(one.convert(target, Form(precision=precision)), target, tmp_path)
    inside_folder = tmp_path / "inside"
    inside_folder.mkdir()
    inside = opened(one.convert(target, Form(precision=precision, pixels=pixels)), target, inside_folder)
    for photo, integers in zip(photos, whole, strict=True):
        expected, got = outside.run(fed(photo, target)), inside.run(fed(integers, target))
        allowed = 0.01 if precision in ("dynamic", "int8") else 1e-4
        assert np.abs(got - expected).max() <= allowed * max(1.0, float(np.abs(expected).max()))


@pytest.mark.parametrize("target", [name for name in TARGETS if find_target(name).batches])
def test_batches(target: str, subject: Callable[[str], Subject], tmp_path: Path) -> None:
    one = subject("one_channel")
    for batch, taken in ((3, 3), ("dynamic", 1), ("dynamic", 5)):
        session = opened(one.convert(target, Form(precision="fp32", batch=batch)), target, tmp_path)
        assert session.input_shape()[0] == (-1 if batch == "dynamic" else batch)
        rows = session.run(np.concatenate([fed(photo, target) for photo in one.photos[:taken]]))
        assert np.abs(rows - one.expected[:taken]).max() <= 1e-4


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_graph_gives_the_same_bytes(target: str, subject: Callable[[str], Subject]) -> None:
    one = subject("one_channel")
    made = [one.convert(target, Form(precision="int8")) for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("target", "form", "words"),
    [
        ("tflite", Form(precision="fp16", io="int8"), "int8 input and output with fp16"),
        ("onnx", Form(precision="int8", io="int8"), "have float32 or uint8"),
        ("openvino", Form(precision="int8", io="int8"), "have float32 or uint8"),
        ("tflite", Form(precision="fp32", batch=4), "one photo"),
    ],
)
def test_a_target_says_what_it_has_instead(target: str, form: Form, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        find_target(target).check(form)


def test_the_three_targets_hold_the_same_integers(subject: Callable[[str], Subject], tmp_path: Path) -> None:
    """Weights, their scales, biases and activation scales are equal, tensor for tensor, where both targets have them.

    The differences that the targets' rules ask for: activations are int8 in TFLite and uint8, moved by 128, in the
    others; OpenVINO, and ONNX where a pointwise convolution can be a matrix product, keep biases in float and do not
    round what only float operations read.
    """
    one = subject("xception")
    graph, plan = one.quantized()
    held = {target: _integers(target, graph, plan, tmp_path) for target in TARGETS}
    tflite, onnx, openvino = (held[name] for name in ("tflite", "onnx", "openvino"))
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


def _integers(target: str, graph: Graph, plan: Plan, folder: Path) -> dict[str, object]:
    """An artifact's integer weights (out, in, h, w), their scales, biases, and (scale, zero point) of activations."""
    files = find_target(target).convert(graph, Form(precision="int8"), plan)
    paths = [folder / f"{target}{suffix}" for suffix in files]
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    return {"tflite": _tflite_integers, "onnx": _onnx_integers, "openvino": _openvino_integers}[target](paths[0])


def _tflite_integers(path: Path) -> dict[str, object]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    found: dict[str, object] = {}
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


def _onnx_integers(path: Path) -> dict[str, object]:
    import onnx

    model = onnx.load(path)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found: dict[str, object] = {}
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


def _openvino_integers(path: Path) -> dict[str, object]:
    import openvino

    found: dict[str, object] = {}
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
