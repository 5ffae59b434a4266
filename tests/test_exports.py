"""Files as PyTorch's two exporters and tf2onnx write them are read, and compute what ONNX Runtime does with them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest

from tests.conftest import FURTHER, Command
from tests.data.exports.make import filled
from tests.test_onnx_source import compared, read
from xedge import convert
from xedge.converters import Form, find_target
from xedge.graph.ir import Conv, Depthwise, Input, MatMul, Softmax, Transpose
from xedge.models.compact import embedded
from xedge.quantization import recipe
from xedge.runtimes import Session, Settings, choose_runtime
from xedge.runtimes.audit import audit
from xedge.sources import ReadModel
from xedge.types import FloatArray

# Small networks of families of timm, torchvision (tv_) and Keras; ``make.py`` there writes them.
DATA = Path(__file__).parent / "data" / "exports"
FILES = sorted(path.stem for path in DATA.glob("*.onnx"))


def test_each_family_is_there_from_both_exporters() -> None:
    families = {name.rpartition("_")[0] for name in FILES} - {"keras"}
    assert len(families) >= 12
    assert {f"{family}_{way}" for family in families for way in ("dynamo", "torchscript")} | {"keras_tf2onnx"} == set(
        FILES
    )
    makers = {name: onnx.load(DATA / f"{name}.onnx", load_external_data=False).producer_name for name in FILES}
    assert {makers[name] for name in FILES if name != "keras_tf2onnx"} == {"pytorch"}
    assert makers["keras_tf2onnx"] == "tf2onnx"
    assert onnx.load(DATA / "resnet_dynamo.onnx").opset_import[0].version >= 18


@pytest.mark.parametrize("name", FILES)
def test_an_export_is_read(name: str, tmp_path: Path) -> None:
    graph = compared(DATA / f"{name}.onnx", tmp_path)
    assert graph.shape(graph.output) == (7,)
    # Nothing that only puts channels in another order stands between the photo and the first layer.
    first, second = list(graph)[:2]
    assert isinstance(first, Input)
    assert isinstance(second, Conv) or name == "keras_tf2onnx"


# Whole networks of 62 families of timm and torchvision (tv_), whose weights are drawn anew; the quick part reads these.
QUICK_FAMILIES = ("regnetx_002", "ghostnet_050", "rexnet_100", "hardcorenas_a", "tv_mnasnet0_5")
with zipfile.ZipFile(DATA / "families.zip") as _archive:
    FAMILIES = sorted(Path(name).stem for name in _archive.namelist())


def test_many_families_are_there() -> None:
    assert len(FAMILIES) >= 60
    assert set(QUICK_FAMILIES) <= set(FAMILIES)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK_FAMILIES else FURTHER) for n in FAMILIES])
def test_a_whole_family_is_read(name: str, tmp_path: Path) -> None:
    filled(name, tmp_path / f"{name}.onnx")
    compared(tmp_path / f"{name}.onnx", tmp_path)


@pytest.mark.slow
def test_a_trained_network_loses_from_onnx_what_it_loses_from_keras(tmp_path: Path) -> None:
    """The trained network that comes with xedge, by Keras' own export and as it is."""
    model = keras.models.load_model(embedded.MODEL, compile=False)
    model(np.zeros((1, 128, 128, 3), np.float32))  # what was never called is not exported
    model.export(str(tmp_path / "compact.onnx"), format="onnx", verbose=False)
    options: dict[str, Any] = {
        "target": "all",
        "precision": "int8",
        "calibration": embedded.ROOT / "calibration",
        "preprocess": "tf",
        "data": embedded.test_photos().root,
    }
    from_onnx = convert(tmp_path / "compact.onnx", **options, output=tmp_path / "onnx")
    from_keras = convert(embedded.MODEL, **options, output=tmp_path / "keras")
    for one, other in zip(from_onnx, from_keras, strict=True):
        got, expected = one.manifest.accuracy, other.manifest.accuracy
        assert got is not None
        assert expected is not None
        assert got.agreement is not None
        assert expected.agreement is not None
        assert got.reference == expected.reference
        assert got.agreement.agreement >= expected.agreement.agreement - 0.01
        assert got.agreement.total_variation <= 1.1 * expected.agreement.total_variation


# Networks in which positions are mixed: by attention, by dense layers over positions, or in windows.
OF_POSITIONS = [name for name in FILES if name.partition("_")[0] in ("edgenext", "mixer", "swin", "vit")]


