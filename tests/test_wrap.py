"""Artifacts of other tools become bundles: what they take and give is read, asked for or refused, and then measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto
from PIL import Image

import xedge
from tests.conftest import Command, Once
from tests.others import answered_by_tflite, averaging, with_metadata
from xedge.bundle.reading import open_bundle
from xedge.errors import InputError, UnsupportedError, UsageError
from xedge.models.compact import embedded
from xedge.runtimes import Settings
from xedge.runtimes.classifier import open_bundle_classifier
from xedge.types import FloatArray, Tensor, UInt8Array

PHOTO = embedded.test_photos().files[0]
# Each artifact, what it is, and the type of its input.
ARTIFACTS = {
    "fp32.tflite": ("fp32", "float32"),
    "fp16.tflite": ("fp16", "float32"),
    "dynamic.tflite": ("dynamic", "float32"),
    "int8.tflite": ("int8", "float32"),
    "int8_int8.tflite": ("int8", "int8"),
    "int8_uint8.tflite": ("int8", "uint8"),
    "fp32.onnx": ("fp32", "float32"),
    "int8.onnx": ("int8", "float32"),
    "dynamic.onnx": ("dynamic", "float32"),
    "fp32.xml": ("fp32", "float32"),
    "int8.xml": ("int8", "float32"),
    "dynamic.xml": ("dynamic", "float32"),
}
TFLITE = [name for name in ARTIFACTS if name.endswith(".tflite")]


@pytest.fixture(scope="module")
def made(once: Once) -> Path:
    """A folder with the embedded default as other tools write it."""

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "tests.others", str(folder)]
        done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    return once("others", make)


def pixels_of(photo: Path) -> UInt8Array:
    return np.asarray(Image.open(photo).convert("RGB").resize((128, 128), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_artifact_of_each_kind_is_measured_against_float(
    made: Path, bundles: Path, few_photos: Path, tmp_path: Path, name: str
) -> None:
    precision, dtype = ARTIFACTS[name]
    reference = bundles / "tflite_fp32"
    bundle = xedge.wrap(made / name, preprocess="tf", data=few_photos, reference=reference, output=tmp_path / "bundle")
    manifest = bundle.manifest
    assert (manifest.precision, manifest.input.dtype, manifest.input.shape) == (precision, dtype, (1, 128, 128, 3))
    assert (manifest.recipe.way, manifest.recipe.reason, manifest.output_kind) == ("wrapped", name, "probabilities")
    assert manifest.model == open_bundle(reference).manifest.model
    assert open_bundle(bundle.path).artifact.read_bytes() == (made / name).read_bytes()
    measured = manifest.accuracy
    assert measured is not None
    assert measured.reference is not None
    assert measured.agreement is not None
    assert measured.agreement.agreement >= (1.0 if precision in ("fp32", "fp16") else 0.8)
    assert measured.agreement.total_variation < (0.002 if precision in ("fp32", "fp16") else 0.2)
    run = xedge.run(bundle.path, data=few_photos, runs=3, against=reference)
    assert run.accuracy == measured.artifact
    assert run.self_test.max_difference <= manifest.golden.tolerance


@pytest.mark.parametrize("name", TFLITE)
def test_integers_are_scaled_as_the_file_says(made: Path, tmp_path: Path, name: str) -> None:
    """And not as xedge's own artifacts are."""
    bundle = xedge.wrap(made / name, preprocess="tf", output=tmp_path / "bundle")
    pixels = pixels_of(PHOTO)
    with xedge.load(bundle.path, threads=1) as model:
        got = model.probabilities(pixels)
    real = pixels.astype(np.float32) * np.float32(1 / 127.5) - 1
    np.testing.assert_allclose(got, answered_by_tflite(made / name, real), atol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_no_two_pixels_become_one_integer(made: Path, tmp_path: Path, dtype: str) -> None:
    """Although each lies in the middle between two integers."""
    bundle = open_bundle(xedge.wrap(made / f"int8_{dtype}.tflite", output=tmp_path / "bundle").path)
    classifier, _ = open_bundle_classifier(bundle, Settings(threads=1))
    ramp = np.broadcast_to((np.arange(128 * 128) % 256).astype(np.uint8).reshape(128, 128, 1), (128, 128, 3))
    integers = classifier.input(np.ascontiguousarray(ramp))[0].astype(int)
    np.testing.assert_array_equal(integers, ramp.astype(int) - (128 if dtype == "int8" else 0))


def test_what_an_integer_input_tells_of_the_preprocessing_is_taken(made: Path, tmp_path: Path) -> None:
    told: list[str] = []
    bundle = xedge.wrap(made / "int8_uint8.tflite", output=tmp_path / "bundle", report=told.append)
    assert bundle.manifest.preprocessing.pixel == pytest.approx((1 / 127.5, -1.0))
    assert any("preprocessing tf: the integers of the input stand for -0.9961 to 1.004" in line for line in told)
    with pytest.raises(UsageError, match="how photos were scaled in training; say it with preprocess"):
        xedge.wrap(made / "fp32.tflite", output=tmp_path / "other")


def test_wrapped_bundles_are_compared_with_xedges_own(
    here: Command, made: Path, bundles: Path, few_photos: Path, tmp_path: Path
) -> None:
    options = ("--data", few_photos, "--reference", bundles / "onnx_fp32", "--output", tmp_path / "theirs")
    done = here("wrap", made / "int8_int8.tflite", *options, "--preprocess", "tf")
    assert done.returncode == 0, done.stderr
    assert "100.0 % int8 of the weights of convolutions and products" in done.stdout
    done = here("verify", tmp_path / "theirs", bundles / "tflite_int8", "--min-agreement", 50, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["name"] for one in found["members"]] == ["keras", "tflite int8 theirs#1", "tflite int8 tflite_int8#2"]
    assert found["members"][1]["audit"]["finding"] == "integer"
    assert found["pairs"][0]["tensors"] == 0
    runs = ("--rounds", 2, "--runs", 3, "--data", few_photos, "--json")
    done = here("compare", bundles / "tflite_int8", tmp_path / "theirs", *runs)
    assert done.returncode == 0, done.stderr
    assert not any("weights differ" in note for note in json.loads(done.stdout)["notes"])


def test_without_a_reference_every_command_does_what_it_can(
    here: Command, made: Path, bundles: Path, few_photos: Path, tmp_path: Path
) -> None:
    """And says what it cannot."""
    path = tmp_path / "theirs"
    done = here("wrap", made / "int8.onnx", "--preprocess", "tf", "--data", few_photos, "--output", path, "--json")
    assert done.returncode == 0, done.stderr
    (document,) = json.loads(done.stdout)
    assert document["manifest"]["accuracy"]["reference"] is None
    assert document["manifest"]["labels_known"]
    assert here("wrap", made / "int8.onnx", "--preprocess", "tf", "--output", path, "--zip").returncode == 0
    assert "not compared with a float reference" in here("info", path).stdout
    assert here("predict", path, PHOTO).returncode == 0
    assert here("predict", tmp_path / "theirs.zip", PHOTO).returncode == 0
    run = here("run", path, "--runs", 3, "--json", tmp_path / "run.json")
    assert run.returncode == 0, run.stderr
    assert json.loads((tmp_path / "run.json").read_text())["self_test"]["reference_agreement"] is None
    assert here("report", tmp_path / "run.json", "--output", tmp_path / "page.html").returncode == 0
    done = here("verify", path)
    assert done.returncode == 0, done.stderr
    assert "wrapped without a reference" in done.stdout
    done = here("verify", path, bundles / "onnx_int8")
    assert done.returncode == InputError.exit_code
    assert "made from other weights" in done.stderr
    done = here("compare", path, bundles / "onnx_int8", "--rounds", 1, "--runs", 3)
    assert done.returncode == 0, done.stderr
    assert "not of the same model" in done.stdout
    done = here("analyze", path)
    assert done.returncode == InputError.exit_code
    assert "is a bundle, which no longer has the model" in done.stderr


def test_the_metadata_of_tflite_is_read(made: Path, tmp_path: Path) -> None:
    labels = "".join(f"{label}\n" for label in reversed(embedded.labels())).encode()
    told: dict[str, Any] = {"mean": (127.5,), "deviation": (127.5,)}
    with_metadata(made / "int8.tflite", tmp_path / "model.tflite", **told, labels=labels)
    bundle = xedge.wrap(tmp_path / "model.tflite", output=tmp_path / "bundle")
    assert open_bundle(bundle.path).labels == tuple(reversed(embedded.labels()))
    pixel = bundle.manifest.preprocessing.pixel
    assert pixel == pytest.approx((1 / 127.5, -1.0))
    (tmp_path / "labels.txt").write_text("\n".join(embedded.labels()))
    named = xedge.wrap(tmp_path / "model.tflite", labels=tmp_path / "labels.txt", output=tmp_path / "named")
    assert open_bundle(named.path).labels == embedded.labels()
    three: dict[str, Any] = {"mean": (1.0, 2.0, 3.0), "deviation": (4.0, 5.0, 8.0)}
    with_metadata(made / "int8.tflite", tmp_path / "three.tflite", **three, labels=None)
    found = xedge.wrap(tmp_path / "three.tflite", output=tmp_path / "third").manifest
    assert found.preprocessing.scale == pytest.approx((1 / 4, 1 / 5, 1 / 8))
    assert found.preprocessing.offset == pytest.approx((-1 / 4, -2 / 5, -3 / 8))
    assert not found.labels_known
    for name, mean, deviation, text in (
        ("zero", (0.0,), (0.0,), None),
        ("wrong", (0.0,), (1.0,), b"\xff\xfe no text"),
        ("few", (0.0,), (1.0,), b"one\ntwo\n"),
    ):
        with_metadata(made / "int8.tflite", tmp_path / f"{name}.tflite", mean=mean, deviation=deviation, labels=text)
    with pytest.raises(InputError, match=r"divides by zero.*give preprocess"):
        xedge.wrap(tmp_path / "zero.tflite", output=tmp_path / "no")
    assert not xedge.wrap(tmp_path / "wrong.tflite", output=tmp_path / "wrong").manifest.labels_known
    with pytest.raises(InputError, match=r"in its metadata,: has 2 labels, but few.tflite has 10 classes"):
        xedge.wrap(tmp_path / "few.tflite", output=tmp_path / "no")


@pytest.mark.parametrize("seed", range(6))
def test_damaged_metadata_is_as_none(made: Path, tmp_path: Path, seed: int) -> None:
    from xedge.runtimes._tflite_metadata import read_metadata

    with_metadata(made / "int8.tflite", tmp_path / "model.tflite", mean=(1.0,), deviation=(2.0,), labels=b"a\nb\n")
    whole = (tmp_path / "model.tflite").read_bytes()
    assert read_metadata(tmp_path / "model.tflite").labels == ("a\nb\n",)
    random = np.random.default_rng(seed)
    for _ in range(50):
        content = bytearray(whole)
        place = whole.index(b"M001") - 4
        for at in random.integers(place, place + 300, 6):
            content[int(at)] = int(random.integers(256))
        for at in random.integers(0, 64, 2 if seed % 2 else 0):
            content[int(at)] = int(random.integers(256))
        (tmp_path / "damaged.tflite").write_bytes(content[: int(random.integers(100, len(content)))])
        read_metadata(tmp_path / "damaged.tflite")


def expected(kernel: FloatArray, values: Tensor) -> FloatArray:
    logits = kernel[:, :, 0, 0] @ values.mean((0, 1))
    exponentials = np.exp(logits - logits.max())
    answer: FloatArray = exponentials / exponentials.sum()
    return answer


def small_pixels(height: int = 16, width: int = 16) -> UInt8Array:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "scale"),
    [
        pytest.param((1, 3, 16, 16), TensorProto.FLOAT, {"preprocess": "unit"}, 1 / 255, id="channels first"),
        pytest.param(("batch", 3, 16, 16), TensorProto.FLOAT, {"preprocess": "unit"}, 1 / 255, id="symbolic batch"),
        pytest.param((4, 3, 16, 16), TensorProto.FLOAT, {"preprocess": "unit"}, 1 / 255, id="batch of four"),
        pytest.param(
            ("n", 3, "h", "w"), TensorProto.FLOAT, {"preprocess": "unit", "size": (16, 16)}, 1 / 255, id="any"
        ),
        pytest.param((1, 3, 16, 16), TensorProto.FLOAT16, {"preprocess": "unit"}, 1 / 255, id="half precision"),
        pytest.param((1, 3, 16, 16), TensorProto.UINT8, {}, 1.0, id="whole pixels"),
        pytest.param((1, 3, 16, 16), TensorProto.UINT8, {"preprocess": "tf"}, 1.0, id="pixels whatever is asked"),
    ],
)
def test_inputs_of_every_kind(
    shape: tuple[Any, ...], dtype: int, options: dict[str, Any], scale: float, tmp_path: Path
) -> None:
    kernel = averaging(tmp_path / "model.onnx", shape, dtype=dtype)
    bundle = xedge.wrap(tmp_path / "model.onnx", output=tmp_path / "bundle", **options)
    assert bundle.manifest.input.layout == "NCHW"
    assert bundle.manifest.input.shape == (4 if shape[0] == 4 else 1, 3, 16, 16)
    pixels = small_pixels()
    with xedge.load(bundle.path) as model:
        got = model.probabilities(pixels)
        assert model.execution.runtime == "onnxruntime"
    np.testing.assert_allclose(got, expected(kernel, pixels.astype(np.float32) * scale), atol=2e-3)
    assert xedge.verify(bundle.path).failures == ()


