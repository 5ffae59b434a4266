"""Hold artifacts against each other and against Keras: same photos, outputs in pairs, the tensor where they part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from xedge.bundle.manifest import Manifest
from xedge.bundle.reading import Bundle
from xedge.errors import InputError, parameter
from xedge.files import sha256
from xedge.measuring.run import RunOptions
from xedge.metrics import Accuracy, Agreement, accuracy, agreement
from xedge.models.compact import embedded
from xedge.photos.preprocess import Preprocessing
from xedge.runtimes import choose_runtime
from xedge.runtimes.audit import Audit, audit
from xedge.runtimes.classifier import open_classifier
from xedge.types import FloatArray, IntArray, UInt8Array
from xedge.vocabulary import PART, Precision

# Two artifacts part at the first tensor with less signal over difference than their precisions promise, in decibels.
PARTING_DB: dict[Precision, float] = {"fp32": 60.0, "fp16": 40.0, "dynamic": 12.0, "int8": 12.0}
Progress = Callable[[str], None]
# Class indices (N,) of the photos, and the labels; None without them.
Truth = tuple[IntArray, tuple[str, ...]] | None


class Member(Protocol):
    """Something that answers for the model."""

    name: str
    precision: Precision
    audit: Audit | None

    def probabilities(self, photos: list[UInt8Array]) -> FloatArray:
        """Return probabilities (N, classes) for the pixels (H, W, C) of photos."""

    def tensors(self, pixels: UInt8Array) -> Mapping[str, FloatArray]:
        """Return the tensors of one inference by name in the reference graph, in its order, NHWC."""


class BundleMember:
    """A bundle on its runtime."""

    def __init__(self, name: str, bundle: Bundle, options: RunOptions) -> None:
        self.name, self.bundle = name, bundle
        self.precision = bundle.manifest.precision
        self._runtime = choose_runtime(bundle.artifact, options.runtime)
        settings = options.settings(bundle)
        self._classifier = open_classifier(bundle.artifact, bundle.manifest, settings, self._runtime)
        self.audit: Audit | None = audit(self._classifier.session)

    def probabilities(self, photos: list[UInt8Array]) -> FloatArray:
        """Return probabilities (N, classes) for the pixels (H, W, C) of photos."""
        return np.stack([self._classifier.classify(pixels) for pixels in photos])

    def tensors(self, pixels: UInt8Array) -> Mapping[str, FloatArray]:
        """Return the tensors of one inference by name, NHWC."""
        tensors = self._runtime.tensors(self.bundle.artifact, self._classifier.input(pixels))
        photo = self.bundle.manifest.input.name  # its integers are moved, and all have the same photo
        found = {name: values for name, values in tensors.items() if PART not in name and name != photo}
        for name, (scale, shift) in self.bundle.changes().items():
            if name in found:
                found[name] = found[name] * scale + shift
        return found


class KerasMember:
    """The model as Keras computes it; its inner tensors are those of the reference graph.

    Args:
        model: the Keras file.
        preprocessing: how photos are prepared for it.
        scratch: a folder that lives as long as this object is used.
    """

    name = "keras"
    precision: Precision = "fp32"
    audit: Audit | None = None

    def __init__(self, model: Path, preprocessing: Preprocessing, scratch: Path) -> None:
        # Only this member needs the host's packages.
        from xedge.conversion.reference import read_reference  # noqa: PLC0415
        from xedge.sources.finding import find_source  # noqa: PLC0415

        self._reference = read_reference(find_source(str(model)), scratch)
        self._preprocessing = preprocessing

    def probabilities(self, photos: list[UInt8Array]) -> FloatArray:
        """Return probabilities (N, classes) for the pixels (H, W, C) of photos."""
        return self._reference.original_predict(self._preprocessing.scaled(pixels) for pixels in photos)

    def tensors(self, pixels: UInt8Array) -> Mapping[str, FloatArray]:
        """Return the reference graph's tensors of one inference by name, NHWC."""
        return self._reference.tensors(self._preprocessing.scaled(pixels)[None])


def find_original(bundle: Bundle, model: Path | None) -> Path | None:
    """Return the Keras file that a bundle was made of, if it is at hand.

    Args:
        bundle: knows the file's name and sha256.
        model: where the user says that it is.

    Raises:
        InputError: the user's file is another one.
    """
    expected = bundle.manifest.model.file_sha256
    if model is not None:
        if not model.is_file():
            raise InputError(f"{model}: no such model file")
        if sha256(model) != expected:
            raise InputError(
                f"{model}: is not the file that {bundle.root} was made of; leave {parameter('model')} out, or convert "
                "it"
            )
        return model
    name = Path(bundle.manifest.model.source).name
    for candidate in (embedded.MODEL, Path(name), bundle.root / name, bundle.root.parent / name):
        if candidate.is_file() and sha256(candidate) == expected:
            return candidate
    return None


