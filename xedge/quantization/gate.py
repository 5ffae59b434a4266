"""The gate: make attempts, from cheap to expensive, until one keeps the budget; keep the best one so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from math import floor
from typing import Generic, Literal, TypeVar

from xedge.errors import UsageError, parameter
from xedge.metrics import Z_95, Agreement, Drop, agreement, drop, paired_interval, wilson
from xedge.types import FloatArray, IntArray

Verdict = Literal["met", "not met", "too few photos to decide"]
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The budget: how much accuracy quantization may cost on the selection photos.

    Args:
        max_drop_points: The greatest drop of the top-1 accuracy, in percentage points; None does not limit it.
        min_agreement: The least share of photos with the same top-1 class as in the float model, 0 to 1; None demands
            none.
        time_s: The time in seconds after which no further attempt is begun; None does not limit it.

    Raises:
        UsageError: A limit is out of its range.
    """

    max_drop_points: float | None = None
    min_agreement: float | None = None
    time_s: float | None = None

    def __post_init__(self) -> None:
        check_agreement(self.min_agreement)
        if self.max_drop_points is not None and not 0 <= self.max_drop_points <= 100:
            named = f"{parameter('max_drop_points')} {self.max_drop_points:g}"
            raise UsageError(f"{named}: is not a number of percentage points from 0 to 100")

    @property
    def demands(self) -> bool:
        """Whether the budget demands anything of the accuracy."""
        return self.max_drop_points is not None or self.min_agreement is not None


def check_agreement(share: float | None) -> None:
    """Refuse a demanded agreement that is no share, such as a percentage.

    Args:
        share: The least share of photos with the same top-1 class, 0 to 1; None demands none.

    Raises:
        UsageError: It is not from 0 to 1.
    """
    if share is not None and not 0 <= share <= 1:
        meant = f"; did you mean {share / 100:g}?" if 1 < share <= 100 else ""
        raise UsageError(f"{parameter('min_agreement')} {share:g}: is a share of the photos, from 0 to 1{meant}")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of one attempt on the selection photos.

    Args:
        agreement: The agreement with the float reference.
        drop: The drop of the top-1 accuracy; None without labels.
        holds: Whether the measured figures are within the budget.
        verdict: The verdict by the 95 % intervals: whether they lie within the budget, outside it, or on both sides.
    """

    agreement: Agreement
    drop: Drop | None
    holds: bool
    verdict: Verdict


def judge(budget: Budget, got: FloatArray, reference: FloatArray, truth: IntArray | None) -> Outcome:
    """Judge an artifact by a budget.

    Args:
        budget: The budget.
        got: The probabilities (N, classes) of the artifact for the selection photos.
        reference: The probabilities (N, classes) of the float reference for the same photos.
        truth: The indices (N,) of the true classes, which a limit on the drop needs; None if they are not known.
    """
    lost = drop(got, reference, truth) if truth is not None else None
    return judged_by(budget, agreement(got, reference), lost)


def judged_by(budget: Budget, same: Agreement, lost: Drop | None) -> Outcome:
    """Judge figures by a budget.

    Args:
        budget: The budget.
        same: The agreement with the reference.
        lost: The drop of the top-1 accuracy, which a limit on the drop needs; None without labels.
    """
    holds = budget.min_agreement is None or same.agreement >= budget.min_agreement
    if budget.max_drop_points is not None:
        assert lost is not None, "a drop needs labels"
        holds = holds and lost.points <= budget.max_drop_points
    verdict = verdict_by(budget, same.interval95, None if lost is None else lost.interval95)
    return Outcome(agreement=same, drop=lost, holds=holds, verdict=verdict)


def verdict_by(budget: Budget, agreement95: tuple[float, float] | None, drop95: tuple[float, float] | None) -> Verdict:
    """Return the verdict on intervals by a budget.

    Args:
        budget: The budget.
        agreement95: The 95 % interval of the agreement, 0 to 1, which a demanded agreement needs.
        drop95: The 95 % interval of the drop in percentage points, which a limit on the drop needs.
    """
    verdicts = []
    if budget.min_agreement is not None:
        assert agreement95 is not None, "an agreement needs the same photos"
        low, high = agreement95
        verdicts.append(decided(sure=low >= budget.min_agreement, out=high < budget.min_agreement))
    if budget.max_drop_points is not None:
        assert drop95 is not None, "a drop needs labels"
        low, high = drop95
        verdicts.append(decided(sure=high <= budget.max_drop_points, out=low > budget.max_drop_points))
    return worst(verdicts)


# Photos that a budget is judged on, unless the user says how many, and this many times those that would do if no photo
# changed its class: so a few may.
SELECTION_PHOTOS = 300
SPARE = 3


def least_photos(budget: Budget) -> int | None:
    """Return on how many photos a budget is met if no photo changes its class, so that fewer can never show it.

    Without a change, both intervals reach as far as z² / (N + z²) from 100 % agreement or from no drop.

    Args:
        budget: The budget.

    Returns:
        The number of photos, 1 without demands; None if no number does, as for an agreement of 100 %.
    """
    allowed = [1.0 - budget.min_agreement] if budget.min_agreement is not None else []
    allowed += [budget.max_drop_points / 100] if budget.max_drop_points is not None else []
    least = min(allowed, default=1.0)
    if least <= 0:
        return None
    about = max(1, floor(Z_95**2 * (1 - least) / least))
    return next(photos for photos in count(about) if _unchanged(budget, photos) == "met")


def _unchanged(budget: Budget, photos: int) -> Verdict:
    """Return the verdict on photos of which none changes its class."""
    low, high = paired_interval(0, 0, photos)
    return verdict_by(budget, wilson(photos, photos), (100 * low, 100 * high))


def selection_photos(budget: Budget) -> int:
    """Return on how many photos a budget is judged, where there are as many and the user does not say."""
    return max(SELECTION_PHOTOS, SPARE * (least_photos(budget) or 0))


def decided(*, sure: bool, out: bool) -> Verdict:
    """Return the verdict on a limit.

    Args:
        sure: Whether the whole 95 % interval is within the limit.
        out: Whether the whole interval is outside it.
    """
    return "met" if sure else "not met" if out else "too few photos to decide"


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the worst of several verdicts; without any, nothing was demanded."""
    order: tuple[Verdict, ...] = ("not met", "too few photos to decide", "met")
    return min(verdicts, key=order.index, default="met")


