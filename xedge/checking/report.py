"""What a check found, as a document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xedge.checking.judging import Closeness, Judged, Verdict, worst
from xedge.measuring.comparison import AccuracyDifference, LatencyDifference
from xedge.metrics import Accuracy


@dataclass(frozen=True, kw_only=True)
class Against:
    """How a bundle compares with the baseline.

    Args:
        bundle: The baseline's bundle that it was compared with: its folder or zip.
        accuracy: The difference in accuracy; None without labelled photos.
        latency: The difference in latency, timed in turns; None if it was not timed.
        notes: What limits the comparison, one sentence each.
    """

    bundle: str
    accuracy: AccuracyDifference | None
    latency: LatencyDifference | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CheckedBundle:
    """A bundle that was made and judged.

    Args:
        name: Its target and precision.
        path: Where it is; None if it was not kept, or could not be made.
        artifact_bytes: The size of the artifact in bytes, weights included; None if it could not be made.
        accuracy: The top-1 accuracy on the photos; None without labelled photos.
        closeness: How close it is to the float model; None without labelled photos.
        against: How it compares with the baseline; None without one for this bundle.
        judged: Each limit of its budget, and what was found.
        error: Why it could not be made or run; None if it could.
    """

    name: str
    path: str | None
    artifact_bytes: int | None
    accuracy: Accuracy | None
    closeness: Closeness | None
    against: Against | None
    judged: tuple[Judged, ...]
    error: str | None

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of its limits; a bundle that could not be made keeps no budget."""
        return "not met" if self.error is not None else worst(one.verdict for one in self.judged)


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What a check found.

    Args:
        schema: The kind of this document and its version.
        file: The file with the budgets, as it was given.
        model: The name of the model.
        data: The name of the labelled photos; None without any.
        bundles: The bundles, in the order of the targets and then the precisions.
        verdict: The worst verdict of all bundles: ``met`` if nothing that was judged is missed or undecided.
    """

    schema: Literal["xedge.check/1"] = "xedge.check/1"
    file: str
    model: str
    data: str | None
    bundles: tuple[CheckedBundle, ...]
    verdict: Verdict
