"""The manifest, ``manifest.json``, in which a bundle describes itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import Literal

from xedge.codec import from_json, parse_json, to_json
from xedge.errors import BundleError
from xedge.metrics import Accuracy, Agreement, Confusion, Drop, accuracy, agreement, drop
from xedge.photos.preprocess import Preprocessing
from xedge.types import FloatArray, IntArray
from xedge.vocabulary import ElementType, Layout, OutputKind, Precision, Ranges, artifact_name

SCHEMA_VERSION = 4
# The least and the greatest value of each type of integers.
RANGES = {"int8": (-128, 127), "uint8": (0, 255)}
# What a recipe says of an artifact that was not made by xedge.
WRAPPED = "wrapped"
# No photo, batch or list of classes is larger.
LARGEST_SIZE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """The input or output tensor of an artifact.

    Args:
        name: The name of the tensor.
        shape: The shape, batch included; the batch is -1 if it is dynamic.
        dtype: The type of the elements: ``float32``, ``float16``, ``int8`` or ``uint8``.
        layout: The layout of a batch of photos, ``NHWC`` or ``NCHW``; None for vectors.
        scale: The scale of an integer tensor; None for floats.
        zero_point: The zero point of an integer tensor; None for floats.
    """

    name: str
    shape: tuple[int, ...]
    dtype: ElementType
    layout: Layout | None = None
    scale: float | None = None
    zero_point: int | None = None

    def __post_init__(self) -> None:
        if (self.dtype in RANGES) != (self.scale is not None and self.zero_point is not None):
            raise ValueError(f"{self.name}: an integer tensor needs scale and zero_point, and floats have neither")
        if self.scale is not None and self.zero_point is not None:
            least, most = RANGES[self.dtype]
            if not (self.scale > 0 and least <= self.zero_point <= most):
                raise ValueError(f"{self.name}: scale has to be positive, and zero_point a value of {self.dtype}")
        if not self.shape or not (self.shape[0] == -1 or 1 <= self.shape[0] <= LARGEST_SIZE):
            raise ValueError(f"{self.name}: the batch has to be a number of photos, or -1")
        if not all(1 <= size <= LARGEST_SIZE for size in self.shape[1:]):
            raise ValueError(f"{self.name}: {self.shape} is no shape of a tensor")

    @property
    def photo_values(self) -> int:
        """The number of values for one photo; the output of some artifacts is a vector without a batch."""
        return self.shape[0] if len(self.shape) == 1 else prod(self.shape[1:])


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The model from which the artifact was made; for a wrapped artifact that of its reference, or else its own file.

    Args:
        name: The name of the model in file names and reports.
        source: The model file, or the name of a built-in network.
        weights_sha256: The sha256 over the names, shapes and values of the folded weights; for an artifact that was
            wrapped without a reference, over its files.
        parameters: The number of weights and biases after batch normalization was folded into them.
        classes: The number of classes, which is the width of the output.
        file_sha256: The sha256 of the model file; None if there is no file.
    """

    name: str
    source: str
    weights_sha256: str
    parameters: int
    classes: int
    file_sha256: str | None


@dataclass(frozen=True, kw_only=True)
class RangeCoverage:
    """How well the ranges from calibration cover the activations on the photos on which accuracy is measured.

    Args:
        calibrated: The share of values outside the ranges on the calibration photos, averaged over the tensors, 0 to 1.
        evaluated: The share of values outside the ranges on the photos on which accuracy is measured, averaged over the
            tensors, 0 to 1.
        worst: The name of the tensor whose share grows most from the calibration photos to the other photos.
        worst_share: The share of values of that tensor outside its range on the other photos, 0 to 1.
        fits: Whether the ranges fit the other photos.
        moved: How far the probabilities of the photos on which accuracy is measured move from float if tensors are
            rounded in the ranges, in total variation averaged over a few of the photos, 0 to 1; None in bundles of an
            xedge that did not measure it.
        moved_by_own: How far they move if the ranges are taken from these photos themselves; None in the same bundles.
    """

    calibrated: float
    evaluated: float
    worst: str
    worst_share: float
    fits: bool
    moved: float | None = None
    moved_by_own: float | None = None