@dataclass(frozen=True, kw_only=True)
class Try:
    """One attempt that was made.

    Args:
        rung: The name of the attempt.
        outcome: The result on the selection photos.
        seconds: The time in seconds to make and score the artifact.
        ms: The median latency of one inference in milliseconds, measured while the artifact was scored.
        in_float: The names of the layers that this attempt moved to float.
    """

    rung: str
    outcome: Outcome
    seconds: float
    ms: float
    in_float: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored(Generic[Made]):
    """What an attempt made.

    Args:
        made: The artifact.
        rows: The probabilities (N, classes) of the artifact for the selection photos.
        ms: The median latency of one inference in milliseconds.
    """

    made: Made
    rows: FloatArray
    ms: float


@dataclass(frozen=True, kw_only=True)
class Rung(Generic[Made]):
    """An attempt that can be made.

    Args:
        name: The name of the attempt in messages and in the manifest.
        make: A function that makes an artifact and scores it.
        in_float: The names of the layers that this attempt moves to float.
    """

    name: str
    make: Callable[[], Scored[Made]]
    in_float: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Climb(Generic[Made]):
    """All attempts, and the one that was chosen.

    Args:
        tries: The attempts that were made, in order.
        chosen: The index of the chosen attempt: the first one that keeps the budget, otherwise the one with the least
            total variation from the reference.
        made: The artifact of the chosen attempt.
        out_of_time: Whether attempts were left out because the time was used up.
    """

    tries: tuple[Try, ...]
    chosen: int
    made: Made
    out_of_time: bool

    @property
    def outcome(self) -> Outcome:
        """The result of the chosen attempt."""
        return self.tries[self.chosen].outcome


def climb(
    rungs: Iterable[Rung[Made]],
    judged: Callable[[FloatArray], Outcome],
    time_s: float | None,
    clock: Callable[[], float],
    report: Callable[[Try], None],
) -> Climb[Made]:
    """Make one attempt after another until one keeps the budget.

    Args:
        rungs: The attempts, the cheapest first; at least one.
        judged: A function that judges probabilities (N, classes) by the budget.
        time_s: The time in seconds after which no further attempt is begun; None does not limit it.
        clock: A function that returns the time in seconds.
        report: A function that is called with each attempt after it was made.
    """
    start = clock()
    tries: list[Try] = []
    best: tuple[float, int, Made] | None = None
    out_of_time = False
    for rung in rungs:
        begin = clock()
        if best is not None and time_s is not None and begin - start > time_s:
            out_of_time = True
            break
        scored = rung.make()
        outcome = judged(scored.rows)
        seconds = clock() - begin
        tries.append(Try(rung=rung.name, outcome=outcome, seconds=seconds, ms=scored.ms, in_float=rung.in_float))
        report(tries[-1])
        distance = -1.0 if outcome.holds else outcome.agreement.total_variation
        if best is None or distance < best[0]:
            best = (distance, len(tries) - 1, scored.made)
        if outcome.holds:
            break
    assert best is not None, "a ladder has a rung"
    return Climb(tries=tuple(tries), chosen=best[1], made=best[2], out_of_time=out_of_time)
