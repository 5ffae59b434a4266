"""ONNX files are read into the reference graph operator by operator, and compared with ONNX Runtime on the file."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import Command
from xedge.conversion.reference import parity
from xedge.converters import Form, find_target
from xedge.errors import InputError, UnsuitableModelError, UnsupportedError, XedgeError
from xedge.graph.evaluate import Evaluator
from xedge.graph.ir import Concat, Dense, Graph, MatMul, Mean, Pad, Pool, Reshape
from xedge.runtimes import Settings, choose_runtime
from xedge.sources import ReadModel
from xedge.sources.finding import find_source

RANDOM = np.random.default_rng(4)
PHOTO = (1, 3, 12, 12)


def weights(*shape: int) -> np.ndarray:
    return np.asarray(RANDOM.standard_normal(shape) / max(1, prod(shape[1:])) ** 0.5, np.float32)


def written(
    path: Path, nodes: list[Any], arrays: dict[str, Any], *, opset: int = 17, shape: Any = PHOTO, output: str = "y"
) -> Path:
    """Write a model with one input x and one output y."""
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    ends = (
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
    )
    graph = helper.make_graph(nodes, "made", *ends, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


def read(path: Path, scratch: Path) -> ReadModel:
    source = find_source(str(path))
    return source.kind.read(source, scratch, allow_code=False)


def compared(path: Path, scratch: Path) -> Graph:
    """Read a model and compare it with the original."""
    model = read(path, scratch)
    photos = np.random.default_rng(1).standard_normal((3, *model.graph.input.shape)).astype(np.float32)
    expected = model.original.output(photos)
    got = np.concatenate([Evaluator(model.graph).output(photo[None]) for photo in photos])
    assert got.std() > 0
    assert parity(got, expected, "logits") < 1
    artifact = scratch / "artifact.tflite"
    artifact.write_bytes(find_target("tflite").convert(model.graph, Form(precision="fp32"))[".tflite"])
    session = choose_runtime(artifact).open(artifact, Settings(threads=1, exact=True))
    made = np.concatenate([session.run(photo[None]) for photo in photos])
    assert parity(made, expected, "logits") < 1
    return model.graph


# Between the photo and the head: operator, attributes, further inputs, opset.
SINGLE: dict[str, tuple[str, dict[str, Any], list[Any], int]] = {
    "conv": ("Conv", {"pads": [1, 1, 1, 1]}, [weights(6, 3, 3, 3), weights(6)], 17),
    "conv-asymmetric": ("Conv", {"pads": [0, 1, 2, 0], "strides": [2, 1]}, [weights(6, 3, 3, 2)], 17),
    "conv-dilated": ("Conv", {"dilations": [2, 1]}, [weights(6, 3, 3, 3)], 7),
    "conv-same-upper": ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, [weights(6, 3, 3, 3)], 17),
    "conv-same-lower": ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, [weights(6, 3, 3, 3)], 17),
    "conv-valid": ("Conv", {"auto_pad": "VALID"}, [weights(6, 3, 3, 3)], 17),
    "conv-depthwise": ("Conv", {"group": 3}, [weights(6, 1, 3, 3), weights(6)], 17),
    "conv-transposed": ("ConvTranspose", {"strides": [2, 2], "pads": [1, 1, 0, 0]}, [weights(3, 5, 3, 3)], 17),
    "batch-normalization": ("BatchNormalization", {}, [weights(3), weights(3), weights(3), abs(weights(3)) + 1], 17),
    "instance-normalization": ("InstanceNormalization", {}, [weights(3), weights(3)], 17),
    "max-pool": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, [], 17),
    "max-pool-ceil": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, [], 17),
    "average-pool": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, [], 17),
    "average-pool-stepped": ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, [], 17),
    "average-pool-counted": (
        *("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 0, 1, 1], "count_include_pad": 1}, []),
        17,
    ),
    "clip-old": ("Clip", {"min": 0.0, "max": 6.0}, [], 7),
    "clip": ("Clip", {}, [np.float32(-0.5), np.float32(0.7)], 13),
    "clip-below": ("Clip", {}, [np.float32(-0.5)], 13),
    "leaky": ("LeakyRelu", {"alpha": 0.1}, [], 17),
    "leaky-zero": ("LeakyRelu", {"alpha": 0.0}, [], 17),
    "slopes": ("PRelu", {}, [abs(weights(3, 1, 1))], 17),
    "slope": ("PRelu", {}, [np.array([0.2], np.float32)], 17),
    "hard-sigmoid": ("HardSigmoid", {"alpha": 1 / 6}, [], 17),
    "hard-sigmoid-keras": ("HardSigmoid", {}, [], 17),
    "elu": ("Elu", {"alpha": 0.5}, [], 17),
    "selu": ("Selu", {}, [], 17),
    "gelu": ("Gelu", {}, [], 20),
    "gelu-tanh": ("Gelu", {"approximate": "tanh"}, [], 20),
    "softmax-old": ("Softmax", {"axis": 1}, [], 13),
    "log-softmax": ("LogSoftmax", {"axis": 1}, [], 13),
    "mean-old": ("ReduceMean", {"axes": [1]}, [], 11),
    "mean": ("ReduceMean", {"keepdims": 1}, [np.array([-1], np.int64)], 18),
    "largest": ("ReduceMax", {"axes": [2, 3]}, [], 13),
    "length": ("ReduceL2", {"axes": [2, 3]}, [], 13),
    "pad": ("Pad", {}, [np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64)], 13),
    "pad-negative": ("Pad", {}, [np.array([0, 0, -1, 2, 0, 0, 0, 1], np.int64)], 13),
    "pad-old": ("Pad", {"pads": [0, 0, 1, 1, 0, 0, 1, 1]}, [], 7),
    "slice": ("Slice", {}, [np.array([1, 2]), np.array([3, 2**62]), np.array([1, 3]), np.array([1, 2])], 13),
    "slice-old": ("Slice", {"starts": [1, 0], "ends": [3, -2], "axes": [1, 2]}, [], 7),
    "gather": ("Gather", {"axis": 1}, [np.array([2, 0, 1])], 13),
    "rows-before-and-after": ("Concat", {"axis": 2}, [weights(1, 3, 2, 12)], 17),
    "columns-before-and-after": ("Concat", {"axis": 3}, [weights(1, 3, 12, 1), weights(1, 3, 12, 3)], 17),
    "add-channels": ("Add", {}, [weights(3, 1, 1)], 17),
    "multiply-rows": ("Mul", {}, [weights(12, 1)], 17),
    "divide": ("Div", {}, [np.float32(3)], 17),
    "power": ("Pow", {}, [np.float32(2)], 17),
    "upsampled": ("Resize", {"mode": "nearest"}, [np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32)], 13),
    "upsampled-smoothly": (
        "Resize",
        {"mode": "linear"},
        [np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32)],
        13,
    ),
    "cast": ("Cast", {"to": TensorProto.FLOAT}, [], 17),
    "dropout": ("Dropout", {}, [], 17),
    "relu": ("Relu", {}, [], 17),
    "silu": ("HardSwish", {}, [], 17),
    "softplus": ("Softplus", {}, [], 17),
}


@pytest.mark.parametrize("name", SINGLE)
def test_an_operator_computes_what_onnx_runtime_does(name: str, tmp_path: Path) -> None:
    kind, attributes, further, opset = SINGLE[name]
    arrays: dict[str, Any] = {f"in{at}": one for at, one in enumerate(further)} | {"mix": weights(4, 3, 2, 2)}
    before = helper.make_node("Conv", ["x", "stem"], ["given"])
    arrays["stem"] = weights(3, 3, 1, 1)
    node = helper.make_node(kind, ["given", *(f"in{at}" for at in range(len(further)))], ["result"], **attributes)
    end = [helper.make_node("Flatten", ["result"], ["row"]), helper.make_node("Relu", ["row"], ["y"])]
    path = written(tmp_path / "one.onnx", [before, node, *end], arrays, opset=opset)
    # The flattened values are in the order of ONNX, so that a dense layer finds each at its place.
    probe = read_width(path)
    end[1] = helper.make_node("Gemm", ["row", "head", "offset"], ["y"], transB=1)
    arrays |= {"head": weights(5, probe), "offset": weights(5)}
    compared(written(path, [before, node, *end], arrays, opset=opset), tmp_path)


def read_width(path: Path) -> int:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    return int(session.run(None, {"x": np.zeros(PHOTO, np.float32)})[0].shape[1])


def ops(*rows: Any) -> list[Any]:
    """Make nodes of (kind, inputs, output, attributes)."""
    return [
        helper.make_node(kind, list(inputs), [out], **(more[0] if more else {})) for kind, inputs, out, *more in rows
    ]


@pytest.mark.parametrize("fill", [float("-inf"), float(np.finfo(np.float32).min)])
def test_padding_below_all_values_is_that_of_the_maximum_behind_it(fill: float, tmp_path: Path) -> None:
    """As PyTorch writes the maximum with TensorFlow's padding; zeros would be greater than what is padded."""
    arrays = {"p": np.array([0, 0, 0, 1, 0, 0, 1, 1]), "f": np.float32(fill), "k": weights(8, 3, 3, 3)}
    pool = {"kernel_shape": [3, 3], "strides": [2, 2]}
    rows: list[Any] = [("Conv", "xk", "a"), ("Pad", "apf", "b"), ("MaxPool", "b", "c", pool), ("Neg", "c", "d")]
    written(tmp_path / "model.onnx", ops(*rows, ("GlobalAveragePool", "d", "e"), ("Flatten", "e", "y")), arrays)
    graph = compared(tmp_path / "model.onnx", tmp_path)
    (node,) = (one for one in graph if isinstance(one, Pool) and one.kind == "max")
    assert node.padding == ((0, 1), (1, 1))
    assert not any(isinstance(one, Pad) for one in graph)


