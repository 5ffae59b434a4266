"""The report of an evaluation: the accuracy of each bundle, and what it lost against the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xedge.metrics import Accuracy, Agreement, Answers, Confusion, Drop
from xedge.quantization.gate import Verdict

# The p-value below which a difference is told as one.
SIGNIFICANT = 0.05


@dataclass(frozen=True, kw_only=True)
class ClassDrop:
    """What a bundle lost among the photos of one class.

    Args:
        index: The index of the class among the outputs.
        label: The name of the class.
        lost: The number of photos that only the reference classifies correctly.
        won: The number of photos that only the bundle classifies correctly.
        mcnemar_p: The p-value of McNemar's exact test for this class alone.
        holm_p: The same, adjusted for the number of classes by Holm's method.
    """

    index: int
    label: str
    lost: int
    won: int
    mcnemar_p: float
    holm_p: float


@dataclass(frozen=True, kw_only=True)
class Against:
    """How a bundle compares with the reference on the same photos.

    Args:
        agreement: How close its probabilities are to those of the reference.
        total_variation95: The 95 % interval of the mean total variation distance; None for a single photo.
        drop: The drop of the top-1 accuracy; None without labels.
        classes: What it lost in each class that has photos; empty without labels.
        photos_to_prove: The number of photos on which a drop below ``max_drop_points`` would be proved with a chance of
            80 %, judging by the photos that were seen; None without that limit, or if the drop is not below it.
        verdict: The verdict on the budget; None without a budget.
    """

    agreement: Agreement
    total_variation95: tuple[float, float] | None
    drop: Drop | None
    classes: tuple[ClassDrop, ...]
    photos_to_prove: int | None
    verdict: Verdict | None

    @property
    def changed_classes(self) -> tuple[ClassDrop, ...]:
        """The classes whose accuracy differs from that of the reference, after adjustment for their number."""
        return tuple(one for one in self.classes if one.holm_p < SIGNIFICANT)


@dataclass(frozen=True, kw_only=True)
class EvaluatedBundle:
    """A bundle in an evaluation.

    Args:
        bundle: The name of the bundle's folder.
        target: The target of the artifact.
        precision: The precision of the artifact.
        artifact_bytes: The size of the artifact in bytes, weights included.
        weights_sha256: The sha256 of the model's weights.
        runtime: The runtime's package with its version.
        accuracy: The accuracy; None without labels.
        top5_interval95: The 95 % Wilson interval of the top-5 accuracy; None without labels or below six classes.
        confusion: What was answered to the photos of each class; None without labels.
        answers: The answer to each photo; None without labels, or if it was not asked for.
        against: How the bundle compares with the reference; None for the reference itself.
    """

    bundle: str
    target: str
    precision: str
    artifact_bytes: int
    weights_sha256: str
    runtime: str
    accuracy: Accuracy | None
    top5_interval95: tuple[float, float] | None
    confusion: Confusion | None
    answers: Answers | None
    against: Against | None


@dataclass(frozen=True, kw_only=True)
class EvaluateReport:
    """An evaluation of bundles on the same photos.

    Args:
        schema: The kind of this document and its version.
        xedge_version: The version of xedge.
        data: The folder, file or address of the photos.
        photos: The number of photos that were scored.
        photos_sha256: The sha256 over the bytes of these photos, which does not depend on their order.
        damaged: The photos that could not be read and are left out, each with the reason.
        left_out: What in the folder was not taken, in words.
        reference: The name of the bundle with which the others are compared.
        max_drop_points: The greatest drop that the budget allows, in percentage points; None does not limit it.
        min_agreement: The least agreement that the budget demands, 0 to 1; None demands none.
        environment: The versions that the results depend on, by name.
        processors: The processors of the workers of the last call, each once; another one may round differently.
        bundles: The bundles, in the order in which they were given.
    """

    schema: Literal["xedge.evaluate/1"] = "xedge.evaluate/1"
    xedge_version: str
    data: str
    photos: int
    photos_sha256: str
    damaged: tuple[str, ...]
    left_out: tuple[str, ...]
    reference: str
    max_drop_points: float | None
    min_agreement: float | None
    environment: dict[str, str]
    processors: tuple[str, ...]
    bundles: tuple[EvaluatedBundle, ...]

    @property
    def verdicts(self) -> set[Verdict]:
        """The verdicts on the budget that there are."""
        found = (one.against.verdict for one in self.bundles if one.against is not None)
        return {verdict for verdict in found if verdict is not None}


@dataclass(frozen=True, kw_only=True)
class PlannedBundle:
    """What was seen of a bundle so far, and what a proof would take.

    Args:
        bundle: The name of the bundle.
        photos: The number of labelled photos that were evaluated on it and on the reference.
        lost: The number of photos that only the reference classifies correctly.
        won: The number of photos that only the bundle classifies correctly.
        photos_to_prove: The number of photos on which a drop below the limit would be proved with a chance of 80 %;
            None if the drop that was seen is not below it.
    """

    bundle: str
    photos: int
    lost: int
    won: int
    photos_to_prove: int | None


@dataclass(frozen=True, kw_only=True)
class EvaluatePlan:
    """On how many photos a drop below a limit would be proved.

    Args:
        schema: The kind of this document and its version.
        data: The folder, file or address of the photos.
        photos: The number of photos of the set, evaluated or not.
        reference: The name of the bundle with which the others are compared.
        max_drop_points: The limit in percentage points.
        bundles: The other bundles.
    """

    schema: Literal["xedge.evaluate-plan/1"] = "xedge.evaluate-plan/1"
    data: str
    photos: int
    reference: str
    max_drop_points: float
    bundles: tuple[PlannedBundle, ...]