@pytest.mark.parametrize("output", [(1, 4), (1, 1, 1, 4), (1, 4, 1, 1), (4,)], ids=str)
def test_outputs_of_every_shape(output: tuple[int, ...], tmp_path: Path) -> None:
    kernel = averaging(tmp_path / "model.onnx", output=output)
    bundle = xedge.wrap(tmp_path / "model.onnx", preprocess="unit", output=tmp_path / "bundle")
    assert bundle.manifest.output.shape == output
    pixels = small_pixels()
    with xedge.load(bundle.path) as model:
        np.testing.assert_allclose(
            model.probabilities(pixels), expected(kernel, pixels.astype(np.float32) / 255), atol=1e-5
        )


@pytest.mark.parametrize(("last", "kind"), [("Sigmoid", "probability"), ("Identity", "logit")])
def test_one_value_stands_for_two_classes(last: str, kind: str, tmp_path: Path) -> None:
    averaging(tmp_path / "model.onnx", classes=1, last=last, bias=(-2.0,))
    bundle = xedge.wrap(tmp_path / "model.onnx", preprocess="tf", output=tmp_path / "bundle")
    assert (bundle.manifest.output_kind, bundle.manifest.model.classes) == (kind, 2)
    with xedge.load(bundle.path) as model:
        assert model.probabilities(small_pixels()).sum() == pytest.approx(1)