def test_padding_below_all_values_is_refused_by_what_is_no_maximum(tmp_path: Path) -> None:
    arrays = {"p": np.array([0, 0, 0, 1, 0, 0, 1, 1]), "f": np.float32("-inf")}
    rows: list[Any] = [("Pad", "xpf", "b"), ("Relu", "b", "c"), ("GlobalAveragePool", "c", "d")]
    written(tmp_path / "model.onnx", ops(*rows, ("Flatten", "d", "y")), arrays)
    with pytest.raises(UnsupportedError, match="Relu of a photo that is padded with other values than zeros"):
        read(tmp_path / "model.onnx", tmp_path)


def test_a_gelu_by_hand_is_one_node(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "w": weights(6, 3, 3, 3),
        "two": np.float32(2**0.5),
        "one": np.float32(1),
        "half": np.float32(0.5),
    }
    rows: list[Any] = [("Conv", "xw", "c"), ("Div", ("c", "two"), "d"), ("Erf", "d", "e"), ("Add", ("e", "one"), "f")]
    rows += [
        ("Mul", ("c", "f"), "g"),
        ("Mul", ("g", "half"), "h"),
        ("GlobalAveragePool", "h", "i"),
        ("Flatten", "i", "y"),
    ]
    graph = compared(written(tmp_path / "gelu.onnx", ops(*rows), arrays), tmp_path)
    assert [getattr(node, "kind", "") for node in graph].count("gelu") == 1
    assert len(graph.nodes) == 4


