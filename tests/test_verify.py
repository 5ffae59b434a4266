"""``xedge verify``, the audit and the runtimes behind it, on bundles of the embedded default."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests import fabricated
from tests.conftest import Command
from xedge.api.verify import verify
from xedge.bundle.reading import open_bundle
from xedge.converters import target_names
from xedge.errors import UsageError
from xedge.files import sha256
from xedge.inspection.verification import Member, Thresholds, snr_db
from xedge.inspection.verification import verify as compare_members
from xedge.quantization.gate import Budget
from xedge.runtimes import Execution, Operation, Role, TimedOperation
from xedge.runtimes.audit import Audit, audit
from xedge.types import FloatArray, Tensor, UInt8Array
from xedge.vocabulary import PRECISIONS, Precision

TARGETS = target_names("all")


@pytest.fixture(scope="module")
def report(document: Callable[[str], Path]) -> dict[str, Any]:
    """What the command found of the float and the int8 bundle of each target, and Keras."""
    found: dict[str, Any] = json.loads(document("verify").read_text())
    return found


def test_every_pair_is_compared_keras_included(report: dict[str, Any]) -> None:
    names = [member["name"] for member in report["members"]]
    assert names[0] == "keras"
    assert len(report["pairs"]) == len(names) * (len(names) - 1) // 2
    assert report["photos"] == 372
    floats = [p for p in report["pairs"] if all("int8" not in p[side] for side in ("first", "second"))]
    assert len(floats) == 6
    for pair in floats:
        assert pair["outputs"]["agreement"] == 1
        assert pair["outputs"]["max_difference"] < 1e-4
        assert pair["parting"] is None
        assert pair["tensors"] >= 50
        assert pair["worst"]["snr_db"] > 90


def test_int8_keeps_the_answers_and_is_int8(report: dict[str, Any]) -> None:
    for member in report["members"]:
        if "int8" in member["name"]:
            assert member["accuracy"]["top1"] >= 0.8656 - 0.011
            assert member["audit"]["finding"] == "integer"
            # The last dense layer; in TFLite the depthwise convolutions between residual sums too.
            assert member["audit"]["float_products"] == (13 if "tflite" in member["name"] else 1)
            assert member["audit"]["integer_share"] > 0.94
        elif member["audit"] is not None:
            assert member["audit"]["finding"] == "float"
    same = next(p for p in report["pairs"] if (p["first"], p["second"]) == ("tflite int8", "onnx int8"))
    assert same["outputs"]["agreement"] >= 0.98  # the same integers, rounded by other kernels


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("target", TARGETS)
def test_the_embedded_default_keeps_its_accuracy(bundles: Path, target: str, precision: Precision) -> None:
    """Float top-1 is 86.56 % of 372 photos; half a point is two of them."""
    measured = open_bundle(bundles / f"{target}_{precision}").manifest.accuracy
    assert measured is not None
    assert measured.reference is not None
    assert measured.agreement is not None
    assert measured.reference.top1 == pytest.approx(0.8656, abs=0.0001)
    allowed = {"fp32": 0.0001, "fp16": 0.0028, "dynamic": 0.011, "int8": 0.011}[precision]
    assert measured.artifact.top1 >= 0.8656 - allowed
    assert measured.agreement.agreement >= 1 - 2.5 * allowed


def test_tensors_of_an_equalized_artifact_are_compared_as_the_reference_has_them(report: dict[str, Any]) -> None:
    pairs = [p for p in report["pairs"] if p["first"] == "keras" and p["second"].endswith("int8")]
    assert len(pairs) == len(TARGETS)
    for pair in pairs:
        assert pair["worst"]["snr_db"] > 3, pair  # an equalized tensor as it stands has a negative one


class Told:
    """A member that answers what it is told to, on a runtime that tells nothing."""

    precision: Precision = "fp32"
    audit: Audit | None = None

    def __init__(self, name: str, first: Sequence[int], certain: float = 0.9) -> None:
        self.name = name
        self.rows = np.full((len(first), 10), (1 - certain) / 9, np.float32)
        self.rows[range(len(first)), first] = certain

    def probabilities(self, photos: list[UInt8Array]) -> FloatArray:
        return self.rows[: len(photos)]

    def tensors(self, pixels: UInt8Array) -> Mapping[str, FloatArray]:
        return {}


@pytest.mark.parametrize(
    ("thresholds", "failures"),
    [
        pytest.param(Thresholds(), [], id="nothing missed"),
        pytest.param(Thresholds(min_agreement=0.995), ["agree on 99.00 % of the photos"], id="agreement"),
        pytest.param(Thresholds(max_difference=0.9), [], id="within the difference"),
        pytest.param(Thresholds(max_difference=0.001), ["differ by 0.8"], id="difference"),
        pytest.param(Thresholds(min_agreement=1.0, max_difference=0.001), ["agree on", "differ by"], id="both"),
    ],
)
def test_thresholds(thresholds: Thresholds, failures: list[str]) -> None:
    """Two members, one of whose hundred answers differs."""
    members: list[Member] = [Told("first", [0] * 100), Told("second", [0] * 99 + [1])]
    photos = [np.zeros((8, 8, 3), np.uint8)] * 100
    found = compare_members(members, photos, "photos", None, thresholds)
    assert len(found.failures) == len(failures)
    for words, failure in zip(failures, found.failures, strict=True):
        assert f"first and second {words}" in failure


def test_quantized_artifacts_are_judged_against_float_alone_on_demand() -> None:
    """Each of two int8 artifacts differs from float in one of a hundred answers, and from the other in two."""
    members: list[Member] = [Told("float", [0] * 100), Told("first", [0] * 99 + [1]), Told("second", [1] + [0] * 99)]
    for member in members[1:]:
        member.precision = "int8"
    photos = [np.zeros((8, 8, 3), np.uint8)] * 100
    demands = Thresholds(min_agreement=0.99)
    strict = compare_members(members, photos, "photos", None, demands)
    assert strict.verdict == "failed"
    assert strict.failures == ("first and second agree on 98.00 % of the photos, but 99 % is demanded",)
    found = compare_members(members, photos, "photos", None, replace(demands, only_float=True))
    assert (found.verdict, found.failures) == ("passed", ())
    assert found.demands.only_float
    assert len(found.pairs) == 3


def test_a_lone_artifact_is_not_called_passed(here: Command, bundles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lone"
    shutil.copytree(bundles / "tflite_int8", folder)
    _edit(folder, lambda manifest: manifest["model"].update(file_sha256="0" * 64))
    done = here("verify", folder)
    assert done.returncode == 0, done.stderr
    assert "PASSED" not in done.stdout
    assert "NOTHING COMPARED" in done.stdout
    assert json.loads(here("verify", folder, "--json").stdout)["verdict"] == "nothing compared"
    for option in ("--min-agreement=99", "--max-difference=0.1", "--only-float"):
        done = here("verify", folder, option)
        assert done.returncode == 3, done.stdout
        assert f"{option.partition('=')[0]} demands" in done.stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--min-agreement", "0.99"), "0.99 means 0.99 % here; did you mean 99?"),
        (("--min-agreement", "1"), "did you mean 100?"),
        (("--max-difference", "5"), "'5' is not a probability from 0 to 1"),
    ],
)
def test_a_share_is_not_taken_for_a_percentage(option: tuple[str, str], words: str, here: Command) -> None:
    done = here("verify", "bundle", *option)
    assert done.returncode == 2
    assert words in done.stderr
    assert option[0] in done.stderr


def test_in_python_a_percentage_is_not_taken_for_a_share(bundles: Path) -> None:
    with pytest.raises(UsageError, match=r"min_agreement 99: .* did you mean 0\.99\?"):
        verify(bundles / "tflite_fp32", min_agreement=99)
    with pytest.raises(UsageError, match=r"max_difference 2: "):
        verify(bundles / "tflite_fp32", max_difference=2)
    with pytest.raises(UsageError, match=r"min_agreement 99: .* did you mean 0\.99\?"):
        Budget(min_agreement=99)
    with pytest.raises(UsageError, match="max_drop_points -1: is not"):
        Budget(max_drop_points=-1)


def test_a_threshold_that_is_missed_fails(xedge: Command, bundles: Path) -> None:
    paths = (bundles / "tflite_fp32", bundles / "tflite_int8")
    done = xedge("verify", *paths, "--min-agreement", 100, "--max-difference", 0.001)
    assert done.returncode == 8
    assert "FAILED" in done.stdout
    assert "100 % is demanded" in done.stdout
    assert "0.001" in done.stdout


def test_a_threshold_that_is_kept_passes(here: Command, bundles: Path) -> None:
    done = here("verify", bundles / "tflite_fp32", bundles / "tflite_int8", "--max-difference", 0.9, "--limit", 30)
    assert done.returncode == 0, done.stdout
    assert "PASSED" in done.stdout


def test_float_that_is_called_int8_is_found_out(here: Command, bundles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "liar"
    shutil.copytree(bundles / "onnx_fp32", folder)
    _edit(folder, lambda manifest: manifest.update(precision="int8"))
    done = here("verify", folder, "--limit", 20)
    assert done.returncode == 8
    assert "is called int8, but only 0 % of its convolutions and products run in integers" in done.stdout


def test_the_tensor_where_artifacts_part_is_named(here: Command, bundles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(bundles / "onnx_fp32", folder)
    file = folder / "xception_compact_fp32.onnx"
    model = onnx.load(file)
    kernel = next(t for t in model.graph.initializer if t.name == "block4_sepconv2#kernel")
    values = onnx.numpy_helper.to_array(kernel) * 1.1
    kernel.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), kernel.name))
    onnx.save(model, file)
    _edit(folder, lambda manifest: manifest["files"].update({file.name: sha256(file)}))
    done = here("verify", bundles / "tflite_fp32", folder, "--limit", 20, "--min-agreement", 0, "--json")
    pair = next(p for p in json.loads(done.stdout)["pairs"] if p["first"] == "tflite fp32")
    assert pair["parting"]["tensor"] == "block4_sepconv2"
    assert pair["parting"]["snr_db"] == pytest.approx(20 * np.log10(1 / 0.1), abs=4)


def test_bundles_of_two_models_are_refused(here: Command, bundles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(bundles / "tflite_fp32", folder)
    _edit(folder, lambda manifest: manifest["model"].update(weights_sha256="0" * 64))
    done = here("verify", bundles / "tflite_fp32", folder)
    assert done.returncode == 3
    assert "other weights" in done.stderr
    assert here("verify", folder, "--model", bundles / "labels").returncode == 3


def _edit(folder: Path, change: Any) -> None:
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


@pytest.mark.parametrize("target", TARGETS)
def test_run_and_predict_take_any_bundle(xedge: Command, bundles: Path, target: str) -> None:
    bundle = bundles / f"{target}_int8"
    ran = json.loads(xedge("run", bundle, "--runs", 5, "--limit", 40, "--threads", 1, "--json").stdout)
    assert ran["execution"]["provider"] == "cpu"
    assert ran["execution"]["threads"] == 1
    assert ran["accuracy"]["top1"] >= 0.75
    photo = sorted((bundle / "golden").glob("*.png"))[0]
    (found,) = json.loads(xedge("predict", bundle, photo, "--json").stdout)
    assert found["classes"][0]["label"] == "dress"


@pytest.mark.parametrize(
    ("target", "arguments", "code", "words"),
    [
        pytest.param("onnx", ("--provider", "cuda"), 6, "this onnxruntime has", id="onnx-cuda"),
        pytest.param("onnx", ("--provider", "tensorrt"), 6, "this onnxruntime has", id="onnx-tensorrt"),
        pytest.param("openvino", ("--provider", "npu"), 6, "OpenVINO finds CPU", id="openvino-npu"),
        pytest.param("tflite", ("--provider", "cuda"), 2, "ai-edge-litert has cpu", id="tflite-cuda"),
        pytest.param("onnx", ("--runtime", "openvino"), 2, "openvino does not open .onnx files", id="onnx-openvino"),
    ],
)
def test_a_provider_that_is_not_there_is_an_error(
    here: Command, bundles: Path, target: str, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = here("run", bundles / f"{target}_int8", *arguments, "--runs", 1)
    assert done.returncode == code
    assert words in done.stderr


@pytest.mark.parametrize("precision", ["fp32", "fp16", "dynamic", "int8"])
def test_onnx_files_satisfy_the_checker(bundles: Path, precision: str) -> None:
    model = onnx.load(bundles / f"onnx_{precision}" / f"xception_compact_{precision}.onnx")
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    assert [d.dim_value for d in inferred.graph.output[0].type.tensor_type.shape.dim] == [1, 10]
    assert model.ir_version == 7
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]


@pytest.mark.parametrize(
    "artifact",
    ["onnx_int8/xception_compact_int8.onnx", "openvino_int8/xception_compact_int8.xml"],
    ids=["onnx", "openvino"],
)
def test_info_audits_an_artifact(here: Command, bundles: Path, artifact: str) -> None:
    found = json.loads(here("info", bundles / artifact, "--json").stdout)
    assert found["audit"]["finding"] == "integer"
    assert found["audit"]["integer_products"] == 38


@pytest.mark.slow
def test_integer_ends_take_pixels_as_they_are(xedge: Command, tmp_path: Path) -> None:
    arguments = ("--precision", "int8", "--io", "uint8", "--output", tmp_path / "made")
    done = xedge("convert", "--target", "onnx,openvino", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    for one in json.loads(done.stdout):
        assert one["manifest"]["input"]["dtype"] == "uint8"
        assert one["manifest"]["accuracy"]["artifact"]["top1"] >= 0.8656 - 0.02
    refused = xedge("convert", "--target", "all", *arguments)
    assert refused.returncode == 4
    assert "int8 artifacts have float32 or int8" in refused.stderr


@pytest.mark.slow
def test_batches_are_kept_in_the_bundle(xedge: Command, tmp_path: Path) -> None:
    for batch, size in ((4, 4), ("dynamic", -1)):
        out = tmp_path / str(batch)
        done = xedge("convert", "--target", "onnx", "--batch", batch, "--output", out, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0]["manifest"]["input"]["shape"] == [size, 3, 128, 128]
        assert xedge("run", out, "--runs", 3, "--limit", 5).returncode == 0


@pytest.mark.parametrize(
    ("roles", "finding"),
    [("iiiiiiiiif", "integer"), ("iiff", "partly integer"), ("ff", "float"), ("", "the runtime does not tell")],
    ids=["nine of ten", "half", "none", "unknown"],
)
def test_findings(roles: str, finding: str) -> None:
    assert audit(Executing(roles)).finding == finding


class Executing:
    """A session whose products compute in what letters say: i for integers, f for float."""

    def __init__(self, roles: str) -> None:
        self.roles = roles

    def run(self, photo: Tensor) -> Tensor:
        return photo

    def input_shape(self) -> tuple[int, ...]:
        return (1, 8, 8, 3)

    def execution(self) -> Execution:
        return fabricated.execution()

    def operations(self) -> list[Operation]:
        names: dict[str, Role] = {"i": "integer", "f": "float"}
        return [Operation(kind="CONV", precision="x", role=names[r], product=True) for r in self.roles]

    def timed(self, photo: Tensor) -> list[TimedOperation]:
        return []


def test_snr() -> None:
    signal = np.array([3.0, 4.0], np.float32)
    assert snr_db(signal, signal) is None
    assert snr_db(signal, signal * np.float32(1.1)) == pytest.approx(20, abs=1e-3)
