"""The comparison with other tools: intervals have known values, pairs are of one photo, pages keep their parts."""

from __future__ import annotations

import importlib
import json
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DOCS = Path(__file__).parent.parent / "docs"
BENCHMARKS = DOCS.parent / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that imports a module of the benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_other_photos_are_as_the_normal_distribution_says(module: Any) -> None:
    values = np.random.default_rng(3).normal(2, 5, 400)
    mean, low, high = module("pooling").over_photos95([values[None]])
    half = 1.96 * values.std() / sqrt(400)
    assert mean == pytest.approx(values.mean())
    assert (mean - low, high - mean) == pytest.approx((half, half), rel=0.06)


def test_a_photo_counts_in_all_networks_of_its_set(module: Any) -> None:
    pooling, values = module("pooling"), np.random.default_rng(4).normal(0, 1, 100)
    alone = pooling.over_photos95([values[None]])
    # A second network that answers alike tells nothing new, and one that answers in opposite ways takes all doubt.
    assert pooling.over_photos95([np.stack([values, values])]) == pytest.approx(alone)
    assert pooling.over_photos95([np.stack([values, -values])]) == pytest.approx((0, 0, 0))
    # Photos of another set are drawn by themselves.
    other = pooling.over_photos95([values[None], -values[None]])
    assert other[2] - other[1] == pytest.approx((alone[2] - alone[1]) / sqrt(2), rel=0.06)


def test_other_networks_are_drawn_with_all_their_photos(module: Any) -> None:
    pooling, spread = module("pooling"), np.array([-1.0, 1.0, -2.0, 2.0])
    assert pooling.over_networks95([np.stack([spread, spread[::-1]])]) == (0, 0, 0)
    mean, low, high = pooling.over_networks95([np.zeros((1, 30)), np.ones((1, 10))])
    assert (mean, low, high) == (0.25, 0, 1)


def test_pooled_differences_are_paired_photo_by_photo(module: Any) -> None:
    kept = {
        "reference": np.array([0, 1, 2, 3]),
        "xedge_onnx_first": np.array([0, 1, 2, 0]),
        "xedge_onnx_tv": np.array([0.01, 0.02, 0.03, 0.04]),
        "ort_minmax_first": np.array([1, 1, 2, 3]),
        "ort_minmax_tv": np.array([0.02, 0.02, 0.05, 0.04]),
    }
    same, distance = module("family_pages").paired(kept, "onnx", "ort_minmax")
    assert same.tolist() == [100, 0, 0, -100]
    assert distance == pytest.approx([-1, 0, -2, 0])


def test_the_best_peer_has_the_lowest_tv_of_those_that_did_not_fail(module: Any) -> None:
    rows = {"xedge": {"tv": [0.1]}, "a": {"tv": [2.0]}, "b": {"tv": [1.0]}, "c": {"reason": "refused"}}
    assert module("family_pages").best_peer(rows) == "b"
    assert module("family_pages").best_peer({"xedge": {"tv": [0.1]}, "c": {"reason": "refused"}}) is None


def test_a_section_is_replaced_and_the_rest_of_the_page_kept(module: Any, tmp_path: Path) -> None:
    figures, page = module("family_figures"), tmp_path / "page.md"
    page.write_text("before\n\n<!-- here -->\nold\n<!-- /here -->\n\nafter\n")
    figures.write_section("here", [{"processor": "a processor"}], ["new"], page)
    written = "<!-- here -->\n\nMeasured on a processor.\n\nnew\n\n<!-- /here -->\n"
    assert page.read_text() == f"before\n\n{written}\nafter\n"
    assert figures.section("here", page) == written
    figures.write_section("here", [], [], page, "A heading")
    assert page.read_text().startswith("before\n\n<!-- here -->\n\n## A heading\n")


def test_the_cost_of_a_process_is_its_own(tmp_path: Path) -> None:
    import json
    import subprocess
    import sys

    held = bytearray(300_000_000)  # what this process holds is not what the command takes
    told, words = tmp_path / "cost.json", "import time; a = bytearray(80_000_000); time.sleep(0.3); raise SystemExit(3)"
    launcher = [sys.executable, "-I", "-S", str(BENCHMARKS / "process_cost.py"), str(told)]
    subprocess.run([*launcher, sys.executable, "-I", "-S", "-c", words])
    cost = json.loads(told.read_text())
    assert cost["returncode"] == 3
    assert 0.3 <= cost["seconds"] < 30
    assert cost["processor_seconds"] < cost["seconds"]
    assert 80 <= cost["peak_mb"] < 200 < len(held) / 1e6


def test_the_page_of_families_has_what_was_measured(module: Any) -> None:
    pages, page = module("family_pages"), (DOCS / "peers.md").read_text().splitlines()
    measured = [json.loads(file.read_text()) for file in (DOCS / "families").glob("*.json")]
    assert measured
    for one in measured:
        for target in pages.TARGETS:
            assert set(pages.lines_of(one, target)) <= set(page), one["name"]