def test_channels_are_shuffled_and_shapes_are_folded(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "w": weights(6, 3, 1, 1),
        "v": weights(6, 3, 1, 1),
        "five": np.array([0, 2, 3, 12, 12]),
        "n": np.array([-1]),
    }
    rows: list[Any] = [
        ("Conv", "xw", "a"),
        ("Reshape", ("a", "five"), "b"),
        ("Transpose", "b", "c", {"perm": [0, 2, 1, 3, 4]}),
    ]
    rows += [("Shape", "a", "shape"), ("Reshape", ("c", "shape"), "d"), ("Conv", "dv", "e", {"group": 2})]
    rows += [("GlobalAveragePool", "e", "f"), ("Shape", "f", "s"), ("Constant", "", "i", {"value_int": 0})]
    rows += [("Gather", "si", "batch"), ("Constant", "", "z", {"value_ints": [0]}), ("Unsqueeze", ("batch", "z"), "u")]
    rows += [("Concat", ("u", "n"), "whole", {"axis": 0}), ("Reshape", ("f", "whole"), "y")]
    graph = compared(written(tmp_path / "shuffle.onnx", ops(*rows), arrays, shape=("batch", 3, 12, 12)), tmp_path)
    assert not any(isinstance(node, Reshape) for node in graph)