@dataclass(frozen=True, kw_only=True)
class CalibrationInfo:
    """The calibration photos, from which the ranges of the activations were determined.

    Args:
        source: The folder or the built-in set from which the photos were taken.
        photos: The number of photos.
        sha256: The sha256 over the photos.
        seed: The seed with which the photos were drawn from a larger set; None if none were drawn.
        coverage: How well the ranges cover the photos on which accuracy is measured; None without such photos.
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
        way: ``reference graph`` if the artifact was made from it, ``wrapped`` if it was not made by xedge, otherwise
            the library whose converter was used.
        reason: The reason why a library's converter was used, or the file that was wrapped; None otherwise.
        activations: How the activations were quantized; None if they are in float.
        weights: How the weights were quantized; None if they are in float.
        ranges: Where the ranges of an int8 artifact come from, for targets that offer a choice: ``photo`` (each photo,
            at run time) or ``fixed`` (the calibration photos, and residual sums are integers too); None for the others.
        float_nodes: The names of the nodes that were left in float in an int8 or w4 artifact.
    """

    way: str
    reason: str | None = None
    activations: str | None = None
    weights: str | None = None
    ranges: Ranges | None = None
    float_nodes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Making:
    """What a bundle was made with, as far as the rest of the manifest does not say it, so that it can be made again.

    Args:
        precision: The precision that was asked for; to keep a budget, the artifact may have a larger one.
        ranges: Where the ranges of int8 were asked to come from, by ``--ranges`` or ``--for``; None where there was no
            choice.
        options: The other options of ``convert`` that were given and may change the bundle, by their names in Python.
            Paths are as they were given.
        model_in_memory: Whether the model was given in memory, so that no file of it is named.
        processor: The architecture of the processor, and its model where it is known.
        cores: The number of cores that the conversion could use.
    """

    precision: Precision
    ranges: Ranges | None
    options: dict[str, bool | int | float | str | tuple[int, int]]
    model_in_memory: bool
    processor: str
    cores: int


@dataclass(frozen=True, kw_only=True)
class HostAccuracy:
    """The accuracy that was measured on the host when the artifact was made.

    Args:
        data: The name of the set of photos on which it was measured.
        sha256: The sha256 over these photos.
        artifact: The accuracy of the artifact.
        reference: The accuracy of the float reference; None for an artifact that was wrapped without one.
        agreement: How close the artifact's probabilities are to those of the float reference; None without one.
        drop: What the artifact lost of the reference's top-1 accuracy, with McNemar's test; None without a reference
            and in bundles of an xedge that did not keep it.
    """

    data: str
    sha256: str
    artifact: Accuracy
    reference: Accuracy | None
    agreement: Agreement | None
    drop: Drop | None = None

    @classmethod
    def of(
        cls, rows: FloatArray, reference: FloatArray | None, truth: IntArray, *, data: str, sha256: str
    ) -> HostAccuracy:
        """Return the accuracy that probabilities show.

        Args:
            rows: The probabilities (N, classes) of the artifact.
            reference: The probabilities (N, classes) of the float reference on the same photos; None without one.
            truth: The indices (N,) of the true classes.
            data: The name of the set of photos.
            sha256: The sha256 over the photos.
        """
        return cls(
            data=data,
            sha256=sha256,
            artifact=accuracy(rows, truth),
            reference=None if reference is None else accuracy(reference, truth),
            agreement=None if reference is None else agreement(rows, reference),
            drop=None if reference is None else drop(rows, reference, truth),
        )

    @property
    def drop_points(self) -> float | None:
        """The top-1 accuracy of the reference minus that of the artifact, in percentage points; None without one."""
        return None if self.reference is None else 100 * (self.reference.top1 - self.artifact.top1)


@dataclass(frozen=True, kw_only=True)
class HostConfusion:
    """What was answered to the photos of each class when the accuracy was measured on the host.

    It is kept in ``confusion.json``, because it grows with the number of photos and running a bundle does not need it.

    Args:
        artifact: The answers of the artifact.
        reference: The answers of the float reference; None for an artifact that was wrapped without one.
    """

    artifact: Confusion
    reference: Confusion | None

    def dumps(self) -> str:
        """Return the JSON text."""
        return json.dumps(to_json(self)) + "\n"


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One attempt to keep a budget.

    Args:
        name: The name of what was tried.
        agreement: The agreement with the float reference on the selection photos.
        drop: The drop on the selection photos; None if it was not measured.
        verdict: The verdict on the budget.
        seconds: The time in seconds to make and score the artifact.
        ms: The median latency of one inference on the host in milliseconds, measured while the artifact was scored.
        in_float: The names of the layers that this attempt moved to float.
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
        photos: The number of selection photos; none of them is used for calibration or for the reported accuracy.
        source: The folder or the built-in set from which the selection photos were taken.
        max_drop_points: The greatest drop that the budget allows, in percentage points; None does not limit it.
        min_agreement: The least agreement that the budget demands, 0 to 1; None demands none.
        rungs: The attempts, in the order in which they were made.
        chosen: The index in ``rungs`` of the attempt whose artifact the bundle holds.
        verdict: The verdict on the budget by 95 % intervals: ``met``, ``not met`` or ``too few photos to decide``.
        out_of_time: Whether attempts were left out because the time budget was used up.
        sha256: The sha256 over the selection photos; None if an older xedge made the bundle.
    """

    photos: int
    source: str
    max_drop_points: float | None
    min_agreement: float | None
    rungs: tuple[Rung, ...]
    chosen: int
    verdict: Literal["met", "not met", "too few photos to decide"]
    out_of_time: bool
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The latency of the artifact on the host compared with that of the same model in fp32, timed in turns.

    Args:
        ms: The median latency of the artifact in milliseconds.
        float_ms: The median latency of the fp32 artifact in milliseconds.
        ratio: The median over the turns of the artifact's latency divided by that of fp32, then the 5 % and 95 %
            quantiles.
        threads: The number of threads with which both were run.
    """

    ms: float
    float_ms: float
    ratio: tuple[float, float, float]
    threads: int

    @property
    def pays(self) -> bool | None:
        """Whether the artifact is faster than fp32; None if the turns do not agree on it."""
        _, low, high = self.ratio
        return True if high < 1 else False if low > 1 else None