@dataclass(frozen=True, kw_only=True)
class TensorDifference:
    """How far one tensor is apart: signal over difference, in decibels; None if there is no difference."""

    tensor: str
    snr_db: float | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two members on the same photos.

    Args:
        first, second: their names.
        outputs: agreement and differences of their probabilities.
        mean_difference: mean absolute difference of a probability.
        tensors: how many tensors both have.
        parting: the first of these with less than ``parting_db``; None if there is none.
        worst: the one with the largest difference; None if they share none.
        parting_db: what their precisions promise.
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
    """One member: what it was asked to be, what it scores, what it executes."""

    name: str
    precision: Precision
    accuracy: Accuracy | None
    audit: Audit | None


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """The whole comparison; ``failures`` says in words what misses a threshold."""

    schema: Literal["xedge.verify/1"] = "xedge.verify/1"
    photos: int
    data: str
    members: tuple[MemberReport, ...]
    pairs: tuple[Pair, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What is demanded of every pair.

    Args:
        min_agreement: share of photos with the same first class.
        max_difference: greatest difference of one probability; None demands nothing.
    """

    min_agreement: float = 0.95
    max_difference: float | None = None


def verify(
    members: list[Member],
    photos: list[UInt8Array],
    data: str,
    truth: Truth,
    thresholds: Thresholds,
    progress: Progress = lambda line: None,
) -> VerifyReport:
    """Compare members in pairs.

    Args:
        members: two or more, or one for its audit alone.
        photos: pixels (H, W, C) of each photo.
        data: where they come from.
        truth: class indices (N,) and the labels; None leaves accuracy out.
        thresholds: what every pair has to keep.
        progress: told what is being done.
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
            accuracy=accuracy(rows[member.name], *truth) if truth is not None else None,
            audit=member.audit,
        )
        for member in members
    )
    pairs = tuple(
        _pair(first, second, rows, tensors[first.name], tensors[second.name])
        for first, second in combinations(members, 2)
    )
    failures = (*_disagreements(pairs, thresholds), *_misnamed(reports))
    return VerifyReport(photos=len(photos), data=data, members=reports, pairs=pairs, failures=failures)


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
    """Return the signal's power over the difference's, in decibels; None if there is no difference."""
    noise = float(((signal - other).astype(np.float64) ** 2).sum())
    power = float((signal.astype(np.float64) ** 2).sum())
    return float(10 * np.log10(max(power, 1e-30) / noise)) if noise else None


def _disagreements(pairs: tuple[Pair, ...], thresholds: Thresholds) -> list[str]:
    failures = []
    for pair in pairs:
        names = f"{pair.first} and {pair.second}"
        if pair.outputs.agreement < thresholds.min_agreement:
            failures.append(
                f"{names} agree on {100 * pair.outputs.agreement:.2f} % of the photos, "
                f"{100 * thresholds.min_agreement:g} % is demanded"
            )
        limit = thresholds.max_difference
        if limit is not None and pair.outputs.max_difference > limit:
            failures.append(
                f"{names} differ by {pair.outputs.max_difference:.4g} in a probability, {limit:g} is allowed"
            )
    return failures


def _misnamed(members: tuple[MemberReport, ...]) -> list[str]:
    """An artifact that was asked to be int8 and is not."""
    return [
        f"{member.name} is called int8, but only {100 * (member.audit.integer_share or 0):.0f} % of its convolutions "
        f"and products run in integers on {member.audit.execution.runtime}"
        for member in members
        if member.precision == "int8"
        and member.audit is not None
        and member.audit.finding in ("float", "partly integer")
    ]


def same_model(bundles: list[Bundle]) -> None:
    """Refuse bundles that do not come from one model.

    Raises:
        InputError: weights, classes or preprocessing differ.
    """
    first = bundles[0].manifest
    for bundle in bundles[1:]:
        other = bundle.manifest
        if other.model.weights_sha256 != first.model.weights_sha256:
            raise InputError(
                f"{bundle.root}: made of other weights ({other.model.name}) than {bundles[0].root} "
                f"({first.model.name}); verify compares artifacts of one model"
            )
        if _prepared(other) != _prepared(first):
            raise InputError(
                f"{bundle.root}: prepares photos otherwise than {bundles[0].root} ({_prepared(other)}, not "
                f"{_prepared(first)}), so that one of them would be fed the other's pixels; convert them alike"
            )


def names_of(bundles: list[Bundle]) -> list[str]:
    """Return a short name for each bundle: target and precision where these tell them apart, else the folder."""
    short = [f"{bundle.manifest.target} {bundle.manifest.precision}" for bundle in bundles]
    return [
        name if short.count(name) == 1 else f"{name} {bundle.root.name}#{i + 1}"
        for i, (name, bundle) in enumerate(zip(short, bundles, strict=True))
    ]


def _prepared(manifest: Manifest) -> str:
    """What happens to a photo before its pixels are scaled, in words; scaling may be inside an artifact."""
    p = manifest.preprocessing
    return f"{p.height}x{p.width} {p.colour}, crop {p.crop}, {p.resize}"
