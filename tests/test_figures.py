"""The pictures of the docs show what is measured: they are drawn again, and their numbers compared."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
IMAGES = DOCS / "images"
LARGEST_BYTES = 150_000
LEAST_ALT = 40
# A phone shows pictures 360 pixels wide: letters of 11 points then have 8 at least.
WIDEST_POINTS = 480


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """The numbers in the pictures, by the names of the pictures."""
    numbers: dict[str, Any] = json.loads((IMAGES / "figures.json").read_text())
    return numbers


def test_every_picture_is_small_and_says_in_words_what_it_shows() -> None:
    pages = "".join(page.read_text() for page in DOCS.rglob("*.md"))
    alternatives = {name: alt for alt, name in re.findall(r"!\[([^]]*)\]\((?:\.\./)?images/([^)]+)\)", pages)}
    pictures = [path for path in IMAGES.iterdir() if path.suffix in (".svg", ".png")]
    assert {path.name for path in pictures} == set(alternatives)
    assert [path.name for path in pictures if path.stat().st_size > LARGEST_BYTES] == []
    wide = re.compile(r'<svg[^>]* width="([\d.]+)pt"')
    widths = {path.name: float(wide.findall(path.read_text())[0]) for path in pictures if path.suffix == ".svg"}
    assert [name for name, width in widths.items() if width > WIDEST_POINTS] == []
    assert [name for name, alt in alternatives.items() if len(alt) < LEAST_ALT] == []


def test_the_picture_of_the_variants_has_the_numbers_of_the_page(shown: dict[str, Any]) -> None:
    figures = runpy.run_path(str(DOCS / "figures.py"))
    page = (DOCS / "lecture-notes.md").read_text()
    assert shown["variants"] == figures["variants"](page)
    assert len(shown["variants"]) == 8
    assert shown["variants"] != figures["variants"](page.replace("| 237 |", "| 238 |"))


def test_the_picture_of_other_tools_has_the_numbers_of_the_comparison(shown: dict[str, Any]) -> None:
    measured = json.loads((DOCS / "peers.json").read_text())
    figures = runpy.run_path(str(DOCS / "figures.py"))
    assert shown["peers"] == figures["peers"](measured)
    assert sum(len(artifacts) for artifacts in shown["peers"].values()) == 8
    measured["rows"][3]["tv_percent"] += 1
    assert shown["peers"] != figures["peers"](measured)


def test_the_page_says_what_the_pictures_of_int8_show(shown: dict[str, Any]) -> None:
    page = (DOCS / "quantization.md").read_text()
    chosen, extremes = shown["histogram"]["chosen"], shown["histogram"]["extremes"]
    assert f"{(extremes[1] - extremes[0]) / (chosen[1] - chosen[0]):.1f} times finer" in page
    assert f"{100 * shown['histogram']['beyond']:.3f} % of the weight" in page
    assert f"(`{shown['channels']['layer'].removesuffix('/depthwise')}`)" in page
    noise = shown["noise"]
    worse = [a < w for a, w in zip(noise["activations_db"], noise["weights_db"], strict=True)]
    assert sum(worse) >= len(worse) - 2


@pytest.mark.slow
def test_drawing_again_gives_the_same_numbers(shown: dict[str, Any], tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, DOCS / "figures.py", "--output", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "figures.json").read_text())
    assert again["cost"] == shown["cost"]
    for when in ("before", "after"):
        for bound in ("low", "high"):
            assert again["channels"][when][bound] == pytest.approx(shown["channels"][when][bound], abs=0.05)
    assert again["histogram"]["tensor"] == shown["histogram"]["tensor"]
    assert again["histogram"]["chosen"] == pytest.approx(shown["histogram"]["chosen"], rel=0.08)
    assert again["noise"]["layers"] == shown["noise"]["layers"]
    # Sums in another order round other values: other processors differ by a part of a decibel.
    assert again["noise"]["alone_db"] == pytest.approx(shown["noise"]["alone_db"], abs=1)
    assert again["noise"]["everything_db"] == pytest.approx(shown["noise"]["everything_db"], abs=1)
    for picture in IMAGES.glob("*.svg"):
        assert (tmp_path / picture.name).read_text().startswith("<?xml")
