"""Messages say what the reader can do: parameters have the name that they have where the message is read."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

import xedge as api
from tests.conftest import Command
from xedge.codec import from_json
from xedge.errors import BundleError, UnsupportedError, UsageError, XedgeError, parameter
from xedge.runtimes import choose_runtime


def test_a_parameter_is_called_what_its_reader_calls_it() -> None:
    error = UsageError(f"{parameter('max_drop_points')} 3: too much; see {parameter('output')}")
    assert str(error) == "max_drop_points 3: too much; see output"
    assert error.worded(lambda name: f"--{name}") == "--max_drop_points 3: too much; see --output"


def test_the_command_line_names_its_options_and_python_its_arguments(xedge: Command, tmp_path: Path) -> None:
    done = xedge("convert", "--target", "tflite", "--max-drop", 1, cwd=tmp_path)
    assert done.returncode == 2
    assert "--max-drop and --min-agreement are budgets of int8; add int8 to --precision" in done.stderr
    with pytest.raises(XedgeError, match=r"^max_drop_points and min_agreement are budgets of int8") as caught:
        api.convert(target="tflite", max_drop_points=1.0, output=tmp_path / "bundle")
    assert "--" not in str(caught.value)


@pytest.mark.parametrize("command", ["cost", "info"])
def test_a_place_that_cannot_be_written_is_named_without_options_that_are_not_there(
    here: Command, command: str
) -> None:
    named = ["xception_compact"] if command == "info" else []
    done = here(command, *named, "--json", "/proc/nothing/here.json")
    assert done.returncode == 3
    assert "/proc/nothing/here.json: cannot be written" in done.stderr
    assert "--output" not in done.stderr


def test_completion_without_shtab_asks_for_shtab_alone(tmp_path: Path) -> None:
    (tmp_path / "shtab.py").write_text("raise ImportError('not here')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", "xedge", "completion", "bash"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 6
    assert done.stderr == ("xedge: error: shtab makes the completions and is not installed: pip install shtab\n")


def test_an_artifact_that_no_runtime_opens_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match=r"no runtime opens \.json files; there are runtimes for \.tflite, \.onnx"
    ):
        choose_runtime(tmp_path / "graph.json")


def test_bundles_that_prepare_photos_differently_are_not_compared(
    here: Command, few_photos: Path, tmp_path: Path
) -> None:
    for crop in ("none", "center"):
        command = ("convert", "--target", "tflite", "--crop", crop, "--output", tmp_path / crop)
        done = here(*command, "--data", few_photos)
        assert done.returncode == 0, done.stderr
    done = here("verify", tmp_path / "none", tmp_path / "center")
    assert done.returncode == 3
    assert "prepares photos differently" in done.stderr
    assert "crop center" in done.stderr
    assert "crop none" in done.stderr
    assert "PASSED" not in done.stdout


@dataclass(frozen=True, kw_only=True)
class Inner:
    """An object in a document."""

    size: int


@dataclass(frozen=True, kw_only=True)
class Outer:
    """A document with unions."""

    batch: int | Literal["dynamic"]
    either: Inner | str | None
    many: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"batch": 3, "either": None}, Outer(batch=3, either=None)),
        ({"batch": "dynamic", "either": "words"}, Outer(batch="dynamic", either="words")),
        ({"batch": 1, "either": {"size": 2}}, Outer(batch=1, either=Inner(size=2))),
    ],
    ids=["number-and-null", "literal-and-text", "object"],
)
def test_a_union_is_read_by_the_member_that_fits(data: Any, expected: Outer) -> None:
    assert from_json(Outer, data) == expected


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"batch": 1.5, "either": None}, r"^\$\.batch: should be a whole number or 'dynamic', but is '1.5'$"),
        ({"batch": 1, "either": [], "many": []}, r"^\$\.either: should be Inner or a text or null, but is '\[\]'$"),
        (
            {"batch": 1, "either": None, "many": [{"size": 1, "secret": "x" * 500}]},
            r"^\$\.many\[0\]\.secret: is not a field that this version of xedge knows$",
        ),
    ],
    ids=["no-member-fits", "no-object-fits", "unknown-field"],
)
def test_what_is_wrong_is_named_by_its_place_alone(data: Any, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        from_json(Outer, data)


def test_everything_that_the_face_names_can_be_imported_from_it() -> None:
    """Types in the signatures of public functions and methods are public themselves, or of the standard library."""
    import inspect
    import typing

    public = {id(getattr(api, name)): name for name in api.__all__}
    foreign = ("builtins", "typing", "types", "pathlib", "collections.abc", "numpy", "PIL.Image", "tempfile")

    def check(hint: Any, where: str) -> None:
        for part in typing.get_args(hint):
            if not isinstance(part, str | int | list):
                check(part, where)
            elif isinstance(part, list):
                for one in part:
                    check(one, where)
        if inspect.isclass(hint) and not typing.get_args(hint):
            assert id(hint) in public or hint.__module__.startswith(foreign), f"{where} names {hint}"

    walked = 0
    for name in set(api.__all__) - {"__version__"}:
        thing = getattr(api, name)
        functions: list[Any] = [thing] if inspect.isfunction(thing) else []
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            functions += [one for at, one in vars(thing).items() if inspect.isfunction(one) and not at.startswith("_")]
            functions += [one.fget for one in vars(thing).values() if isinstance(one, property)]
        for function in functions:
            for argument, hint in _hints(function).items():
                walked += 1
                check(hint, f"{name}.{argument}")
    assert walked > 100
    assert set(api.__all__) == set(dir(api))


def _hints(function: Any) -> dict[str, Any]:
    """The resolved annotations of a function, of its options where it takes a dataclass of them."""
    import dataclasses
    import typing

    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is None:
        return typing.get_type_hints(function)
    hints = typing.get_type_hints(wrapped)
    options = hints.pop("options")
    assert dataclasses.is_dataclass(options)
    return {**typing.get_type_hints(options), **hints}