def test_logits_are_told_from_probabilities_or_as_asked(tmp_path: Path) -> None:
    averaging(tmp_path / "model.onnx", last="Identity")
    averaging(tmp_path / "sigmoids.onnx", last="Sigmoid")
    asked: dict[str, Any] = {"preprocess": "tf", "output": tmp_path / "bundle"}
    assert xedge.wrap(tmp_path / "model.onnx", **asked).manifest.output_kind == "logits"
    with pytest.raises(UnsupportedError, match="answer for each class alone"):
        xedge.wrap(tmp_path / "sigmoids.onnx", **asked)
    named = xedge.wrap(tmp_path / "sigmoids.onnx", **asked, output_kind="logits")
    assert named.manifest.output_kind == "logits"
    with pytest.raises(UsageError, match=r"output_kind probabilities.* gives values from -"):
        xedge.wrap(tmp_path / "model.onnx", **asked, output_kind="probabilities")
    with pytest.raises(UsageError, match=r"output_kind logit: .* gives 4 values"):
        xedge.wrap(tmp_path / "model.onnx", **asked, output_kind="logit")


def test_an_output_is_chosen_by_its_name(tmp_path: Path) -> None:
    averaging(tmp_path / "model.onnx", outputs=("boxes", "scores"))
    with pytest.raises(UnsupportedError, match=r"has 2 outputs \(boxes, scores\).*output_name"):
        xedge.wrap(tmp_path / "model.onnx", preprocess="tf", output=tmp_path / "bundle")
    with pytest.raises(UsageError, match=r"output_name classes: .* has boxes, scores"):
        xedge.wrap(tmp_path / "model.onnx", preprocess="tf", output_name="classes", output=tmp_path / "bundle")
    bundle = xedge.wrap(tmp_path / "model.onnx", preprocess="tf", output_name="scores", output=tmp_path / "bundle")
    assert bundle.manifest.output.name == "scores"
    assert xedge.run(bundle.path, data=None, runs=3).self_test.max_difference == 0


