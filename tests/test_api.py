"""What ``import xedge`` offers: the CLI's equal, light until it is used."""

from __future__ import annotations

import dataclasses
import gc
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import xedge
from tests.networks import one_channel
from xedge.cli.parser import commands_of, parser
from xedge.errors import BundleError, InputError
from xedge.measuring.rounds import Plan
from xedge.memory import caller_set_aside, give_memory_back
from xedge.models.compact import embedded

PHOTO = embedded.test_photos().files[0]


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, xedge; assert not {'numpy', 'PIL', 'keras'} & set(sys.modules); print(sorted(dir(xedge)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "convert" in done.stdout


def test_every_name_is_there_and_says_what_it_is() -> None:
    for name in set(xedge.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(xedge, name)), name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = xedge.nonsense


# Arguments of a command that have no namesake in Python, and why.
ONLY_COMMANDS = {
    "help",
    "json",
    "force",
    "quiet",
    "verbose",
    "page",  # xedge.report
    "junit",  # forms of what xedge.check returns
    "summary",
    "badge",
    "on",  # xedge.run_on
    "fleet",  # xedge.run_fleet
    "at_once",
    "wheels",
    "no_accuracy",  # data=None
    "top",  # of tables
    "markdown",
    "compare",  # of cost: the same function for three networks
}
# Arguments that have another name in Python, or are fields of one: ``Plan`` says how bundles are timed.
RENAMED = {"bundles": "bundle", "duration": "duration_s"}
FIELDS_OF_PLAN = {field.name for field in dataclasses.fields(Plan)}


@pytest.mark.parametrize(
    "command",
    ["convert", "check", "wrap", "run", "verify", "analyze", "cost", "compare", "benchmark", "report", "reproduce"],
)
def test_what_the_command_line_can_python_can(command: str) -> None:
    options = {action.dest for action in commands_of(parser())[command]._actions} - ONLY_COMMANDS
    known = set(inspect.signature(getattr(xedge, command)).parameters)
    if "plan" in known:
        known |= FIELDS_OF_PLAN
    missing = {one for one in options if one not in known and RENAMED.get(one) not in known}
    assert not missing


def test_a_photo_is_classified_whatever_it_comes_as(bundles: Path) -> None:
    image = Image.open(PHOTO)
    with xedge.load(bundles / "tflite_int8") as model:
        by_path = model.classify(PHOTO, top=10)
        assert by_path == model.classify(str(PHOTO), top=10)
        assert by_path == model.classify(image, top=10)
        assert by_path == model.classify(np.asarray(image.convert("RGB")), top=10)
        assert [one.probability for one in by_path] == sorted((one.probability for one in by_path), reverse=True)
        assert sum(one.probability for one in by_path) == pytest.approx(1, abs=1e-3)
        assert {one.label for one in by_path} == set(model.labels)
        assert model.execution.runtime == "ai-edge-litert"
        with pytest.raises(InputError, match=r"uint8, \(H, W, 3\)"):
            model.classify(np.zeros((3, 8, 8), np.uint8))
        with pytest.raises(InputError, match="uint8"):
            model.classify(np.zeros((8, 8, 3), np.float32))
        with pytest.raises(InputError, match="no such photo"):
            model.classify("nothing.jpg")


def test_a_zip_is_unpacked_for_as_long_as_it_is_used(tmp_path: Path) -> None:
    (made,) = xedge.convert(target="onnx", precision="fp16", output=tmp_path / "bundle", zipped=True, data=None)
    assert made.path.suffix == ".zip"
    model = xedge.load(made.path)
    root = model._bundle.root
    assert model.classify(PHOTO)[0].label in model.labels
    model.close()
    assert not root.exists()
    model.close()
    made.path.write_bytes(made.path.read_bytes()[:-2000])
    with pytest.raises((BundleError, InputError)):
        xedge.load(made.path)


def test_a_model_in_memory_is_converted(tmp_path: Path) -> None:
    model = one_channel()
    (made,) = xedge.convert(model, target="litert", output=tmp_path / "bundle", preprocess="unit")
    assert made.manifest.model.name == "one_channel"
    with xedge.load(made.path) as loaded:
        pixels = np.asarray(Image.open(PHOTO).convert("L").resize((33, 45), Image.Resampling.BILINEAR))
        logits = np.asarray(model(pixels[None, ..., None].astype(np.float32) / 255, training=False))[0]
        expected = np.exp(logits - logits.max())
        np.testing.assert_allclose(loaded.probabilities(pixels), expected / expected.sum(), atol=1e-5)


def test_run_scores_what_it_is_told(bundles: Path) -> None:
    bundle = bundles / "tflite_fp32"
    assert xedge.run(bundle, data=None, runs=5).accuracy is None
    own = xedge.run(bundle, runs=5, limit=20)
    named = xedge.run(bundle, runs=5, limit=20, data=embedded.test_photos().root)
    assert own.answers == named.answers
    assert own.accuracy is not None
    assert own.answers is not None
    right = [a == b for a, b in zip(own.answers.truth, own.answers.first, strict=True)]
    assert own.accuracy.top1 == pytest.approx(sum(right) / 20)


def test_names_are_checked_as_on_the_command_line(tmp_path: Path) -> None:
    arguments: list[dict[str, Any]] = [{"target": "tflte"}, {"target": "tflite", "precision": ("fp32", "int4")}]
    for one in arguments:
        with pytest.raises(xedge.XedgeError, match=r"tflite|int8"):
            xedge.convert(output=tmp_path / "bundle", **one)
    assert not (tmp_path / "bundle").exists()


@pytest.fixture
def thawed() -> Iterator[None]:
    """Nothing is set aside, as in a program that has not asked for it."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("thawed")
def test_a_large_program_around_it_costs_no_time() -> None:
    """Collections pass over the caller's objects, which are his again afterwards; what he froze himself stays so."""
    before = [[0]]
    with caller_set_aside():
        within = [[0]]
        looked_at = {id(one) for one in gc.get_objects()}
        assert id(within) in looked_at
        assert id(before) not in looked_at
        give_memory_back()
        assert id(within) not in {id(one) for one in gc.get_objects()}, "the next collections pass over it too"
    assert id(before) in {id(one) for one in gc.get_objects()}
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with caller_set_aside():
            give_memory_back()
            assert gc.get_freeze_count() <= frozen
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
