"""An artifact that was made, and what making one asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xedge.bundle.manifest import Recipe
from xedge.converters import Form, Target
from xedge.graph.ir import Graph
from xedge.quantization.coverage import Coverage
from xedge.quantization.plan import Plan
from xedge.types import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Artifact:
    """An artifact's files, and how they were made.

    Args:
        form: The form that was asked for.
        files: The files, the one that a runtime opens first.
        recipe: How they were made, for the manifest.
        graph: The graph that was written; None if a library's converter wrote the files.
        plan: The quantization plan of that graph; None in float, and if a library's converter wrote the files.
        coverage: How the ranges of the plan fit other photos; None if that was not looked at.
    """

    form: Form
    files: list[Path]
    recipe: Recipe
    graph: Graph | None = None
    plan: Plan | None = None
    coverage: Coverage | None = None


class Calibration(Protocol):
    """What converting a model to int8 or w4 asks of its photos."""

    def quantized(self, graph: Graph, target: Target, form: Form, in_float: tuple[str, ...]) -> tuple[Graph, Plan]:
        """Return an equal graph that quantizes well, and its plan."""

    def small_weights(self, graph: Graph, target: Target) -> Plan:
        """Return the plan of a graph with weights of 4 bits."""

    def inputs(self) -> Iterator[FloatArray]:
        """Yield the calibration photos as the model's input (H, W, C) float32."""


def written(path: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write an artifact's files.

    Args:
        path: Where, without a suffix.
        contents: The files' contents by suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(path.name + suffix) for suffix in contents]
    for file, data in zip(files, contents.values(), strict=True):
        file.write_bytes(data)
    return files