def test_weights_beside_the_file_come_along(tmp_path: Path) -> None:
    kernel = averaging(tmp_path / "plain.onnx")
    model = onnx.load(tmp_path / "plain.onnx")
    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    (folder / "other.txt").write_text("not a part of it")
    bundle = xedge.wrap(folder / "model.onnx", preprocess="unit", output=tmp_path / "bundle")
    assert {"model.onnx", "weights.bin"} < set(open_bundle(bundle.path).manifest.files)
    assert open_bundle(bundle.path).artifact_bytes == bundle.artifact_bytes
    assert not (bundle.path / "other.txt").exists()
    shutil.rmtree(folder)
    pixels = small_pixels()
    with xedge.load(bundle.path) as loaded:
        np.testing.assert_allclose(
            loaded.probabilities(pixels), expected(kernel, pixels.astype(np.float32) / 255), atol=1e-5
        )


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "link", "", "manifest.json", "gone"])
def test_weights_elsewhere_are_refused(location: str, tmp_path: Path) -> None:
    averaging(tmp_path / "plain.onnx")
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(1000))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "manifest.json").write_bytes(bytes(1000))
    model = onnx.load(tmp_path / "plain.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError):
        xedge.wrap(folder / "model.onnx", preprocess="unit", output=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("shape", "given", "words"),
    [
        pytest.param((1, 3, 16, 3), {}, "layout", id="ambiguous"),
        pytest.param((1, 16, 16), {}, "four sizes", id="no batch"),
        pytest.param((1, 4, 16, 16), {}, "no size is 1 or 3", id="four channels"),
        pytest.param((1, 3, "h", "w"), {}, "choose one with size", id="any size"),
        pytest.param((1, 3, 16, 16), {"size": (8, 8)}, "takes photos of 16x16", id="another size"),
        pytest.param((1, 3, 16, 16), {"layout": "NHWC"}, "no channels there", id="another layout"),
        pytest.param((1, 3, 16, 30000), {}, "side of a photo", id="wide"),
    ],
)
def test_inputs_that_are_no_photos_or_have_to_be_told(
    shape: tuple[Any, ...], given: dict[str, Any], words: str, tmp_path: Path
) -> None:
    averaging(tmp_path / "model.onnx", shape)
    with pytest.raises((UsageError, UnsupportedError), match=words):
        xedge.wrap(tmp_path / "model.onnx", preprocess="unit", output=tmp_path / "bundle", **given)


def test_segmentation_is_no_classification(tmp_path: Path) -> None:
    averaging(tmp_path / "model.onnx", output=(1, 2, 2))
    with pytest.raises(UnsupportedError, match=r"gives \(1, 2, 2\); a classifier gives one value"):
        xedge.wrap(tmp_path / "model.onnx", preprocess="unit", output=tmp_path / "bundle")


def test_labels_in_onnx_and_openvino_are_read(made: Path, tmp_path: Path) -> None:
    averaging(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    model.metadata_props.add(key="names", value="{0: 'a b', 1: 'c', 3: 'e', 2: 'd'}")
    onnx.save(model, tmp_path / "model.onnx")
    bundle = xedge.wrap(tmp_path / "model.onnx", preprocess="tf", output=tmp_path / "bundle")
    assert open_bundle(bundle.path).labels == ("a b", "c", "d", "e")
    model.metadata_props[0].value = "__import__('os').abort()"
    onnx.save(model, tmp_path / "model.onnx")
    bundle = xedge.wrap(tmp_path / "model.onnx", preprocess="tf", output=tmp_path / "bundle")
    assert not bundle.manifest.labels_known
    graph = openvino.Core().read_model(made / "fp32.xml")
    graph.set_rt_info(" ".join(embedded.labels()), ["model_info", "labels"])
    openvino.save_model(graph, tmp_path / "labelled.xml")
    bundle = xedge.wrap(tmp_path / "labelled.xml", preprocess="tf", output=tmp_path / "labelled")
    assert open_bundle(bundle.path).labels == embedded.labels()
    assert bundle.manifest.precision == "fp16"


def openvino_file(path: Path, **information: str) -> Path:
    """Write a small OpenVINO file with what the Model API keeps in one."""
    averaging(path.with_suffix(".onnx"))
    model = openvino.Core().read_model(path.with_suffix(".onnx"))
    for name, text in information.items():
        model.set_rt_info(text, ["model_info", name])
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


def test_means_and_deviations_in_openvino_are_read(tmp_path: Path) -> None:
    told = {"mean_values": "123.675 116.28 103.53", "scale_values": "58.395 57.12 57.375"}
    file = openvino_file(tmp_path / "model.xml", reverse_input_channels="True", **told)
    prepared = xedge.wrap(file, output=tmp_path / "bundle").manifest.preprocessing
    assert prepared.colour == "RGB"
    assert prepared.scale == pytest.approx((1 / 58.395, 1 / 57.12, 1 / 57.375))
    assert prepared.offset == pytest.approx((-123.675 / 58.395, -116.28 / 57.12, -103.53 / 57.375))


@pytest.mark.parametrize(
    "information",
    [
        {"mean_values": "127.5", "reverse_input_channels": "NO"},
        {"mean_values": "127.5", "reverse_input_channels": "YES", "embedded_processing": "True"},
        {"scale_values": "a lot", "reverse_input_channels": "YES"},
        {"reverse_input_channels": "YES"},
    ],
    ids=["BGR", "inside the model", "no numbers", "none"],
)
def test_other_information_in_openvino_does_not_tell_how_photos_were_scaled(
    information: dict[str, str], tmp_path: Path
) -> None:
    file = openvino_file(tmp_path / "model.xml", **information)
    with pytest.raises(UsageError, match="nothing in this file tells how photos were scaled"):
        xedge.wrap(file, output=tmp_path / "bundle")


@pytest.mark.parametrize(
    ("count", "words"), [(5, "remove its line"), (3, "add a line"), (2, "one label for each class")]
)
def test_labels_have_to_be_as_many_as_classes(count: int, words: str, tmp_path: Path) -> None:
    averaging(tmp_path / "model.onnx")
    (tmp_path / "labels.txt").write_text("".join(f"label {index}\n" for index in range(count)))
    with pytest.raises(InputError, match=f"has {count} labels, but model.onnx has 4 classes; .*{words}"):
        xedge.wrap(tmp_path / "model.onnx", preprocess="tf", labels=tmp_path / "labels.txt", output=tmp_path / "bundle")


def test_a_reference_that_does_not_fit_is_refused(made: Path, bundles: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"preprocess": "tf", "output": tmp_path / "bundle"}
    averaging(tmp_path / "small.onnx")
    with pytest.raises(InputError, match="has 10 classes, but"):
        xedge.wrap(tmp_path / "small.onnx", reference=bundles / "onnx_fp32", **given)
    with pytest.raises(InputError, match="is int8, and what is lost is measured against float"):
        xedge.wrap(made / "int8.tflite", reference=bundles / "tflite_int8", **given)
    with pytest.raises(InputError, match="prepares photos as RGB, bilinear to 128x128, crop none"):
        xedge.wrap(made / "int8.tflite", reference=bundles / "tflite_fp32", crop="center", **given)
    (tmp_path / "labels.txt").write_text("\n".join(reversed(embedded.labels())))
    with pytest.raises(InputError, match="the labels have to be the same, in the same order"):
        xedge.wrap(made / "int8.tflite", reference=bundles / "tflite_fp32", labels=tmp_path / "labels.txt", **given)
    assert not (tmp_path / "bundle").exists()


def test_an_input_is_never_replaced(bundles: Path, tmp_path: Path) -> None:
    own = shutil.copytree(bundles / "tflite_fp32", tmp_path / "own")
    artifact = open_bundle(own).artifact
    before = artifact.read_bytes()
    with pytest.raises(InputError, match="is an input and would be lost"):
        xedge.wrap(artifact, preprocess="tf", output=own)
    assert artifact.read_bytes() == before
    assert xedge.wrap(artifact, reference=own, output=tmp_path / "other").manifest.precision == "fp32"


@pytest.mark.parametrize("name", ["int8.tflite", "int8.onnx", "int8.xml"])
@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "text"])
def test_damaged_files_are_refused_in_one_line(
    xedge: Command, made: Path, tmp_path: Path, name: str, damage: str
) -> None:
    whole = (made / name).read_bytes()
    content = bytearray(whole)
    for at in np.random.default_rng(0).integers(0, len(whole), 2000):
        content[int(at)] ^= 0x55
    path = tmp_path / name
    path.write_bytes(
        {"empty": b"", "half": whole[: len(whole) // 2], "flipped": bytes(content), "text": b"a" * 999}[damage]
    )
    if name.endswith(".xml"):
        shutil.copy(made / "int8.bin", tmp_path)
    done = xedge("wrap", path, "--preprocess", "tf", "--output", tmp_path / "bundle")
    assert done.returncode in (InputError.exit_code, UnsupportedError.exit_code), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("xedge: error: ")
    assert not (tmp_path / "bundle").exists()


def test_what_is_no_artifact(here: Command, made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "int8.xml", tmp_path / "alone.xml")
    for arguments, code, words in (
        (("nothing.tflite",), InputError.exit_code, "there is no such file"),
        ((made,), InputError.exit_code, "is not a plain file"),
        ((embedded.MODEL,), UnsupportedError.exit_code, "no runtime opens .keras files"),
        ((tmp_path / "alone.xml",), InputError.exit_code, "alone.bin: is missing"),
        ((made / "fp32.onnx",), UsageError.exit_code, "say it with --preprocess"),
        ((), UsageError.exit_code, "FILE"),
    ):
        done = here("wrap", *arguments, "--output", tmp_path / "bundle")
        assert done.returncode == code, done.stderr
        assert words in done.stderr


def test_a_runtime_that_crashes_on_it_is_one_line(made: Path, tmp_path: Path) -> None:
    """Because it is tried in a copy of the process, which the crash ends."""
    code = f"""
import os, signal
from xedge.cli.main import main
from xedge.wrapping import pipeline

pipeline.find_ends = lambda *given: os.kill(os.getpid(), signal.SIGSEGV)
raise SystemExit(main(["wrap", {str(made / "int8.tflite")!r}, "--preprocess", "tf", "--output", "bundle"]))
"""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == InputError.exit_code, done.stderr
    assert "SIGSEGV; it is damaged or of another kind, and cannot be wrapped" in done.stderr