def test_a_model_with_its_channels_last_has_no_stray_nodes(tmp_path: Path) -> None:
    """As tf2onnx writes it: a Transpose at each end, and a normalization between them."""
    arrays: dict[str, Any] = {"w": weights(6, 3, 3, 3), "s": weights(6), "k": weights(6, 4)}
    rows: list[Any] = [("Transpose", "x", "a", {"perm": [0, 3, 1, 2]}), ("Conv", "aw", "b")]
    rows += [("Transpose", "b", "c", {"perm": [0, 2, 3, 1]}), ("Mul", "cs", "d"), ("Relu", "d", "e")]
    rows += [("ReduceMean", "e", "f", {"axes": [1, 2], "keepdims": 0}), ("MatMul", "fk", "g"), ("Softmax", "g", "y")]
    graph = compared(written(tmp_path / "last.onnx", ops(*rows), arrays, shape=(None, 12, 12, 3)), tmp_path)
    assert [type(node).__name__ for node in graph] == ["Input", "Conv", "Mean", "Dense", "Softmax"]


def test_parts_are_put_together_along_the_axis_that_onnx_means(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"w": weights(6, 3, 3, 3), "v": weights(4, 9, 1, 1)}
    rows: list[Any] = [("Conv", "xw", "a"), ("Relu", "a", "b"), ("Concat", "ab", "c", {"axis": 2})]
    nodes = [*ops(*rows), helper.make_node("Split", ["c"], ["d", "e"], axis=1)]
    nodes += ops(
        ("Concat", "cd", "f", {"axis": 1}), ("Conv", "fv", "g"), ("GlobalAveragePool", "g", "h"), ("Squeeze", "h", "y")
    )
    graph = compared(written(tmp_path / "parts.onnx", nodes, arrays, opset=11), tmp_path)
    assert [node.axis for node in graph if isinstance(node, Concat)] == [-3]
    assert isinstance(graph[graph.output], Mean)


def test_a_dense_layer_after_flatten_reads_its_rows_in_the_graphs_order(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"w": weights(6, 3, 3, 3), "k": weights(600, 7), "b": weights(7)}
    rows: list[Any] = [("Conv", "xw", "a"), ("Flatten", "a", "c"), ("Gemm", "ckb", "y", {"alpha": 0.5, "beta": 2.0})]
    graph = compared(written(tmp_path / "flat.onnx", ops(*rows), arrays), tmp_path)
    assert [type(node) for node in graph][-2:] == [Reshape, Dense]


def test_tokens_of_the_model_stand_before_and_after_the_photos(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"w": weights(6, 3, 4, 4), "s": np.array([0, 6, -1]), "k": weights(6, 5), "i": np.array(1)}
    arrays |= {"t": weights(1, 2, 6), "u": weights(1, 1, 6), "p": weights(1, 12, 6)}
    rows: list[Any] = [("Conv", "xw", "a", {"strides": [4, 4]}), ("Reshape", "as", "b")]
    rows += [("Transpose", "b", "c", {"perm": [0, 2, 1]}), ("Concat", "tcu", "d", {"axis": 1}), ("Add", "dp", "e")]
    rows += [("MatMul", "ek", "f"), ("Softmax", "f", "g", {"axis": 1}), ("Gather", "gi", "y", {"axis": 1})]
    graph = compared(written(tmp_path / "tokens.onnx", ops(*rows), arrays), tmp_path)
    assert [node.padding for node in graph if isinstance(node, Pad)] == [((0, 0), (2, 1))]