@dataclass(frozen=True, kw_only=True)
class OwnSize:
    """The size of photos that the model was made for, where the artifact takes another one, and what that costs.

    Args:
        height: The height of photos in pixels that the model was made for.
        width: The width of photos in pixels that it was made for.
        top1: The top-1 accuracy of the float model at that size, 0 to 1; None without labelled photos, and if a file
            says how photos are prepared, which is for one size.
        drop: How much of it the float model loses at the artifact's size; None in the same cases.
        agreement: How close its probabilities at the artifact's size are to those at its own; None in the same cases.
    """

    height: int
    width: int
    top1: float | None = None
    drop: Drop | None = None
    agreement: Agreement | None = None


@dataclass(frozen=True, kw_only=True)
class Golden:
    """The self-test: the golden photos, and how far the outputs for them may differ from those on the host.

    Args:
        photos: The golden photos' files in the folder ``golden``. The outputs are in ``golden/outputs.npz``.
        tolerance: The greatest difference of one probability that is allowed.
    """

    photos: tuple[str, ...]
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle says about itself.

    Args:
        schema_version: The version of the manifest's schema.
        xedge_version: The version of xedge that wrote the bundle.
        target: The target of the artifact.
        precision: The precision of the artifact.
        artifact: The name of the file that a runtime opens.
        model: The model from which the artifact was made.
        input: The input tensor of the artifact.
        output: The output tensor of the artifact.
        output_kind: What the output holds: probabilities or logits, of all classes or of the second of two classes. The
            runner converts it to the probabilities of all classes.
        preprocessing: How a photo becomes the input.
        labels_known: Whether labels.txt holds the names of the classes; otherwise it holds their numbers.
        recipe: How the artifact was made.
        calibration: The calibration photos of an int8 artifact; None for the other precisions.
        tools: The versions of the packages with which the artifact was made, by package name.
        accuracy: The accuracy on the host; None without labelled photos.
        gate: How the artifact was chosen to keep a budget; None without a budget.
        speed: The latency on the host compared with fp32; None if it was not timed.
        own_size: The size of photos that the model was made for, if the artifact takes another one; None otherwise.
        golden: The self-test.
        files: The sha256 of every other file in the bundle, by the name of the file.
        making: What the bundle was made with besides; None if it was wrapped, or made by an xedge that did not keep it.
    """

    schema_version: int
    xedge_version: str
    target: str
    precision: Precision
    artifact: str
    model: ModelInfo
    input: TensorSpec
    output: TensorSpec
    output_kind: OutputKind
    preprocessing: Preprocessing
    labels_known: bool
    recipe: Recipe
    calibration: CalibrationInfo | None
    tools: dict[str, str]
    accuracy: HostAccuracy | None
    gate: Gate | None
    speed: Speed | None
    own_size: OwnSize | None = None
    golden: Golden
    files: dict[str, str]
    making: Making | None = None

    def __post_init__(self) -> None:
        expected, classes = self.preprocessing, self.model.classes
        photo = (expected.height, expected.width, expected.channels)
        if self.input.layout == "NCHW":
            photo = (photo[2], photo[0], photo[1])
        if self.input.layout is None or self.input.shape[1:] != photo:
            raise ValueError(f"input.shape is {self.input.shape}, but preprocessing makes photos of {photo}")
        values = 1 if self.output_kind in ("probability", "logit") else classes
        if self.output.photo_values != values or values not in self.output.shape:
            raise ValueError(f"output.shape is {self.output.shape}, but {classes} classes need {values} values")
        if classes < 2 or (values == 1 and classes != 2):
            raise ValueError(f"model.classes is {classes}; a classifier has two or more, and one value stands for two")
        if not self.golden.photos:
            raise ValueError("golden.photos is empty, so that nothing could be tested")
        if not 0 <= self.golden.tolerance < 1:
            raise ValueError(f"golden.tolerance is {self.golden.tolerance}, and not from 0 to 1")
        if self.gate is not None and not 0 <= self.gate.chosen < len(self.gate.rungs):
            raise ValueError(f"gate.chosen is {self.gate.chosen}, but there are {len(self.gate.rungs)} rungs")

    @property
    def artifact_name(self) -> str:
        """The target and the precision, with the ranges of int8 where they were chosen."""
        return artifact_name(self.target, self.precision, self.recipe.ranges)

    @property
    def wrapped(self) -> bool:
        """Whether the artifact was not made by xedge."""
        return self.recipe.way == WRAPPED

    def dumps(self) -> str:
        """Return the JSON text."""
        return json.dumps(to_json(self), indent=2, allow_nan=False) + "\n"


def loads(text: str) -> Manifest:
    """Return the manifest from its JSON text.

    Raises:
        BundleError: The text is not JSON, it is of another schema version, or a field is wrong.
    """
    data = parse_json(text)
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"$.schema_version: this xedge reads version {SCHEMA_VERSION}, but the bundle has {str(version)[:40]}"
        )
    return from_json(Manifest, data)
