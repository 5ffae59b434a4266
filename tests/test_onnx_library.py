"""ONNX files with an operator without a reader go through the target's own library, and the bundle says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import Command
from tests.test_onnx_source import ops, weights, written
from xedge.conversion.reference import LibraryReference, read_reference
from xedge.converters import Form, find_target
from xedge.errors import UnsuitableModelError, UnsupportedError
from xedge.sources.finding import find_source

SIDE, WIDTH, CLASSES = 12, 6, 5


def attention(path: Path, *, last: bool = False, dtype: Any = np.float32) -> Path:
    """Write a model with attention by Einsum, which the reference graph does not hold."""
    values: dict[str, Any] = {
        "stem": weights(WIDTH, 3, 2, 2),
        "query": weights(WIDTH, WIDTH),
        "key": weights(WIDTH, WIDTH),
        "value": weights(WIDTH, WIDTH),
        "head": weights(WIDTH, CLASSES),
    }
    arrays = {name: np.asarray(one, dtype) for name, one in values.items()}
    arrays["tokens"] = np.array([0, WIDTH, -1])
    rows: list[Any] = [("Transpose", "x", "first", {"perm": [0, 3, 1, 2]})] if last else [("Identity", "x", "first")]
    rows += [("Conv", ("first", "stem"), "patches", {"strides": [2, 2]})]
    rows += [("Reshape", ("patches", "tokens"), "rows"), ("Transpose", ("rows",), "seen", {"perm": [0, 2, 1]})]
    rows += [("MatMul", ("seen", one), one[0]) for one in ("query", "key", "value")]
    rows += [("Einsum", "qk", "scores", {"equation": "nqc,nkc->nqk"})]
    rows += [("Softmax", ("scores",), "shares", {"axis": -1}), ("MatMul", ("shares", "v"), "mixed")]
    rows += [("ReduceMean", ("mixed",), "mean", {"axes": [1], "keepdims": 0}), ("MatMul", ("mean", "head"), "y")]
    shape = (1, SIDE, SIDE, 3) if last else ("batch", 3, SIDE, SIDE)
    if dtype == np.float32:
        return written(path, ops(*rows), arrays, shape=shape)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    ends = [helper.make_tensor_value_info(name, kind, size) for name, size in (("x", shape), ("y", (1, CLASSES)))]
    tensors = [numpy_helper.from_array(one, name) for name, one in arrays.items()]
    graph = helper.make_graph(ops(*rows), "made", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def computed(path: Path, photos: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    dtype = np.float16 if "16" in session.get_inputs()[0].type else np.float32
    rows = [session.run(None, {"x": photo[None].astype(dtype)})[0].reshape(1, -1) for photo in photos]
    return np.concatenate(rows).astype(np.float32)


def reference_of(path: Path, scratch: Path) -> LibraryReference:
    found = read_reference(find_source(str(path)), scratch)
    assert isinstance(found, LibraryReference)
    return found


@pytest.mark.parametrize(
    ("last", "dtype"), [(False, np.float32), (True, np.float32), (False, np.float16)], ids=["first", "last", "half"]
)
def test_a_file_outside_the_graph_is_its_own_reference(last: bool, dtype: Any, tmp_path: Path) -> None:
    path = attention(tmp_path / "model.onnx", last=last, dtype=dtype)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    reference = reference_of(path, scratch)
    assert "scores: Einsum" in reference.reason
    assert reference.input_shape == (SIDE, SIDE, 3)
    assert (reference.classes, reference.output_kind) == (CLASSES, "logits")
    photos = np.random.default_rng(0).standard_normal((3, SIDE, SIDE, 3)).astype(np.float32)
    expected = computed(path, photos if last else photos.transpose(0, 3, 1, 2))
    got, difference = reference.checked_predict(photos)
    shares = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    np.testing.assert_allclose(got, shares, atol=1e-6 if dtype == np.float32 else 1e-3)
    assert difference < 1e-5
    spec = reference.input_spec(find_target("onnx"), Form(precision="fp32"), None)
    assert spec.layout == ("NHWC" if last else "NCHW")
    assert spec.shape == ((1, SIDE, SIDE, 3) if last else (1, 3, SIDE, SIDE))


def test_pixels_and_a_photo_of_one_row_are_taken(tmp_path: Path) -> None:
    """A model of integers whose output has four axes: what libraries get takes floats and gives a row."""
    arrays = {"w": weights(CLASSES, 3, 3, 3)}
    rows: list[Any] = [("Cast", "x", "a", {"to": TensorProto.FLOAT}), ("Conv", "aw", "b"), ("Hardmax", "b", "c")]
    rows += [("Mul", "bc", "d"), ("GlobalAveragePool", "d", "y")]
    written(tmp_path / "model.onnx", ops(*rows), arrays)
    model = onnx.load(tmp_path / "model.onnx")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "scratch").mkdir()
    reference = reference_of(tmp_path / "model.onnx", tmp_path / "scratch")
    assert reference.reason == "model.onnx: c: Hardmax is not in the reference graph's set"
    assert reference.scheme == ("raw", "the model takes integers")
    assert (reference.classes, reference.input_shape) == (CLASSES, (SIDE, SIDE, 3))
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.float32)
    reference.checked_predict(pixels)


def test_external_data_is_in_what_libraries_get(tmp_path: Path) -> None:
    path = attention(tmp_path / "model.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.data", size_threshold=100)
    (tmp_path / "scratch").mkdir()
    reference = reference_of(path, tmp_path / "scratch")
    assert [one.name for one in (tmp_path / "scratch").iterdir()] == ["fp32.onnx"]
    reference.checked_predict(np.ones((1, SIDE, SIDE, 3), np.float32))


def test_what_no_library_computes_is_refused_with_its_operator(tmp_path: Path) -> None:
    written(tmp_path / "model.onnx", ops(("Relu", "x", "a", {"domain": "evil"}), ("Flatten", "a", "y")), {})
    with pytest.raises(UnsupportedError, match=r"a: Relu of evil is not in .* nor can a library take it") as error:
        reference_of(tmp_path / "model.onnx", tmp_path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)


def test_a_constant_that_no_memory_holds_is_asked_of_nobody(tmp_path: Path) -> None:
    nodes = ops(("ConstantOfShape", "s", "a"), ("Add", "xa", "y"))
    written(tmp_path / "model.onnx", nodes, {"s": np.array([1 << 40])})
    with pytest.raises(UnsuitableModelError, match="ConstantOfShape: a constant of the shape"):
        reference_of(tmp_path / "model.onnx", tmp_path)


def test_tflite_is_refused_with_the_operator_and_its_place(here: Command, tmp_path: Path) -> None:
    attention(tmp_path / "model.onnx")
    done = here("convert", "model.onnx", "--target", "tflite", "--preprocess", "torch", "--output", "out", cwd=tmp_path)
    assert done.returncode == 4
    line = done.stderr.strip().splitlines()[-1]
    assert "scores: Einsum" in line
    assert "tflite takes ONNX operators of the reference graph only; these targets take others: onnx, openvino" in line
    assert not (tmp_path / "out").exists()
    for option in (("--batch", "4"), ("--pixels",), ("--logits",)):
        done = here("convert", "model.onnx", "--target", "onnx", *option, "--output", "out", cwd=tmp_path)
        assert done.returncode == 4
        assert "is only for models in the reference graph" in done.stderr.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_bundles_of_libraries_run_and_name_their_way(last: bool, xedge: Command, tmp_path: Path) -> None:
    attention(tmp_path / "model.onnx", last=last)
    command = ("convert", "model.onnx", "--target", "onnx,openvino", "--precision", "all", "--output", "out", "--json")
    done = xedge(*command, "--preprocess", "torch", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = [(one["path"], one["manifest"]) for one in json.loads(done.stdout)]
    ways = [manifest["recipe"]["way"] for _, manifest in made]
    file, reader = "the ONNX file itself", "OpenVINO's reader of ONNX"
    quantized = [f"{file} and ONNX Runtime's quantizer"] * 2 + [f"{reader} and NNCF"] * 2
    assert ways == [file, file, *quantized[:2], reader, reader, *quantized[2:]]
    assert all("scores: Einsum" in manifest["recipe"]["reason"] for _, manifest in made)
    assert {manifest["input"]["layout"] for _, manifest in made} == {"NHWC" if last else "NCHW"}
    for path, _ in made:
        assert xedge("run", path, "--runs", 3, cwd=tmp_path).returncode == 0
    compared = xedge("verify", *(path for path, _ in made), "--min-agreement", 50, "--json", cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    by_name = {(p["first"], p["second"]): p["outputs"] for p in json.loads(compared.stdout)["pairs"]}
    assert by_name["onnx fp32", "openvino fp32"]["max_difference"] < 1e-4
    assert by_name["onnx fp32", "onnx int8"]["max_difference"] > 1e-6
