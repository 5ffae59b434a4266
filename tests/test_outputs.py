"""No output replaces an input or somebody else's file, and what is written is whole at every moment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Command
from xedge.bundle.reading import open_bundle
from xedge.bundle.writing import is_file_name
from xedge.cli.outputs import INPUTS, MARKS
from xedge.cli.parser import commands_of, parsed, parser
from xedge.errors import BundleError, InputError
from xedge.files import NEW, OLD, new_folder, set_aside
from xedge.models.compact import embedded

PHOTO = embedded.test_photos().files[0]


@pytest.mark.parametrize(
    ("words", "document", "rest"),
    [
        ("convert --target tflite --json model.keras", "-", {"model": "model.keras"}),
        ("run --json a.zip", "-", {"bundles": [Path("a.zip")]}),
        ("run a.zip --json", "-", {}),
        ("run a.zip --json out.json", "out.json", {}),
        ("run --json - a.zip", "-", {"bundles": [Path("a.zip")]}),
        ("run --json=out.txt a.zip", "out.txt", {}),
        ("info --js model.keras", "-", {"thing": "model.keras"}),
        ("predict a --json -- --json", "-", {"photos": [Path("--json")]}),
    ],
)
def test_json_takes_the_next_word_only_if_it_is_a_name_for_json(
    words: str, document: str, rest: dict[str, object]
) -> None:
    options = parsed(words.split())
    assert options.json == document
    assert {name: getattr(options, name) for name in rest} == rest


@pytest.fixture
def mine(bundles: Path, tmp_path: Path) -> Path:
    """A folder with a copy of a bundle, a run of it, and files that xedge did not write."""
    shutil.copytree(bundles / "tflite_fp32", tmp_path / "bundle")
    (tmp_path / "mine.json").write_text('{"mine": 1}')
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("info", "bundle", "--json", "mine.json"), "xedge info did not write the file that is there"),
        (("info", "bundle", "--json=bundle/labels.txt"), "xedge info did not write the file that is there"),
        (("compare", "--json", "run.json", "run.json", "run.json"), "this is also an input"),
        (("report", "run.json", "-o", "run.json"), "this is also an input"),
        (("report", "run.json", "-o", "mine.html"), "xedge report did not write the file that is there"),
        (("run", "bundle", "--json=."), "it is a folder"),
        (("run", "bundle", "--json=/proc/x"), "cannot be written"),
        (("convert", "--target", "tflite", "--output", "mine.html"), "it exists and is not a bundle"),
        (("convert", "--target", "tflite", "--output", ".."), "has to end in the name of the bundle"),
        (("convert", "--target", "tflite", "--output", "..", "--zip"), "has to end in the name of the bundle"),
        (("convert", "--target", "tflite", "--output", "a\\b"), "could not be copied everywhere"),
        (("convert", "--target", "tflite", "--zip", "--output", "other"), "it exists and is not a bundle's zip"),
    ],
)
def test_what_would_be_lost_is_refused_before_the_work(
    words: tuple[str, ...], message: str, mine: Path, document: Path, here: Command
) -> None:
    shutil.copy(document, mine / "run.json")
    (mine / "other.zip").write_text("mine")
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    done = here(*words, cwd=mine)
    assert done.returncode in (3, 7)
    assert message in done.stderr
    assert done.stdout == ""
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before


@pytest.fixture(name="document")
def _document(document: object) -> Path:
    assert callable(document)
    path = document("run_fp32")
    assert isinstance(path, Path)
    return path


def test_own_documents_are_written_again_and_others_by_force(mine: Path, here: Command) -> None:
    assert here("info", "bundle", "--json", "out.json", cwd=mine).returncode == 0
    assert here("info", "bundle", "--json", "out.json", cwd=mine).returncode == 0
    assert here("predict", "bundle", PHOTO, "--json", "out.json", cwd=mine).returncode == 3
    assert here("predict", "bundle", PHOTO, "--json", "out.json", "--force", cwd=mine).returncode == 0
    assert json.loads((mine / "out.json").read_text())[0]["photo"] == str(PHOTO)


def test_what_was_measured_is_printed_even_if_the_file_cannot_be_written(mine: Path, xedge: Command) -> None:
    done = xedge("predict", "bundle", PHOTO, "--json=/dev/full", cwd=mine)
    assert done.returncode == 7
    assert str(PHOTO) in done.stdout
    assert "no space left" in done.stderr


def test_a_bundle_with_files_of_the_users_is_not_replaced(mine: Path, here: Command) -> None:
    (mine / "bundle" / "thesis.txt").write_text("mine")
    done = here("convert", "--target", "tflite", "--output", "bundle", cwd=mine)
    assert done.returncode == 3
    assert "the bundle there also holds thesis.txt, which would be lost" in done.stderr
    assert (mine / "bundle" / "thesis.txt").read_text() == "mine"


def test_a_folder_with_another_kind_of_manifest_is_not_replaced(mine: Path, here: Command) -> None:
    (mine / "site").mkdir()
    (mine / "site" / "manifest.json").write_text('{"name": "a web application"}')
    done = here("convert", "--target", "tflite", "--output", "site", cwd=mine)
    assert done.returncode == 3
    assert "its manifest.json is not that of a bundle" in done.stderr


def test_a_file_that_is_not_listed_is_refused(mine: Path) -> None:
    (mine / "bundle" / "weights.bin").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"weights\.bin: is not listed in manifest\.json; remove it"):
        open_bundle(mine / "bundle")


def test_what_a_killed_process_left_is_put_back_and_removed(mine: Path) -> None:
    bundle = mine / "bundle"
    number = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    gone = number.stdout.strip()
    bundle.rename(mine / f".bundle{OLD}{gone}.abc")
    (mine / f".bundle{NEW}{gone}.abc").mkdir()
    assert set_aside(bundle) is not None
    with pytest.raises(InputError, match="was killed; the bundle is whole in"):
        open_bundle(bundle)
    with suppress(RuntimeError), new_folder(bundle):
        assert open_bundle(bundle).manifest.target == "tflite"
        raise RuntimeError
    assert [path.name for path in mine.iterdir() if "xedge" in path.name] == []
    assert open_bundle(bundle).manifest.target == "tflite"


def test_what_a_running_process_writes_is_left_alone(tmp_path: Path) -> None:
    destination = tmp_path / "bundle"
    with new_folder(destination) as first:
        (first / "a").write_text("first")
        with new_folder(destination) as second:
            (second / "a").write_text("second")
        assert first.exists()
    assert (destination / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    with new_folder(tmp_path / "link") as folder:
        (folder / "a").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "a").read_text() == "new"


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream_gets_no_file_of_the_users(closed: int, mine: Path) -> None:
    command = [str(Path(sys.executable).with_name("xedge")), "predict", "bundle", str(PHOTO), "--json=out.json"]
    done = subprocess.run(
        command, cwd=mine, preexec_fn=lambda: os.close(closed), stderr=subprocess.PIPE if closed == 1 else None
    )
    if closed == 1:
        assert done.returncode == 7
        assert b"standard output is closed" in done.stderr
        assert not (mine / "out.json").exists()
    else:
        assert done.returncode == 0
        assert json.loads((mine / "out.json").read_text())


@pytest.mark.parametrize("name", ["a\\b", "a\x1b[31mb", "a\nb", "caf\udce9", "é" * 100])
def test_a_model_of_any_name_makes_a_bundle_that_opens(name: str, here: Command, tmp_path: Path) -> None:
    shutil.copy(embedded.MODEL, tmp_path / f"{name}.keras")
    done = here("convert", f"{name}.keras", "--target", "tflite", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (made,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert is_file_name(made.name)
    assert is_file_name(open_bundle(made).artifact.name)
    assert here("predict", made, PHOTO).returncode == 0


# Paths that are neither read nor checked as outputs of the command line: folders of bundles, which converting checks.
NOT_INPUTS = {"output", "page", "json", *MARKS}


def test_every_path_of_the_command_line_is_known_as_an_input_or_an_output() -> None:
    paths = {
        action.dest
        for command in commands_of(parser()).values()
        for action in command._actions
        if action.type is Path or action.metavar in ("MODEL", "MODEL|ARTIFACT|BUNDLE", "imagenet|FILE")
    }
    assert paths - NOT_INPUTS <= set(INPUTS)
    assert {"model", "bundle", "photos", "documents", "weights"} <= paths
