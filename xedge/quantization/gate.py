"""The gate: climb from cheap to expensive rungs until a budget holds, keep the best so far, and say what is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from xedge.metrics import Agreement, Drop, agreement, drop
from xedge.types import FloatArray, IntArray

Verdict = Literal["met", "not met", "too few photos to decide"]
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What quantization may cost on the selection photos.

    Args:
        max_drop_points: of top-1, in percentage points; None demands nothing.
        min_agreement: share of photos with the float model's first class; None demands nothing.
        time_s: no new rung is begun after so long; None has no limit.
    """

    max_drop_points: float | None = None
    min_agreement: float | None = None
    time_s: float | None = None

    @property
    def demands(self) -> bool:
        """Whether anything is demanded."""
        return self.max_drop_points is not None or self.min_agreement is not None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one rung did on the selection photos.

    Args:
        agreement: with the float reference.
        drop: of top-1; None without labels.
        holds: whether the measured figures are within the budget.
        verdict: whether their 95 % intervals are, are beyond it, or lie on both sides.
    """

    agreement: Agreement
    drop: Drop | None
    holds: bool
    verdict: Verdict


def judge(budget: Budget, got: FloatArray, reference: FloatArray, truth: IntArray | None) -> Outcome:
    """Return the outcome for probabilities (N, classes) of both and, for a drop, class indices (N,)."""
    same = agreement(got, reference)
    lost = drop(got, reference, truth) if truth is not None else None
    holds, verdicts = [], []
    if budget.min_agreement is not None:
        low, high = same.interval95
        holds.append(same.agreement >= budget.min_agreement)
        verdicts.append(_verdict(sure=low >= budget.min_agreement, out=high < budget.min_agreement))
    if budget.max_drop_points is not None:
        assert lost is not None, "a drop needs labels"
        low, high = lost.interval95
        holds.append(lost.points <= budget.max_drop_points)
        verdicts.append(_verdict(sure=high <= budget.max_drop_points, out=low > budget.max_drop_points))
    return Outcome(agreement=same, drop=lost, holds=all(holds), verdict=_worst(verdicts))


def _verdict(*, sure: bool, out: bool) -> Verdict:
    return "met" if sure else "not met" if out else "too few photos to decide"


def _worst(verdicts: list[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("not met", "too few photos to decide", "met")
    return min(verdicts, key=order.index, default="met")


@dataclass(frozen=True, kw_only=True)
class Try:
    """One rung that was tried.

    Args:
        rung: its name.
        outcome: on the selection photos.
        seconds: that making and scoring it took.
        ms: median of one inference while it was scored.
        in_float: layers that it moved to float.
    """

    rung: str
    outcome: Outcome
    seconds: float
    ms: float
    in_float: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored(Generic[Made]):
    """What a rung made: the artifact, its probabilities (N, classes) of the selection photos, and the median ms."""

    made: Made
    rows: FloatArray
    ms: float


@dataclass(frozen=True, kw_only=True)
class Rung(Generic[Made]):
    """What can be tried.

    Args:
        name: for people.
        make: makes it and scores it.
        in_float: layers that it moves to float.
    """

    name: str
    make: Callable[[], Scored[Made]]
    in_float: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Climb(Generic[Made]):
    """The whole climb.

    Args:
        tries: in order.
        chosen: index of the rung that was taken: the first that holds, else the one closest to the reference.
        made: what that rung made.
        out_of_time: whether rungs were left untried.
    """

    tries: tuple[Try, ...]
    chosen: int
    made: Made
    out_of_time: bool

    @property
    def outcome(self) -> Outcome:
        """The outcome of the rung that was taken."""
        return self.tries[self.chosen].outcome


def climb(
    rungs: Iterable[Rung[Made]],
    judged: Callable[[FloatArray], Outcome],
    time_s: float | None,
    clock: Callable[[], float],
    report: Callable[[Try], None],
) -> Climb[Made]:
    """Try rung after rung.

    Args:
        rungs: the cheapest first.
        judged: holds these against the budget.
        time_s: no new rung is begun after so long.
        clock: seconds.
        report: told of each rung.
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
