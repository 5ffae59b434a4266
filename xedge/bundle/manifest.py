"""What a bundle says of itself: ``manifest.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from xedge.codec import from_json, to_json
from xedge.errors import BundleError
from xedge.metrics import Accuracy, Agreement, Drop
from xedge.photos.preprocess import Preprocessing
from xedge.vocabulary import IoType, Precision

SCHEMA_VERSION = 3


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One end of the artifact.

    Args:
        name: the tensor's name.
        shape: with batch, which is -1 if it is free.
        dtype: ``float32``, ``int8`` or ``uint8``.
        layout: ``NHWC`` or ``NCHW`` for photos, None for vectors.
        scale, zero_point: of an integer tensor.
    """

    name: str
    shape: tuple[int, ...]
    dtype: IoType
    layout: Literal["NHWC", "NCHW"] | None = None
    scale: float | None = None
    zero_point: int | None = None

    def __post_init__(self) -> None:
        if (self.dtype != "float32") != (self.scale is not None and self.zero_point is not None):
            raise ValueError(f"{self.name}: scale and zero_point go with integers, and integers with them")


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Where the artifact comes from.

    Args:
        name: for files and reports.
        source: the file or the built-in name.
        weights_sha256: over the names, shapes and values of the folded weights.
        parameters: weights and biases, batch normalization folded.
        classes: width of the output.
        file_sha256: of the model file, where there is one.
    """

    name: str
    source: str
    weights_sha256: str
    parameters: int
    classes: int
    file_sha256: str | None


@dataclass(frozen=True, kw_only=True)
class RangeCoverage:
    """Shares of values beyond the ranges, of the calibration photos and of those that accuracy is told of."""

    calibrated: float
    evaluated: float
    worst: str
    worst_share: float
    fits: bool


@dataclass(frozen=True, kw_only=True)
class CalibrationInfo:
    """The photos that fixed the ranges; ``seed`` chose them among more.

    Args:
        source, photos, sha256, seed: which photos.
        coverage: whether the ranges fit the photos that accuracy is told of; None without any.
    """

    source: str
    photos: int
    sha256: str
    seed: int | None
    coverage: RangeCoverage | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the artifact was made.

    Args:
        way: ``reference graph``, or the library whose converter was used instead.
        reason: why a library's converter was used; None otherwise.
        activations, weights: how they were quantized; None in float.
        float_nodes: nodes left in float in an int8 artifact.
    """

    way: str
    reason: str | None = None
    activations: str | None = None
    weights: str | None = None
    float_nodes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HostAccuracy:
    """What was measured on the host when the artifact was made."""

    data: str
    sha256: str
    artifact: Accuracy
    reference: Accuracy
    agreement: Agreement

    @property
    def drop_points(self) -> float:
        """Top-1 of the reference minus top-1 of the artifact, in percentage points."""
        return 100 * (self.reference.top1 - self.artifact.top1)


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One attempt to keep a budget.

    Args:
        name: what was tried.
        agreement, drop: what it scored on the selection photos.
        verdict: of the budget.
        seconds: that making and scoring it took.
        ms: median of one inference on the host meanwhile.
        in_float: layers that it moved to float.
    """

    name: str
    agreement: Agreement
    drop: Drop | None
    verdict: str
    seconds: float
    ms: float
    in_float: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Gate:
    """How the artifact was chosen to keep a budget.

    Args:
        photos: how many selection photos; none of them calibrated on or reported.
        source: where they come from.
        max_drop_points, min_agreement: the budget; None demands nothing.
        rungs: what was tried, in order.
        chosen: index of what the bundle holds.
        verdict: ``met``, ``not met`` or ``too few photos to decide``, by 95 % intervals.
        out_of_time: whether the time budget left rungs untried.
    """

    photos: int
    source: str
    max_drop_points: float | None
    min_agreement: float | None
    rungs: tuple[Rung, ...]
    chosen: int
    verdict: Literal["met", "not met", "too few photos to decide"]
    out_of_time: bool


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One inference on the host beside the same model in fp32, timed in turns.

    Args:
        ms, float_ms: medians.
        ratio: median of artifact over float, and the 5 % and 95 % quantiles over the turns.
        threads: of both.
    """

    ms: float
    float_ms: float
    ratio: tuple[float, float, float]
    threads: int

    @property
    def pays(self) -> bool | None:
        """Whether it is faster than in float; None if the turns do not agree."""
        _, low, high = self.ratio
        return True if high < 1 else False if low > 1 else None


@dataclass(frozen=True, kw_only=True)
class Golden:
    """The self-test: photos in ``golden/``, outputs in ``golden/outputs.npz``, and how far they may differ."""

    photos: tuple[str, ...]
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle says of itself.

    Args:
        schema_version: of this document.
        xedge_version: that wrote it.
        target, precision: of the artifact.
        artifact: the file that a runtime opens.
        model: where it comes from.
        input, output: its ends.
        output_kind: what the output holds; of logits the runner takes the softmax.
        preprocessing: from a photo to the input.
        labels_known: whether labels.txt has the classes' names, or numbers.
        recipe: how it was made.
        calibration: the photos that fixed int8 ranges; None in float.
        tools: versions of the packages that made it.
        accuracy: on the host; None without labelled photos.
        gate: how a budget was kept; None without one.
        speed: beside fp32 on the host; None where it was not timed.
        golden: the self-test.
        files: sha256 of every other file in the bundle.
    """

    schema_version: int
    xedge_version: str
    target: str
    precision: Precision
    artifact: str
    model: ModelInfo
    input: TensorSpec
    output: TensorSpec
    output_kind: Literal["probabilities", "logits"]
    preprocessing: Preprocessing
    labels_known: bool
    recipe: Recipe
    calibration: CalibrationInfo | None
    tools: dict[str, str]
    accuracy: HostAccuracy | None
    gate: Gate | None
    speed: Speed | None
    golden: Golden
    files: dict[str, str]

    def dumps(self) -> str:
        """Return the JSON text."""
        return json.dumps(to_json(self), indent=2) + "\n"


def loads(text: str) -> Manifest:
    """Return the manifest of a JSON text.

    Raises:
        BundleError: it is no JSON, of another schema version, or a field is wrong.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BundleError(f"not JSON ({error})") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(f"$.schema_version: this xedge reads version {SCHEMA_VERSION}, the bundle has {version}")
    return from_json(Manifest, data)
