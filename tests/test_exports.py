"""Files as PyTorch's two exporters and tf2onnx write them are read, and compute what ONNX Runtime does with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import Command
from tests.test_onnx_library import reference_of
from tests.test_onnx_source import compared
from xedge.graph.ir import Conv, Input

# Small networks of families of timm, torchvision (tv_) and Keras; ``make.py`` there writes them.
DATA = Path(__file__).parent / "data" / "exports"
FILES = sorted(path.stem for path in DATA.glob("*.onnx"))
# Attention between positions is outside of the reference graph.
OUTSIDE = {"vit_dynamo", "vit_torchscript"}


def test_each_family_is_there_from_both_exporters() -> None:
    families = {name.rpartition("_")[0] for name in FILES} - {"keras"}
    assert len(families) >= 8
    assert {f"{family}_{way}" for family in families for way in ("dynamo", "torchscript")} | {"keras_tf2onnx"} == set(
        FILES
    )
    makers = {name: onnx.load(DATA / f"{name}.onnx", load_external_data=False).producer_name for name in FILES}
    assert {makers[name] for name in FILES if name != "keras_tf2onnx"} == {"pytorch"}
    assert makers["keras_tf2onnx"] == "tf2onnx"
    assert onnx.load(DATA / "resnet_dynamo.onnx").opset_import[0].version >= 18


@pytest.mark.parametrize("name", [name for name in FILES if name not in OUTSIDE])
def test_an_export_is_read(name: str, tmp_path: Path) -> None:
    graph = compared(DATA / f"{name}.onnx", tmp_path)
    assert graph.shape(graph.output) == (7,)
    # Nothing that only puts channels in another order stands between the photo and the first layer.
    first, second = list(graph)[:2]
    assert isinstance(first, Input)
    assert isinstance(second, Conv) or name == "keras_tf2onnx"


@pytest.mark.parametrize("name", sorted(OUTSIDE))
def test_a_vision_transformer_takes_the_libraries_way(name: str, tmp_path: Path) -> None:
    reference = reference_of(DATA / f"{name}.onnx", tmp_path)
    assert "puts a constant beside a tensor" in reference.reason
    assert (reference.classes, reference.input_shape) == (7, (32, 32, 3))
    photos = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
    probabilities, difference = reference.checked_predict(photos)
    assert probabilities.std() > 0
    assert difference < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenetv3_dynamo", "tv_shufflenet_dynamo", "convnext_torchscript"])
def test_an_export_is_converted_as_its_library_prepares_photos(name: str, xedge: Command, tmp_path: Path) -> None:
    config = {"input_size": [3, 32, 32], "interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center"}
    config |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = ("convert", DATA / f"{name}.onnx", "--target", "all", "--precision", "fp32,int8", "--output", "out")
    done = xedge(*command, "--preprocess", "timm:config.json", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert {one["manifest"]["recipe"]["way"] for one in made} == {"reference graph"}
    assert {tuple(one["manifest"]["preprocessing"]["resized"]) for one in made} == {(36, 36)}
    for one in made:
        assert xedge("run", one["path"], "--runs", 3, cwd=tmp_path).returncode == 0
    floats = [one["path"] for one in made if one["manifest"]["precision"] == "fp32"]
    compared = xedge("verify", *floats, "--min-agreement", 100, "--json", cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
