"""Compare artifacts on the same photos with each other and with Keras, and find the tensor at which they diverge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from xedge.bundle.manifest import Manifest
from xedge.bundle.reading import Bundle
from xedge.errors import InputError, UsageError, parameter
from xedge.files import sha256
from xedge.measuring.starting import RunOptions
from xedge.metrics import Accuracy, Agreement, Confusion, accuracy, agreement, confusion
from xedge.models.compact import embedded
from xedge.photos.preprocess import Preprocessing
from xedge.quantization.gate import check_agreement
from xedge.runtimes import choose_runtime
from xedge.runtimes.audit import Audit, audit
from xedge.runtimes.classifier import open_bundle_classifier
from xedge.types import FloatArray, IntArray, UInt8Array
from xedge.vocabulary import PART, Precision

# Two artifacts diverge at the first tensor whose signal-to-difference ratio in decibels is below what their precisions
# promise.
PARTING_DB: dict[Precision, float] = {"fp32": 60.0, "fp16": 40.0, "dynamic": 12.0, "int8": 12.0, "w4": 12.0}
Progress = Callable[[str], None]
# The indices (N,) of the true classes of the photos, and the labels; None if the classes are not known.
Truth = tuple[IntArray, tuple[str, ...]] | None
VerifyVerdict = Literal["passed", "failed", "nothing compared"]


class Member(Protocol):
    """An implementation of the model that takes part in the comparison: a bundle, or the model in Keras."""

    name: str
    precision: Precision
    audit: Audit | None

    def probabilities(self, photos: list[UInt8Array]) -> FloatArray:
        """Return probabilities (N, classes) for the pixels (H, W, C) of photos."""

    def tensors(self, pixels: UInt8Array) -> Mapping[str, FloatArray]:
        """Return the tensors of one inference, NHWC, by their names in the reference graph and in its order."""


class BundleMember:
    """A bundle that is run on its runtime.

    Args:
        name: The name of the bundle in the comparison.
        bundle: The bundle.
        options: The threads, runtime and provider with which it is run.
    """

    def __init__(self, name: str, bundle: Bundle, options: RunOptions) -> None:
        self.name, self.bundle = name, bundle
        self.precision = bundle.manifest.precision
        self._runtime = choose_runtime(bundle.artifact, options.runtime)
        self._classifier, _ = open_bundle_classifier(bundle, options.settings(bundle), options.runtime)
        self.audit: Audit | None = audit(self._classifier.session)

    def probabilities(self, photos: list[UInt8Array]) -> FloatArray:
        """Return probabilities (N, classes) for the pixels (H, W, C) of photos."""
        return np.stack([self._classifier.classify(pixels) for pixels in photos])

    def tensors(self, pixels: UInt8Array) -> Mapping[str, FloatArray]:
        """Return the tensors of one inference, NHWC, by their names in the reference graph.

        There are none of an artifact that was wrapped: its tensors have names of their own.
        """
        if self.bundle.manifest.wrapped:
            return {}
        tensors = self._runtime.tensors(self.bundle.artifact, self._classifier.input(pixels))
        # The input is left out: in an integer input the values are shifted, and all members have the same photo anyway.
        photo = self.bundle.manifest.input.name
        found = {name: values for name, values in tensors.items() if PART not in name and name != photo}
        for name, (scale, shift) in self.bundle.changes().items():
            if name in found:
                found[name] = found[name] * scale + shift
        return found


class OriginalMember:
    """The model as Keras, or ONNX Runtime, computes it. Its inner tensors are those of the reference graph.

    Args:
        name: What it is called beside the bundles.
        model: The model's file.
        preprocessing: The preprocessing of the photos.
        scratch: A folder for temporary files, which must exist as long as this object is used.
    """

    precision: Precision = "fp32"
    audit: Audit | None = None

    def __init__(self, name: str, model: Path, preprocessing: Preprocessing, scratch: Path) -> None:
        # Only this member needs the host's packages.
        from xedge.conversion.reference import read_reference  # noqa: PLC0415
        from xedge.sources.finding import find_source  # noqa: PLC0415

        self.name = name
        source = replace(find_source(str(model)), size=(preprocessing.height, preprocessing.width))
        self._reference = read_reference(source, scratch)
        self._preprocessing = preprocessing

    def probabilities(self, photos: list[UInt8Array]) -> FloatArray:
        """Return probabilities (N, classes) for the pixels (H, W, C) of photos."""
        return self._reference.original_predict(self._preprocessing.scaled(pixels) for pixels in photos)

    def tensors(self, pixels: UInt8Array) -> Mapping[str, FloatArray]:
        """Return the tensors of one inference of the reference graph, NHWC, by their names."""
        return self._reference.tensors(self._preprocessing.scaled(pixels)[None])


def original_of(bundle: Bundle) -> tuple[str, str]:
    """Return what the model from which a bundle was made is called beside bundles, and the package that computes it."""
    onnx = Path(bundle.manifest.model.source).suffix.lower() == ".onnx"
    return ("original", "onnx") if onnx else ("keras", "keras")


def find_original(bundle: Bundle, model: Path | None) -> Path | None:
    """Return the file from which a bundle was made; None if it is not found.

    Args:
        bundle: The bundle, whose manifest has the name and the sha256 of the file.
        model: The file that the user named; None looks in the usual places.

    Raises:
        InputError: The file that the user named does not exist, or it is another one.
    """
    expected = bundle.manifest.model.file_sha256
    if model is not None:
        if not model.is_file():
            raise InputError(f"{model}: no such model file")
        if sha256(model) != expected:
            raise InputError(
                f"{model}: is not the file that {bundle.root} was made from; leave {parameter('model')} out, or "
                "convert this file"
            )
        return model
    name = Path(bundle.manifest.model.source).name
    for candidate in (embedded.MODEL, Path(name), bundle.root / name, bundle.root.parent / name):
        if candidate.is_file() and sha256(candidate) == expected:
            return candidate
    return None


@dataclass(frozen=True, kw_only=True)
class TensorDifference:
    """How much one tensor differs between two members.

    Args:
        tensor: The name of the tensor in the reference graph.
        snr_db: The ratio of signal power to the power of the difference in decibels; None if there is no difference.
    """

    tensor: str
    snr_db: float | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The comparison of two members on the same photos.

    Args:
        first: The name of the first member.
        second: The name of the second member.
        outputs: The agreement and the differences of their probabilities.
        mean_difference: The mean absolute difference of a probability.
        tensors: The number of tensors that both members have.
        parting: The first of these tensors whose ratio is below ``parting_db``, at which the two members diverge; None
            if there is none.
        worst: The tensor with the greatest difference; None if the members have no tensor in common.
        parting_db: The ratio of signal power to the power of the difference, in decibels, that the precisions of the
            two members promise.
    """

    first: str
    second: str
    outputs: Agreement
    mean_difference: float
    tensors: int
    parting: TensorDifference | None
    worst: TensorDifference | None
    parting_db: float