def int8_session(name: str, target: str, folder: Path) -> tuple[Session, ReadModel, FloatArray]:
    """Return an open int8 artifact of an export, what was read, and photos on which it was not calibrated."""
    model = read(DATA / f"{name}.onnx", folder)
    random = np.random.default_rng(2)
    shades = random.uniform(-1, 1, (40, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    photos = (shades + random.normal(0, 0.2, shades.shape)).astype(np.float32)
    chosen = find_target(target)
    graph, plan = recipe.int8(model.graph, recipe.statistics(model.graph, photos[10:]), rules=chosen.rules)
    # The products with weights are in integers, and what is between two tensors is in float.
    assert all(plan.is_integer(node.name) or plan.is_dynamic(node.name) for node in graph if isinstance(node, Conv))
    assert not any(plan.is_integer(node.name) for node in graph if isinstance(node, MatMul | Softmax | Transpose))
    for suffix, data in chosen.convert(graph, Form(precision="int8"), plan).items():
        (folder / f"int8{suffix}").write_bytes(data)
    artifact = folder / f"int8{chosen.suffix}"
    return choose_runtime(artifact).open(artifact, Settings(threads=1, exact=True)), model, photos[:10]


@pytest.mark.parametrize("target", ["tflite", "onnx", "openvino"])
@pytest.mark.parametrize("name", OF_POSITIONS)
def test_int8_of_a_network_of_positions_is_close_to_float(name: str, target: str, tmp_path: Path) -> None:
    session, model, photos = int8_session(name, target, tmp_path)
    given = photos if find_target(target).layout == "NHWC" else photos.transpose(0, 3, 1, 2)
    got = np.concatenate([session.run(np.ascontiguousarray(photo[None])) for photo in given])
    expected = model.original.output(photos)
    spread = expected - expected.mean(axis=0)
    assert np.sqrt(np.mean((got - expected) ** 2)) < 0.1 * np.sqrt(np.mean(spread**2))


@pytest.mark.parametrize("target", ["tflite", "onnx", "openvino"])
def test_an_audit_counts_products_with_weights_and_not_those_of_attention(target: str, tmp_path: Path) -> None:
    session, *_ = int8_session("vit_dynamo", target, tmp_path)
    counted = audit(session)
    # The patches, four dense layers of attention, two behind it and the scale of the last normalization; then the head.
    assert (counted.integer_products, counted.float_products) == (8, 1)
    assert any("MATMUL" in kind.upper() and "int" not in kind for kind in counted.kinds)


def test_queries_keys_and_values_are_dense_layers_of_their_own(tmp_path: Path) -> None:
    graph = read(DATA / "vit_torchscript.onnx", tmp_path).graph
    dense = [node for node in graph if isinstance(node, Conv) and node.kernel.shape[:2] == (1, 1)]
    assert [node.kernel.shape[2:] for node in dense] == [(16, 16)] * 4 + [(16, 64), (64, 16)]
    # A sequence is a photo of one row, and the scale of a normalization is in the layers behind it.
    assert {graph.shape(node.name)[:2] for node in dense} == {(1, 17)}
    assert sum(isinstance(node, Depthwise) for node in graph) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["mobilenetv3_dynamo", "tv_shufflenet_dynamo", "convnext_torchscript", "vit_dynamo", "swin_torchscript"]
)
def test_an_export_is_converted_as_its_library_prepares_photos(name: str, here: Command, tmp_path: Path) -> None:
    config = {"input_size": [3, 32, 32], "interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center"}
    config |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = ("convert", DATA / f"{name}.onnx", "--target", "all", "--precision", "fp32,int8", "--output", "out")
    done = here(*command, "--preprocess", "timm:config.json", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert {one["manifest"]["recipe"]["way"] for one in made} == {"reference graph"}
    assert {tuple(one["manifest"]["preprocessing"]["resized"]) for one in made} == {(36, 36)}
    for one in made:
        assert here("run", one["path"], "--runs", 3, cwd=tmp_path).returncode == 0
    floats = [one["path"] for one in made if one["manifest"]["precision"] == "fp32"]
    original = ("--model", DATA / f"{name}.onnx")
    compared = here("verify", *floats, *original, "--min-agreement", 100, "--json", cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    names = ["original", "tflite fp32", "onnx fp32", "openvino fp32"]
    assert [one["name"] for one in json.loads(compared.stdout)["members"]] == names
