"""What a manifest says of an artifact: where it comes from, what it takes and gives, how it was made."""

from __future__ import annotations

import importlib.metadata
from contextlib import suppress
from dataclasses import asdict, replace

from xedge._version import __version__
from xedge.bundle.manifest import (
    SCHEMA_VERSION,
    CalibrationInfo,
    Gate,
    Golden,
    Manifest,
    ModelInfo,
    RangeCoverage,
    Rung,
)
from xedge.conversion.artifact import Artifact
from xedge.conversion.calibrated import Calibrated
from xedge.conversion.reference import GraphReference
from xedge.conversion.subject import GOLDEN_PHOTOS, Subject
from xedge.converters import Target
from xedge.files import sha256
from xedge.photos.preprocess import Preprocessing
from xedge.photos.sets import CalibrationSet, PhotoSet
from xedge.quantization.coverage import Coverage
from xedge.quantization.gate import Budget, Climb, Made
from xedge.quantization.plan import Plan
from xedge.sources import Source
from xedge.vocabulary import BARE, CALIBRATED

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


def manifest_of(calibrated: Calibrated, target: Target, made: Artifact) -> Manifest:
    """Return what a bundle says of an artifact, but for what is measured of it."""
    subject, form = calibrated.subject, made.form
    reference = subject.reference
    # The plan whose integers the artifact takes and gives.
    ends = made.plan if form.io != "float32" else None
    bare = ends is not None or (subject.request.options.logits and isinstance(reference, GraphReference))
    photos = calibrated.photos if form.precision in CALIBRATED else None
    return Manifest(
        schema_version=SCHEMA_VERSION,
        xedge_version=__version__,
        target=target.name,
        precision=form.precision,
        artifact=made.files[0].name,
        model=_model_info(subject),
        input=reference.input_spec(target, form, ends),
        output=reference.output_spec(form, ends),
        output_kind=BARE[reference.output_kind] if bare else reference.output_kind,
        preprocessing=_preprocessing(subject.preprocessing, made, ends),
        labels_known=subject.labels_known,
        recipe=made.recipe,
        calibration=_calibration_info(photos, made.coverage) if photos is not None else None,
        tools=versions(),
        accuracy=None,
        gate=None,
        speed=None,
        own_size=calibrated.own_size,
        golden=Golden(
            photos=tuple(f"golden/{i}.png" for i in range(GOLDEN_PHOTOS)),
            tolerance=target.tolerance(form.precision, half=form.half),
        ),
        files={},
    )


def _model_info(subject: Subject) -> ModelInfo:
    reference, source = subject.reference, subject.request.source
    return ModelInfo(
        name=source.name,
        source=str(source),
        weights_sha256=reference.weights_sha256,
        parameters=reference.parameters,
        classes=reference.classes,
        file_sha256=_file_digest(source),
    )


def _file_digest(source: Source) -> str | None:
    return sha256(source.path) if source.path is not None and source.path.is_file() else None


def _preprocessing(whole: Preprocessing, made: Artifact, ends: Plan | None) -> Preprocessing:
    """What is left of the preprocessing for the runner to do."""
    if ends is not None and ends.input_shift:
        # The integers are the pixels themselves, or pixel - 128; the artifact's biases know the shift.
        assert whole.pixel is not None
        return replace(whole, offset=(whole.pixel[1] + ends.input_shift,))
    return replace(whole, scale=(1.0,), offset=(0.0,)) if made.form.pixels is not None else whole


def _calibration_info(photos: CalibrationSet, coverage: Coverage | None) -> CalibrationInfo:
    """Return which photos fixed the ranges or rounded the weights, and whether the ranges fit others."""
    return CalibrationInfo(
        source=photos.source,
        photos=len(photos),
        sha256=photos.digest(),
        seed=photos.seed,
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
        source=photos.name,
        sha256=photos.digest(),
        max_drop_points=budget.max_drop_points,
        min_agreement=budget.min_agreement,
        rungs=rungs,
        chosen=climbed.chosen,
        verdict=climbed.outcome.verdict,
        out_of_time=climbed.out_of_time,
    )
