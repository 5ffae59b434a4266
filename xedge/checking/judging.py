"""Judge figures by the limits of a budget: each by its 95 % interval, or, where it is exact, by itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Literal

from xedge.metrics import Agreement, Drop, agreement_of, differences, drop_of_answers, mean_share95, photos_to_prove
from xedge.quantization.gate import decided
from xedge.types import FloatArray, IntArray

Verdict = Literal["met", "not met", "undecided", "skipped"]
# The worst first. What was skipped could not be judged at all, and says why.
ORDER: tuple[Verdict, ...] = ("not met", "undecided", "met", "skipped")
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What is known of a key of a budget.

    Args:
        title: What is limited, in words.
        unit: The unit of the limit and of the figures; empty for ratios and shares.
        floor: Whether it is the least value that is allowed, and not the greatest.
        most: The greatest limit that means anything.
        baseline: Whether it compares with the baseline.
        photos: Whether it needs labelled photos.
        digits: The number of decimals of its figures.
    """

    title: str
    unit: str = ""
    floor: bool = False
    most: float = float("inf")
    baseline: bool = False
    photos: bool = True
    digits: int = 2

    def shown(self, value: float) -> str:
        """Return a figure as text, without its unit."""
        return f"{value:.{self.digits}f}"

    @property
    def bound(self) -> str:
        """What stands before the limit."""
        return "at least" if self.floor else "at most"


LIMITS: dict[str, Limit] = {
    "max_drop_points": Limit(title="drop against float", unit="points", most=100),
    "min_agreement_percent": Limit(title="agreement with float", unit="%", floor=True, most=100),
    "max_total_variation": Limit(title="total variation from float", most=1, digits=4),
    "max_size_mb": Limit(title="size of the artifact", unit="MB", photos=False, digits=3),
    "max_latency_ratio": Limit(title="time / baseline's time", baseline=True, photos=False),
    "max_baseline_drop_points": Limit(title="drop against the baseline", unit="points", most=100, baseline=True),
}


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """What a bundle has to keep. A limit that is None demands nothing.

    Args:
        max_drop_points: The greatest drop of the top-1 accuracy against the float model, in percentage points.
        min_agreement_percent: The least share of photos with the first class of the float model, in percent.
        max_total_variation: The greatest total variation distance from the float model's probabilities, averaged over
            the photos, 0 to 1.
        max_size_mb: The greatest size of the artifact, weights included, in MB of 1,000,000 bytes.
        max_latency_ratio: The greatest latency as a ratio of the baseline's.
        max_baseline_drop_points: The greatest drop of the top-1 accuracy against the baseline, in percentage points.
    """

    max_drop_points: float | None = None
    min_agreement_percent: float | None = None
    max_total_variation: float | None = None
    max_size_mb: float | None = None
    max_latency_ratio: float | None = None
    max_baseline_drop_points: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.given():
            limit = LIMITS[name]
            positive = limit.unit == "MB" or name == "max_latency_ratio"
            if not (value > 0 if positive else value >= 0) or not value <= limit.most:
                bounds = "a number above 0" if positive else f"a number from 0 to {limit.most:g}"
                raise ValueError(f"{name} = {value:g}: this can never be kept, or always; give {bounds}")
        if self.min_agreement_percent == 100:
            raise ValueError(
                "min_agreement_percent = 100: no number of photos can show it, for the next one may differ; give less, "
                "such as 99"
            )

    def given(self) -> list[tuple[str, float]]:
        """Return the names and values of the limits that are set."""
        found = ((name, getattr(self, name)) for name in LIMITS)
        return [(name, value) for name, value in found if value is not None]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One limit of a budget, and what was found.

    Args:
        budget: The key of the limit.
        limit: The limit, in the unit that its key names; None for what is demanded of every bundle.
        value: What was found, in the same unit; None if it was not.
        interval95: The 95 % interval of ``value``; None if the value is exact, or was not found.
        verdict: Whether the interval lies within the limit (met), outside it (not met), or on both sides (undecided);
            ``skipped`` if it could not be judged.
        words: The figures and the verdict's reason, as a sentence.
    """

    budget: str
    limit: float | None
    value: float | None
    interval95: Interval | None
    verdict: Verdict
    words: str


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of several verdicts; without any, nothing was demanded and ``met`` is returned."""
    return min(verdicts, key=ORDER.index, default="met")


