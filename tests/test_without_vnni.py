"""int8 on an x86 processor without VNNI, where kernels add two products in 16 bits: QEMU's, with AVX2 alone."""

from __future__ import annotations

import platform
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import conformance
from tests.emulation import PROGRAM, emulated
from xedge.converters import Form, find_target, targets
from xedge.quantization import recipe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the packages here are of another processor"),
    pytest.mark.skipif(shutil.which(PROGRAM) is None, reason="needs qemu-x86_64, of Debian's package qemu-user"),
]
TARGETS = [target.name for target in targets() if target.rules.pairs and conformance.runs_here(target.name)]
SIZES = ((1, 64), (3, 16), (3, 5), (3, 3))
SCRIPT = """
import sys
from pathlib import Path

import numpy as np

from xedge.runtimes import Settings, choose_runtime

for artifact in map(Path, sys.argv[1:]):
    session = choose_runtime(artifact).open(artifact, Settings(threads=1))
    np.save(artifact.with_suffix(".got.npy"), session.run(np.load(artifact.with_suffix(".given.npy"))))
"""


@pytest.mark.parametrize("target", TARGETS)
def test_the_largest_products_do_not_overflow(target: str, tmp_path: Path) -> None:
    assert max(errors(target, tmp_path, pairs=True)) <= 0.01


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_without_the_rule_for_pairs_they_do(target: str, tmp_path: Path) -> None:
    assert max(errors(target, tmp_path, pairs=False)) > 0.1


def errors(target: str, folder: Path, *, pairs: bool) -> list[float]:
    """Return the relative errors of convolutions whose activations and weights are the largest of their tensors."""
    found, artifacts = find_target(target), []
    for size, inputs in SIZES:
        rules = replace(found.rules, pairs=pairs)
        graph, plan = recipe.int8(*conformance.largest_products(size, inputs), rules=rules)
        for suffix, data in found.convert(graph, Form(precision="int8"), plan).items():
            (folder / f"{size}x{inputs}{suffix}").write_bytes(data)
        artifacts.append(folder / f"{size}x{inputs}{found.suffix}")
        given = conformance.fed(np.ones((6, 6, inputs), np.float32), target)
        np.save(artifacts[-1].with_suffix(".given.npy"), given)
    emulated("-c", SCRIPT, *artifacts)
    got = [np.load(artifact.with_suffix(".got.npy")) for artifact in artifacts]
    return [
        float(np.abs(row / (size * size * inputs) - 1).max()) for row, (size, inputs) in zip(got, SIZES, strict=True)
    ]
