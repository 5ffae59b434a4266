"""What a manifest says of an artifact: where it comes from, its ends, how it was made."""

from __future__ import annotations

import importlib.metadata
from contextlib import suppress
from dataclasses import asdict
from typing import Literal

from xedge import __version__
from xedge.data import CalibrationSet, PhotoSet
from xedge.files import sha256
from xedge.graph.fold import without_softmax
from xedge.manifest import CalibrationInfo, Gate, ModelInfo, RangeCoverage, Recipe, Rung, TensorSpec
from xedge.quantization import recipe
from xedge.quantization.affine import Affine
from xedge.quantization.coverage import Coverage
from xedge.quantization.gate import Budget, Climb, Made
from xedge.quantization.plan import Plan
from xedge.reference import Reference
from xedge.sources import Source
from xedge.target import Form, Library, Target, find_library

TOOLS = (
    "numpy",
    "pillow",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "onnxruntime",
    "onnx",
    "openvino",
    "ai-edge-litert",
    "litert-quantizer",
    "tf2onnx",
    "nncf",
)


def model_info(source: Source, reference: Reference) -> ModelInfo:
    """Return where the artifact comes from."""
    return ModelInfo(
        name=source.name,
        source=str(source),
        weights_sha256=reference.weights_sha256,
        parameters=reference.parameters,
        classes=reference.classes,
        file_sha256=_file_digest(source),
    )


def library_recipe(library: Library, form: Form, reason: str | None) -> Recipe:
    """Return how a library's converter made an artifact, and why it was asked."""
    quantized = form.precision in ("int8", "dynamic")
    way = f"{library.WAY} and {library.QUANTIZER}" if quantized else library.WAY
    return Recipe(way=way, reason=reason)


def graph_recipe(target: Target, form: Form, plan: Plan | None) -> Recipe:
    """Return how an artifact was made of the reference graph."""
    weights, activations = target.precisions[form.precision]
    if plan is not None:
        weights = f"{weights}, {recipe.WEIGHTS}{f', {recipe.PAIRS}' if target.pairs else ''}"
        activations = f"{activations}, {recipe.ACTIVATIONS}"
        if any(plan.is_dynamic(name) for name in plan.kernels):
            activations = f"{activations}, {recipe.BRANCHES}"
    return Recipe(
        way="reference graph",
        activations=activations,
        weights=weights,
        float_nodes=tuple(sorted(plan.float_nodes - set(plan.kernels))) if plan is not None else (),
    )


def input_spec(reference: Reference, target: Target, form: Form, plan: Plan | None) -> TensorSpec:
    """The artifact's input: its name in the graph, and its integers if it takes them."""
    height, width, channels = reference.input_shape
    layout = target.layout if reference.graph is not None else find_library(target.name).LAYOUT
    photo = (height, width, channels) if layout == "NHWC" else (channels, height, width)
    name = reference.graph.input.name if reference.graph is not None else "input"
    if form.pixels is not None:
        pixels = (_photos(form), *photo)
        return TensorSpec(name=name, shape=pixels, dtype="uint8", layout=layout, scale=1.0, zero_point=0)
    affine = plan.activations[name] if plan is not None else None
    return _end(name, (_photos(form), *photo), form, affine, layout)


def output_spec(reference: Reference, form: Form, plan: Plan | None) -> TensorSpec:
    """The artifact's output, likewise."""
    graph = reference.graph
    name = graph.output_name if graph is not None else "output"
    affine = plan.activations[without_softmax(graph).output] if plan is not None and graph is not None else None
    return _end(name, (_photos(form), reference.classes), form, affine, None)


def _photos(form: Form) -> int:
    return -1 if form.batch == "dynamic" else form.batch


def _end(
    name: str, shape: tuple[int, ...], form: Form, affine: Affine | None, layout: Literal["NHWC", "NCHW"] | None
) -> TensorSpec:
    if affine is None:
        return TensorSpec(name=name, shape=shape, dtype="float32", layout=layout)
    zero_point = affine.zero_point + (128 if form.io == "uint8" else 0)
    return TensorSpec(name=name, shape=shape, dtype=form.io, layout=layout, scale=affine.scale, zero_point=zero_point)


def _file_digest(source: Source) -> str | None:
    return sha256(source.path) if source.path is not None and source.path.is_file() else None


def calibration_info(calibration: CalibrationSet | None, coverage: Coverage | None) -> CalibrationInfo | None:
    """Return which photos fixed the ranges, and whether these fit others."""
    if calibration is None:
        return None
    return CalibrationInfo(
        source=calibration.source,
        photos=len(calibration),
        sha256=calibration.digest(),
        seed=calibration.seed,
        coverage=RangeCoverage(**asdict(coverage), fits=coverage.fits) if coverage is not None else None,
    )


def versions() -> dict[str, str]:
    """Return the versions of the tools that are installed and may have had a hand in the artifact."""
    versions = {"xedge": __version__}
    for name in TOOLS:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def gate_info(climbed: Climb[Made], budget: Budget, photos: PhotoSet) -> Gate:
    """Return how an artifact was chosen to keep a budget."""
    rungs = tuple(
        Rung(
            name=one.rung,
            agreement=one.outcome.agreement,
            drop=one.outcome.drop,
            verdict=one.outcome.verdict,
            seconds=one.seconds,
            ms=one.ms,
            in_float=one.in_float,
        )
        for one in climbed.tries
    )
    return Gate(
        photos=len(photos.files),
        source=photos.root.name,
        max_drop_points=budget.max_drop_points,
        min_agreement=budget.min_agreement,
        rungs=rungs,
        chosen=climbed.chosen,
        verdict=climbed.outcome.verdict,
        out_of_time=climbed.out_of_time,
    )
