"""What a Jetson gets. CUDA and TensorRT are not here: their files run on ONNX Runtime's CPU, their options are read."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.conftest import Command
from xedge.bundle.reading import open_bundle
from xedge.converters.tensorrt.trtexec import trtexec
from xedge.device.accelerator import accelerator_name, engine_key, tensorrt_version
from xedge.device.system import System
from xedge.errors import UnsupportedError
from xedge.measuring.starting import RunOptions
from xedge.runtimes import Settings
from xedge.runtimes.onnxruntime.session import PROVIDERS, OnnxSession, placement, provider_options

PRECISIONS = ("fp32", "fp16", "int8")


@pytest.mark.parametrize(("precision", "points"), [("fp32", 0.0), ("fp16", 0.0), ("int8", 2.0)], ids=PRECISIONS)
def test_accuracy_is_kept(bundles: Path, precision: str, points: float) -> None:
    accuracy = open_bundle(bundles / f"tensorrt_{precision}").manifest.accuracy
    assert accuracy is not None
    assert accuracy.drop_points is not None
    assert abs(accuracy.drop_points) <= points


def test_int8_is_as_its_parser_wants_it(bundles: Path) -> None:
    """Zero points are zero, integers are int8, every Q is followed by its DQ, and biases are float."""
    model = onnx.load(open_bundle(bundles / "tensorrt_int8").artifact)
    onnx.checker.check_model(model, full_check=True)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantizers = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert quantizers
    for node in quantizers:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
    quantized = {node.output[0] for node in quantizers if node.op_type == "QuantizeLinear"}
    assert quantized == {n.input[0] for n in quantizers if n.op_type == "DequantizeLinear" and n.input[0] in quantized}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    dequantized = {node.output[0] for node in quantizers if node.op_type == "DequantizeLinear"}
    assert all({node.input[0], node.input[1]} <= dequantized for node in convolutions)
    assert all(constants[node.input[2]].dtype == np.float32 for node in convolutions)


def test_fp16_is_half_all_the_way(bundles: Path) -> None:
    """From version 11 on the types in the file are the types of the engine."""
    model = onnx.shape_inference.infer_shapes(onnx.load(open_bundle(bundles / "tensorrt_fp16").artifact))
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    products = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert products
    assert all(kinds[node.output[0]] == onnx.TensorProto.FLOAT16 for node in products)
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_convert_says_how_an_engine_is_made(bundles: Path) -> None:
    said = (bundles / "said").read_text()
    # The command ran in the folder that it wrote to.
    artifact = Path("tensorrt_int8") / "xception_compact_int8.onnx"
    engine = artifact.with_suffix(".engine")
    assert f"TensorRT 8   trtexec --onnx={artifact} --saveEngine={engine} --int8 --fp16\n" in said
    assert f"TensorRT 11  trtexec --onnx={artifact} --saveEngine={engine}\n" in said


def test_trtexec_with_any_batch() -> None:
    lines = trtexec("a b.onnx", "fp16", (-1, 3, 128, 128), "photo")
    shapes = "--minShapes=photo:1x3x128x128 --optShapes=photo:1x3x128x128 --maxShapes=photo:16x3x128x128"
    files = "trtexec '--onnx=a b.onnx' '--saveEngine=a b.engine'"
    assert lines == {
        "8": f"{files} {shapes} --fp16",
        "10": f"{files} {shapes} --stronglyTyped",
        "11": f"{files} {shapes}",
    }


def test_what_it_has_not_is_refused(here: Command, tmp_path: Path) -> None:
    done = here("convert", "--target", "tensorrt", "--precision", "dynamic", "--output", tmp_path / "x")
    assert done.returncode == UnsupportedError.exit_code
    assert "tensorrt has no dynamic; it has fp32, fp16, int8" in done.stderr


def test_providers_are_called_as_onnx_runtime_calls_them() -> None:
    assert set(PROVIDERS.values()) <= set(onnxruntime.get_all_providers())
    assert onnxruntime.get_all_providers().index(PROVIDERS["tensorrt"]) < onnxruntime.get_all_providers().index(
        PROVIDERS["cuda"]
    )


def test_engines_lie_beside_the_bundle_and_only_where_their_device_is_known(bundles: Path, tmp_path: Path) -> None:
    bundle = open_bundle(bundles / "tensorrt_int8")
    settings = RunOptions(provider="tensorrt").settings(bundle)
    assert settings.engines == bundles / "tensorrt_int8.engines"
    options = provider_options(Settings(threads=1, provider="tensorrt", integers=True, engines=tmp_path), "orin_8.6")
    assert options == {
        "trt_fp16_enable": "1",
        "trt_int8_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(tmp_path / "orin_8.6"),
    }
    exact = provider_options(Settings(threads=1, provider="tensorrt", exact=True, engines=tmp_path), None)
    assert exact == {"trt_fp16_enable": "0", "trt_int8_enable": "0"}
    assert provider_options(Settings(threads=1, provider="cuda"), None) == {}


@pytest.mark.parametrize(
    ("number", "version"), [(8602, "8.6.2"), (8201, "8.2.1"), (100300, "10.3.0"), (None, None)], ids=str
)
def test_engines_are_keyed_by_device_and_version(tmp_path: Path, number: int | None, version: str | None) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3\n")
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("NVIDIA Jetson Orin Nano Developer Kit\0")

    def load(name: str) -> SimpleNamespace:
        if number is None:
            raise OSError(name)
        return SimpleNamespace(getInferLibVersion=lambda: number)

    system = System(root=tmp_path, run=lambda arguments: None)
    assert tensorrt_version(load) == version
    key = engine_key(system, load)
    assert key == (f"nvidia-jetson-orin-nano-developer-kit_tensorrt-{version}" if version else None)


def test_a_pc_names_its_card(tmp_path: Path) -> None:
    assert accelerator_name(System(root=tmp_path, run=lambda arguments: "NVIDIA RTX A2000\n")) == "NVIDIA RTX A2000"
    assert engine_key(System(root=tmp_path, run=lambda arguments: None)) is None


def test_what_was_obtained_is_counted(bundles: Path) -> None:
    """From a real profile, where everything is on the CPU: that is what a silent fallback looks like."""
    session = OnnxSession(open_bundle(bundles / "tensorrt_int8").artifact, Settings(threads=1))
    events = session._executed()
    found = placement(events, "tensorrt")
    assert found["delegate"] is None
    assert found["delegated"] == 0
    assert found["operators"] == len(events) > 10
    moved = json.loads(json.dumps(events[:1]).replace(PROVIDERS["cpu"], PROVIDERS["tensorrt"]))
    assert placement([*moved, *events[1:]], "tensorrt")["delegate"] == "tensorrt"