@dataclass(frozen=True, kw_only=True)
class MemberReport:
    """What was found out about one member.

    Args:
        name: The name of the member.
        precision: The precision for which it was made.
        accuracy: The accuracy on the photos; None without labels.
        confusion: What was answered to the photos of each class; None without labels.
        audit: What its runtime really executes; None for the original model.
    """

    name: str
    precision: Precision
    accuracy: Accuracy | None
    confusion: Confusion | None
    audit: Audit | None


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What is demanded of pairs of members.

    Args:
        min_agreement: The least share of photos with the same top-1 class, 0 to 1.
        max_difference: The greatest difference of one probability that is allowed, 0 to 1; None allows any.
        only_float: Whether this is demanded only of pairs with a member in float (fp32), and not of two quantized
            artifacts.

    Raises:
        UsageError: A threshold is not from 0 to 1.
    """

    min_agreement: float = 0.95
    max_difference: float | None = None
    only_float: bool = False

    def __post_init__(self) -> None:
        check_agreement(self.min_agreement)
        if self.max_difference is not None and not 0 <= self.max_difference <= 1:
            named = f"{parameter('max_difference')} {self.max_difference:g}"
            raise UsageError(f"{named}: is not a difference of probabilities, which is from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """The comparison of all members with each other.

    Args:
        schema: The kind of this document and its version.
        photos: The number of photos on which the members were compared.
        data: The source of the photos.
        members: What was found out about each member.
        pairs: The comparison of each pair of members.
        demands: What was demanded of the pairs.
        verdict: "passed" if pairs were judged and nothing failed, "failed" if anything did, and "nothing compared" if
            there was no pair to judge and no artifact failed by itself.
        failures: The pairs that miss a threshold and the artifacts that do not run in int8 although they should, one
            sentence each.
    """

    schema: Literal["xedge.verify/2"] = "xedge.verify/2"
    photos: int
    data: str
    members: tuple[MemberReport, ...]
    pairs: tuple[Pair, ...]
    demands: Thresholds
    verdict: VerifyVerdict
    failures: tuple[str, ...]


def verify(
    members: list[Member],
    photos: list[UInt8Array],
    data: str,
    truth: Truth,
    thresholds: Thresholds,
    progress: Progress = lambda line: None,
) -> VerifyReport:
    """Compare every pair of members.

    Args:
        members: Two or more members, or one member for its audit alone.
        photos: The pixels (H, W, C) uint8 of each photo.
        data: The source of the photos.
        truth: The indices (N,) of the true classes and the labels; None leaves the accuracy out.
        thresholds: What is demanded of the pairs.
        progress: A function that is called with one line of text at the start of each stage.
    """
    rows, tensors = {}, {}
    for member in members:
        progress(f"{member.name} on {len(photos)} photos")
        rows[member.name] = member.probabilities(photos)
        if len(members) > 1:
            tensors[member.name] = member.tensors(photos[0])
    reports = tuple(
        MemberReport(
            name=member.name,
            precision=member.precision,
            accuracy=accuracy(rows[member.name], truth[0]) if truth is not None else None,
            confusion=confusion(rows[member.name].argmax(1), *truth) if truth is not None else None,
            audit=member.audit,
        )
        for member in members
    )
    pairs = tuple(
        _pair(first, second, rows, tensors[first.name], tensors[second.name])
        for first, second in combinations(members, 2)
    )
    judged = _judged(pairs, members, thresholds)
    failures = (*_disagreements(judged, thresholds), *_misnamed(reports))
    return VerifyReport(
        photos=len(photos),
        data=data,
        members=reports,
        pairs=pairs,
        demands=thresholds,
        verdict="failed" if failures else "passed" if judged else "nothing compared",
        failures=failures,
    )


def _judged(pairs: Sequence[Pair], members: Sequence[Member], thresholds: Thresholds) -> list[Pair]:
    """Return the pairs of which something is demanded."""
    floats = {member.name for member in members if member.precision == "fp32"}
    return [pair for pair in pairs if not thresholds.only_float or {pair.first, pair.second} & floats]


def _pair(
    first: Member,
    second: Member,
    rows: dict[str, FloatArray],
    tensors: Mapping[str, FloatArray],
    others: Mapping[str, FloatArray],
) -> Pair:
    a, b = rows[first.name], rows[second.name]
    limit = min(PARTING_DB[first.precision], PARTING_DB[second.precision])
    found = [
        TensorDifference(tensor=name, snr_db=snr_db(values, others[name]))
        for name, values in tensors.items()
        if name in others and others[name].shape == values.shape
    ]
    noisy = [(one.snr_db, one) for one in found if one.snr_db is not None]
    return Pair(
        first=first.name,
        second=second.name,
        outputs=agreement(b, a),
        mean_difference=float(np.abs(a - b).mean()),
        tensors=len(found),
        parting=next((one for snr, one in noisy if snr < limit), None),
        worst=min(noisy, key=lambda pair: pair[0])[1] if noisy else (found[0] if found else None),
        parting_db=limit,
    )


def snr_db(signal: FloatArray, other: FloatArray) -> float | None:
    """Return the ratio of signal power to the power of the difference in decibels; None if there is no difference.

    Args:
        signal: The tensor that counts as the signal.
        other: The tensor of the same shape that is compared with it.
    """
    noise = float(((signal - other).astype(np.float64) ** 2).sum())
    power = float((signal.astype(np.float64) ** 2).sum())
    return float(10 * np.log10(max(power, 1e-30) / noise)) if noise else None


def _disagreements(pairs: Sequence[Pair], thresholds: Thresholds) -> list[str]:
    failures = []
    for pair in pairs:
        names = f"{pair.first} and {pair.second}"
        if pair.outputs.agreement < thresholds.min_agreement:
            failures.append(
                f"{names} agree on {100 * pair.outputs.agreement:.2f} % of the photos, but "
                f"{100 * thresholds.min_agreement:g} % is demanded"
            )
        limit = thresholds.max_difference
        if limit is not None and pair.outputs.max_difference > limit:
            failures.append(
                f"{names} differ by {pair.outputs.max_difference:.4g} in a probability, but only {limit:g} is allowed"
            )
    return failures


def _misnamed(members: tuple[MemberReport, ...]) -> list[str]:
    """Return a message for each artifact that was made as int8 but does not run in integers."""
    found = [misnamed(member) for member in members]
    return [words for words in found if words is not None]


def misnamed(member: Member | MemberReport) -> str | None:
    """Return a message if an artifact was made as int8 but does not run in integers; None otherwise."""
    found = member.audit
    if member.precision != "int8" or found is None or found.finding not in ("float", "partly integer"):
        return None
    return (
        f"{member.name} is called int8, but only {100 * (found.integer_share or 0):.0f} % of its convolutions and "
        f"products run in integers on {found.execution.runtime}"
    )


def same_model(bundles: list[Bundle]) -> None:
    """Refuse bundles that were not made from the same model.

    Raises:
        InputError: The weights or the preprocessing differ.
    """
    first = bundles[0].manifest
    for bundle in bundles[1:]:
        other = bundle.manifest
        if other.model.weights_sha256 != first.model.weights_sha256:
            raise InputError(
                f"{bundle.root}: made from other weights ({other.model.name}) than {bundles[0].root} "
                f"({first.model.name}); give bundles of the same model"
            )
        if _prepared(other) != _prepared(first):
            raise InputError(
                f"{bundle.root}: prepares photos differently from {bundles[0].root} ({_prepared(other)} instead of "
                f"{_prepared(first)}), so one of them would get the other's pixels; convert both with the same options"
            )


def names_of(bundles: list[Bundle]) -> list[str]:
    """Return a short name for each bundle: its target and precision, with the folder if another bundle has the same."""
    short = [bundle.manifest.artifact_name for bundle in bundles]
    return [
        name if short.count(name) == 1 else f"{name} {bundle.root.name}#{i + 1}"
        for i, (name, bundle) in enumerate(zip(short, bundles, strict=True))
    ]


def _prepared(manifest: Manifest) -> str:
    """Describe what happens to a photo before its pixels are scaled; the scaling may be a part of the artifact."""
    p = manifest.preprocessing
    return f"{p.colour}, {p.fitting}"