@pytest.mark.parametrize("biased", [False, True])
def test_a_part_of_a_dense_layer_is_read_again_and_again(biased: bool, tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"w": weights(8, 3, 1, 1), "v": weights(4, 4, 3, 3), "b": weights(8, 1, 1)}
    first = ops(("Conv", "xw", "a"), ("Add", "ab", "c") if biased else ("Identity", "a", "c"))
    split = helper.make_node("Split", ["c"], ["d", "e"], axis=1)
    rows: list[Any] = [
        ("Conv", "ev", "f", {"pads": [1, 1, 1, 1]}),
        ("Add", "fe", "g"),
        ("Concat", "dge", "h", {"axis": 1}),
    ]
    last = ops(*rows, ("GlobalAveragePool", "h", "i"), ("Flatten", "i", "y"))
    compared(written(tmp_path / "parts.onnx", [*first, split, *last], arrays, opset=11), tmp_path)


def test_axes_that_move_and_products_of_two_tensors(tmp_path: Path) -> None:
    """Rows and columns in each other's place, windows, and a product over channels with a matrix for each head."""
    arrays: dict[str, Any] = {"w": weights(8, 3, 3, 3), "v": weights(8, 8, 1, 1), "k": weights(8, 7)}
    arrays |= {"windows": np.array([1, 8, 2, 6, 2, 5]), "heads": np.array([1, 8, 4, 30])}
    arrays["back"] = np.array([1, 8, 120])
    rows: list[Any] = [("Conv", "xw", "a", {"pads": [0, 0, 2, 0]}), ("Transpose", "a", "b", {"perm": [0, 1, 3, 2]})]
    rows += [("Conv", "bv", "c"), ("Transpose", "c", "d", {"perm": [0, 3, 2, 1]}), ("Relu", "d", "e")]
    rows += [("Transpose", "e", "f", {"perm": [0, 3, 1, 2]}), ("Reshape", ("f", "windows"), "g")]
    rows += [("Transpose", "g", "h", {"perm": [0, 1, 2, 4, 3, 5]}), ("Reshape", ("h", "heads"), "i")]
    rows += [
        ("Transpose", "i", "j", {"perm": [0, 1, 3, 2]}),
        ("MatMul", "ij", "l"),
        ("Softmax", "l", "m", {"axis": -1}),
    ]
    rows += [("MatMul", "mi", "n"), ("Reshape", ("n", "back"), "o"), ("Transpose", "o", "p", {"perm": [0, 2, 1]})]
    rows += [("MatMul", "pk", "q"), ("ReduceMean", "q", "y", {"axes": [1], "keepdims": 0})]
    written(tmp_path / "moved.onnx", ops(*rows), arrays, shape=(1, 3, 12, 12))
    graph = compared(tmp_path / "moved.onnx", tmp_path)
    assert sum(isinstance(node, MatMul) for node in graph) == 2