def judged(name: str, limit: float, value: float, interval95: Interval | None, hint: str = "") -> Judged:
    """Judge a figure by a limit.

    Args:
        name: The key of the limit.
        limit: The limit.
        value: The figure.
        interval95: Its 95 % interval; None if it is exact.
        hint: What to do if the interval lies on both sides of the limit.
    """
    known = LIMITS[name]
    low, high = interval95 or (value, value)
    if known.floor:
        found = decided(sure=low >= limit, out=high < limit)
    else:
        found = decided(sure=high <= limit, out=low > limit)
    verdict: Verdict = "undecided" if found == "too few photos to decide" else found
    unit = f" {known.unit}" if known.unit else ""
    interval = f" [{known.shown(low)}, {known.shown(high)}]" if interval95 is not None else ""
    words = f"{known.title} {known.shown(value)}{interval}{unit}; the budget is {known.bound} {limit:g}{unit}"
    if verdict == "undecided" and hint:
        words += f"; {hint}"
    return Judged(budget=name, limit=limit, value=value, interval95=interval95, verdict=verdict, words=words)


def skipped(name: str, limit: float, reason: str) -> Judged:
    """Return a limit that could not be judged.

    Args:
        name: The key of the limit.
        limit: The limit.
        reason: Why it could not be judged.
    """
    words = f"{LIMITS[name].title} was not judged: {reason}"
    return Judged(budget=name, limit=limit, value=None, interval95=None, verdict="skipped", words=words)


@dataclass(frozen=True, kw_only=True)
class Closeness:
    """How close an artifact's answers are to those of a reference on the same labelled photos.

    Args:
        photos: The number of photos.
        agreement: The agreement of the probabilities.
        total_variation95: The 95 % interval of the mean total variation distance; None for a single photo.
        drop: The drop of the top-1 accuracy; None if the classes of the photos are not known.
    """

    photos: int
    agreement: Agreement
    total_variation95: Interval | None
    drop: Drop | None


def closeness(rows: FloatArray, reference: FloatArray, truth: IntArray | None) -> Closeness:
    """Return how close probabilities are to those of a reference.

    Args:
        rows: The probabilities (N, classes) of the artifact.
        reference: The probabilities (N, classes) of the reference for the same photos.
        truth: The indices (N,) of the true classes; None if they are not known.
    """
    found = differences(rows, reference)
    return Closeness(
        photos=len(rows),
        agreement=agreement_of(found),
        total_variation95=mean_share95(found.total_variation.tolist()),
        drop=None if truth is None else drop_of_answers(rows.argmax(1), reference.argmax(1), truth),
    )


def judge_closeness(budgets: Budgets, found: Closeness) -> list[Judged]:
    """Judge the limits of a budget that compare with the float model.

    Args:
        budgets: The limits; those that compare with something else are left to others.
        found: How close the answers are. A limit on the drop needs its ``drop``.
    """
    verdicts = []
    if budgets.max_drop_points is not None:
        assert found.drop is not None, "a drop needs the classes of the photos"
        verdicts.append(_drop(budgets.max_drop_points, found.drop, found.photos))
    if budgets.min_agreement_percent is not None:
        low, high = found.agreement.interval95
        value = 100 * found.agreement.agreement
        hint = _more_photos(found.photos)
        verdicts.append(
            judged("min_agreement_percent", budgets.min_agreement_percent, value, (100 * low, 100 * high), hint)
        )
    if budgets.max_total_variation is not None:
        interval = found.total_variation95 or (0.0, 1.0)
        value, hint = found.agreement.total_variation, _more_photos(found.photos)
        verdicts.append(judged("max_total_variation", budgets.max_total_variation, value, interval, hint))
    return verdicts


def _drop(limit: float, found: Drop, photos: int) -> Judged:
    needed = photos_to_prove(found.lost, found.won, photos, limit)
    hint = _more_photos(photos)
    if needed is not None and needed > photos:
        hint = f"{photos} photos are too few to decide, about {ceil(needed / 10) * 10} would be enough"
    return judged("max_drop_points", limit, found.points, found.interval95, hint)


def _more_photos(photos: int) -> str:
    return f"{photos} photos are too few to decide"
