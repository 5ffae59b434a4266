"""The docs are true: generated pages are the program's, links hold, code runs, commands parse, messages are real."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from tests.conftest import FEW_FOR_CALIBRATION, Command
from xedge.cli.parser import parsed
from xedge.errors import XedgeError
from xedge.models.compact import embedded

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"]
PAGES += sorted([*DOCS.glob("*.md"), *DOCS.glob("boards/*.md")])


def test_generated_pages_are_what_the_program_says() -> None:
    done = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_hold(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_architecture_pages_code_runs() -> None:
    """In the order of the page, in one namespace, with Keras' light backend as a command has it."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "architecture.md").read_text(), re.DOTALL)
    assert len(blocks) >= 5
    script = "import os\nos.environ['KERAS_BACKEND'] = 'openvino'\n" + "\n".join(blocks)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command of xedge in an indented block of the docs, with its page.

    Those that show a choice in brackets are no commands.
    """
    for page in PAGES:
        for line in page.read_text().replace("\\\n", " ").splitlines():
            if line.startswith("    xedge ") and "[" not in line:
                for one in re.split(r";|&&", line.split("#")[0].split(" > ")[0]):
                    yield page.name, " ".join(one.split())


@pytest.mark.parametrize(
    ("page", "command"),
    [pytest.param(page, one, id=f"{page}: {one.removeprefix('xedge ')}") for page, one in commands()],
)
def test_commands_parse(page: str, command: str) -> None:
    words = [word for word in shlex.split(command)[1:] if word != "..."]
    try:
        parsed(words)
    except XedgeError as error:
        raise AssertionError(f"{page}: {command}: {error}") from error


def test_error_messages_in_the_docs_are_real() -> None:
    source = " ".join(path.read_text() for path in (ROOT / "xedge").rglob("*.py"))
    source = re.sub(r'"\s*f?"', "", source)  # a message may be written in pieces
    table = re.findall(r"^\| `([^`]+)` \|", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(table) > 15
    assert [message for message in table if message not in source] == []


def test_schemas_have_identifiers_of_their_own() -> None:
    schemas = [json.loads(path.read_text()) for path in (ROOT / "xedge" / "schemas").glob("*.json")]
    assert len(schemas) > 15
    assert {path.resolve() for path in (DOCS / "schemas").glob("*.json")} == set(
        (ROOT / "xedge" / "schemas").resolve().glob("*.json")
    )
    identifiers = [schema["$id"] for schema in schemas]
    assert len(set(identifiers)) == len(schemas)
    for schema in schemas:
        jsonschema.Draft202012Validator.check_schema(schema)
        assert re.fullmatch(r"urn:xedge:schema:[a-z-]+:\d+", schema["$id"])


@pytest.mark.slow
def test_documents_fit_their_schemas(here: Command, bundles: Path, tmp_path: Path) -> None:
    written = {
        "run": ("run", bundles / "tflite_int8", "--runs", 5, "--limit", 10),
        "verify": ("verify", bundles / "tflite_int8", bundles / "tflite_fp32", "--limit", 5),
        "reproduce": ("reproduce", bundles / "tflite_fp32"),
        "analyze": ("analyze", "--photos", 2, *FEW_FOR_CALIBRATION),
        "cost": ("cost",),
        "doctor": ("doctor",),
        "compare": (
            *("compare", bundles / "tflite_int8", bundles / "tflite_fp32"),
            *("--rounds", 3, "--runs", 5, "--limit", 5),
        ),
        "explain": ("explain", bundles / "tflite_int8"),
        "bundle": (*("convert", "--target", "tflite"), *("--output", tmp_path / "made")),
        "predict": ("predict", bundles / "tflite_int8", next(embedded.ROOT.glob("test/pants/*.jpg"))),
        "benchmark": ("benchmark", "--target", "tflite", "--precision", "fp16", "--rounds", 1, "--runs", 5),
    }
    manifest = json.loads((bundles / "tflite_int8" / "manifest.json").read_text())
    jsonschema.validate(manifest, json.loads((DOCS / "schemas" / "manifest.json").read_text()))
    for name, command in written.items():
        done = here(*command, "--json", tmp_path / f"{name}.json")
        assert done.returncode == 0, done.stderr
        document = json.loads((tmp_path / f"{name}.json").read_text())
        if isinstance(document, list):
            (document,) = document
        assert document["schema"].startswith(f"xedge.{name}/")
        schema = json.loads((DOCS / "schemas" / f"{name}.json").read_text())
        jsonschema.validate(document, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**document, "nonsense": 1}, schema)