@pytest.mark.parametrize(("times", "fits"), [((3, 2), True), ((1, 4), True), ((0, 0), False)])
def test_rows_and_columns_are_repeated_as_adaptive_averages_do(
    times: tuple[int, int], fits: bool, tmp_path: Path
) -> None:
    lines = [np.arange(4).repeat(one) for one in times] if fits else [np.array([0, 1, 1, 2, 3]), np.arange(4)]
    places = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)[:, None, :, None]
    arrays: dict[str, Any] = {"w": weights(8, 3, 3, 3), "i": places, "k": weights(8 * places.size // 2, 6)}
    rows: list[Any] = [("Conv", "xw", "a", {"strides": [3, 3], "pads": [1, 1, 1, 1]})]
    rows += [("Transpose", "a", "b", {"perm": [2, 3, 0, 1]}), ("GatherND", "bi", "c")]
    rows += [("Transpose", "c", "d", {"perm": [4, 5, 0, 1, 2, 3]}), ("ReduceMean", "d", "e", {"axes": [3]})]
    path = written(tmp_path / "model.onnx", ops(*rows, ("Flatten", "e", "f"), ("MatMul", "fk", "y")), arrays)
    if fits:
        compared(path, tmp_path)
    else:
        with pytest.raises(UnsupportedError, match="c: takes rows and columns in another order"):
            read(path, tmp_path)


def test_codes_of_positions_are_computed_when_the_file_is_read(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"o": np.ones((1, 8, 12, 12), np.float32), "axis": np.array(2), "b": weights(8)}
    arrays |= {"w": weights(8, 8, 1, 1), "v": weights(8, 3, 1, 1)}
    rows: list[Any] = [("CumSum", ("o", "axis"), "a"), ("Sin", "a", "c"), ("Cos", "a", "d"), ("Mul", "cd", "e")]
    rows += [("Conv", "ewb", "f"), ("Conv", "xv", "g"), ("Add", "gf", "h"), ("Relu", "h", "i")]
    graph = compared(
        written(tmp_path / "codes.onnx", ops(*rows, ("GlobalAveragePool", "i", "j"), ("Flatten", "j", "y")), arrays),
        tmp_path,
    )
    assert [type(node).__name__ for node in graph] == ["Input", "Conv", "Elementwise", "Activation", "Mean"]


def test_external_data_stays_in_the_models_folder(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"w": weights(6, 3, 3, 3)}
    rows: list[Any] = [("Conv", "xw", "a"), ("GlobalAveragePool", "a", "b"), ("Flatten", "b", "y")]
    path = written(tmp_path / "model.onnx", ops(*rows), arrays)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.data", size_threshold=0)
    compared(path, tmp_path)
    for location in ("../model.data", "/etc/hostname", "C:\\data", "missing.data"):
        model = onnx.load(path, load_external_data=False)
        model.graph.initializer[0].external_data[0].value = location
        other = tmp_path / "other.onnx"
        other.write_bytes(model.SerializeToString())
        with pytest.raises(InputError, match=r"outside the model's folder|missing beside it"):
            read(other, tmp_path)


def test_half_precision_is_compared_in_float(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    kernel = numpy_helper.from_array(weights(6, 3, 3, 3).astype(np.float16), "w")
    ends = [
        helper.make_tensor_value_info(one, TensorProto.FLOAT16, shape) for one, shape in (("x", PHOTO), ("y", (1, 6)))
    ]
    nodes = ops(("Conv", "xw", "a"), ("GlobalAveragePool", "a", "b"), ("Flatten", "b", "y"))
    graph = helper.make_graph(nodes, "half", ends[:1], ends[1:], [kernel])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    compared(path, tmp_path)


def _plain(kind: str = "Relu", **more: Any) -> list[Any]:
    return ops((kind, "x", "a", more), ("GlobalAveragePool", "a", "b"), ("Flatten", "b", "y"))


CYCLE = ops(("Add", "xb", "a"), ("Relu", "a", "b"), ("Flatten", "b", "y"))
QUANTIZED = ops(("QuantizeLinear", "xs", "y"))
FILLED = ops(("ConstantOfShape", "s", "a"), ("Add", "xa", "y"))
# What is wrong, the error, its words, and the file: its bytes, or nodes with what else is written.
REFUSED: dict[str, tuple[type[XedgeError], str, Any, dict[str, Any]]] = {
    "damaged": (InputError, "is no ONNX file", b"\x08\xff\xff nothing", {}),
    "empty": (InputError, "is no ONNX file", b"", {}),
    "cyclic": (InputError, "no operator before it", CYCLE, {}),
    "output-missing": (InputError, "no operator before it", _plain(), {"output": "z"}),
    "custom": (UnsupportedError, "Relu of evil", _plain(domain="evil"), {}),
    "unknown": (UnsupportedError, "a: Hardmax is not in the reference graph's set", _plain("Hardmax"), {}),
    "quantized": (UnsuitableModelError, "quantized already", QUANTIZED, {"arrays": {"s": np.float32(1)}}),
    "sound": (UnsuitableModelError, "not one photo", _plain(), {"shape": (1, 16000)}),
    "several": (UnsuitableModelError, "not one photo", _plain(), {"shape": (8, 3, 12, 12)}),
    "any-size": (UnsuitableModelError, "choose one with", _plain(), {"shape": (1, 3, None, None)}),
    "huge": (UnsupportedError, "more than any classifier", _plain(), {"shape": (1, 3, 1 << 30, 1 << 30)}),
    "huge-constant": (UnsupportedError, "ConstantOfShape", FILLED, {"arrays": {"s": np.array([1 << 40])}}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    error, words, nodes, more = REFUSED[name]
    if isinstance(nodes, bytes):
        (tmp_path / "model.onnx").write_bytes(nodes)
    else:
        written(tmp_path / "model.onnx", nodes, **{"arrays": {}, **more})
    with pytest.raises(error, match=words) as caught:
        read(tmp_path / "model.onnx", tmp_path)
    assert "\n" not in str(caught.value)


def test_values_that_are_fewer_than_claimed_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "model.onnx", ops(("Conv", "xw", "y")), {"w": weights(6, 3, 3, 3)})
    model = onnx.load(path)
    model.graph.initializer[0].dims[0] = 1 << 40
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="damaged"):
        read(path, tmp_path)


@pytest.mark.slow
def test_the_compact_default_is_the_same_graph_as_tensorflow_exports_it(tmp_path: Path) -> None:
    import keras

    source = find_source(None)
    assert source.path is not None
    expected = source.kind.read(source, tmp_path, allow_code=False).graph
    model = keras.models.load_model(source.path)
    model(np.zeros((1, *model.input_shape[1:]), np.float32))
    model.export(str(tmp_path / "compact.onnx"), format="onnx", verbose=False)
    (tmp_path / "other").mkdir()
    graph = compared(tmp_path / "compact.onnx", tmp_path / "other")
    assert shape_of(graph) == shape_of(expected)


@pytest.mark.slow
def test_an_onnx_file_is_converted_in_int8(xedge: Command, tmp_path: Path) -> None:
    arrays = {"w": weights(8, 3, 3, 3), "k": weights(8, 4)}
    # The pool has values below zero, and padding that TFLite has no name for.
    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    rows: list[Any] = [
        ("Conv", "xw", "a"),
        ("MaxPool", "a", "b", pool),
        ("GlobalAveragePool", "b", "c"),
        ("Flatten", "c", "d"),
    ]
    written(tmp_path / "model.onnx", ops(*rows, ("MatMul", "dk", "y")), arrays)
    command = ("convert", "model.onnx", "--target", "all", "--precision", "int8", "--output", "out", "--json")
    done = xedge(*command, "--preprocess", "torch", "--crop", "center", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for one in json.loads(done.stdout):
        assert one["manifest"]["recipe"]["way"] == "reference graph"
        assert xedge("run", one["path"], "--runs", 3, cwd=tmp_path).returncode == 0


def shape_of(graph: Graph) -> list[Any]:
    """Return everything of a graph but its names, from the input on as the output needs it."""
    places: dict[str, int] = {}
    found: list[Any] = []

    def visit(name: str) -> None:
        if name in places:
            return
        node = graph[name]
        for one in node.inputs:
            visit(one)
        places[name] = len(places)
        sizes = [np.shape(getattr(node, part, 0)) for part in ("kernel", "bias")]
        rest = [getattr(node, part, None) for part in ("strides", "padding", "groups", "activation", "kind")]
        found.append((type(node).__name__, [places[one] for one in node.inputs], sizes, rest))

    visit(graph.output)
    return found


def test_the_compact_default_is_the_same_graph_from_its_onnx_file(tmp_path: Path) -> None:
    source = find_source(None)
    expected = source.kind.read(source, tmp_path, allow_code=False).graph
    path = tmp_path / "compact.onnx"
    path.write_bytes(find_target("onnx").convert(expected, Form(precision="fp32"))[".onnx"])
    (tmp_path / "other").mkdir()
    graph = compared(path, tmp_path / "other")
    assert shape_of(graph) == shape_of(expected)
    for one, other in zip(graph, expected, strict=True):
        for part in ("kernel", "bias"):
            np.testing.assert_array_equal(getattr(one, part, 0), getattr(other, part, 0))


def test_a_name_that_is_no_text_and_a_stride_of_zero_are_refused(tmp_path: Path) -> None:
    """Fuzzing found both."""
    arrays: dict[str, Any] = {"w": weights(6, 3, 3, 3)}
    path = written(tmp_path / "model.onnx", ops(("Conv", "xw", "a"), ("Flatten", "a", "y")), arrays)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"Flatten", b"Fl\xfftten"))
    with pytest.raises(InputError, match="a name that is not UTF-8"):
        read(path, tmp_path)
    model = onnx.load_from_string(whole)
    model.graph.node[0].attribute.append(helper.make_attribute("strides", [0, 1]))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match="this use of Conv"):
        read(path, tmp_path)
