"""Compare every target and precision of one model on this machine in one table, and recommend one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from xedge.measuring.comparison import Judgement, accuracy_difference, latency_difference
from xedge.measuring.rounds import Measured
from xedge.vocabulary import TOLERATED_POINTS, Precision, Ranges, artifact_name


@dataclass(frozen=True, kw_only=True)
class Row:
    """The measurement of one target and precision.

    Args:
        target: The name of the target.
        precision: The precision.
        ranges: Where the ranges of int8 come from, for targets that offer a choice; None for the others.
        size: The height and width of photos, if several sizes were asked for; None otherwise.
        error: The reason why there is no measurement; None if there is one.
        bundle: The folder of the bundle; None if it was not kept.
        measured: The measurement over all turns; None if the bundle could not be made or did not run.
        accuracy: The judgement of its accuracy against the first fp32 row of the table; None if it was not scored.
        points: The top-1 accuracy gained over that row, in percentage points; None if it was not scored.
    """

    target: str
    precision: Precision
    error: str | None
    bundle: str | None
    measured: Measured | None
    accuracy: Judgement | None = None
    points: float | None = None
    ranges: Ranges | None = None
    size: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The target and the precision, with the ranges of int8 and the size of photos where they were chosen."""
        return artifact_name(self.target, self.precision, self.ranges, self.size)


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Which target and precision to use on this machine, and why.

    Args:
        target: The name of the recommended target.
        precision: The recommended precision.
        reasons: The reasons for the recommendation, one text each.
        ranges: Where the ranges of the recommended int8 come from, for targets that offer a choice; None for the
            others.
        size: The recommended height and width of photos, if several were asked for; None otherwise.
    """

    target: str
    precision: Precision
    reasons: tuple[str, ...]
    ranges: Ranges | None = None
    size: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The target and the precision, with the ranges of int8 and the size of photos where they were chosen."""
        return artifact_name(self.target, self.precision, self.ranges, self.size)


@dataclass(frozen=True, kw_only=True)
class BenchmarkReport:
    """All targets and precisions of one model that were tried, and the recommended one.

    Args:
        schema: The kind of this document and its version.
        model: The name of the model.
        rounds: The number of turns of each bundle.
        rows: The targets and precisions, in the order of the table.
        recommendation: The recommended target and precision; None if nothing ran.
    """

    schema: Literal["xedge.benchmark/2"] = "xedge.benchmark/2"
    model: str
    rounds: int
    rows: tuple[Row, ...]
    recommendation: Recommendation | None


def beside_float(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, with the accuracy of each compared with a reference row.

    The reference is the first fp32 row that ran, or the first row that ran if no fp32 row did.
    """
    ran = [row for row in rows if row.measured is not None]
    first = next((row for row in ran if row.precision == "fp32"), ran[0] if ran else None)
    told = []
    for row in rows:
        difference = None
        if row.measured is not None and first is not None and first.measured is not None:
            difference = accuracy_difference(row.measured.run, first.measured.run)
        told.append(
            row if difference is None else replace(row, accuracy=difference.judgement, points=difference.points)
        )
    return told


def recommend(rows: Sequence[Row], tolerated_points: float = TOLERATED_POINTS) -> Recommendation | None:
    """Recommend the fastest row that keeps the accuracy; of rows that are equally fast within noise, the smallest.

    Args:
        rows: The rows of the table.
        tolerated_points: The greatest loss of top-1 accuracy, in percentage points, that still counts as kept.
    """
    ran = [row for row in rows if row.measured is not None]
    if not ran:
        return None
    scored = [row for row in ran if row.points is not None]
    if scored:
        keeping = [row for row in scored if row.points is not None and row.points >= -tolerated_points]
        keeping = [row for row in keeping if row.accuracy != "worse"] or scored
    else:
        # An accuracy that was not measured is not promised: a quantized artifact may have lost any amount of it.
        keeping = [row for row in ran if row.precision in ("fp32", "fp16")] or ran
    fastest = min(keeping, key=_p50_ms)
    alike = [row for row in keeping if row is fastest or _within_noise(row, fastest)]
    best = min(alike, key=_size)
    reasons = tuple(_reasons(best, fastest, ran, scored, alike))
    return Recommendation(
        target=best.target, precision=best.precision, ranges=best.ranges, size=best.size, reasons=reasons
    )


def _reasons(best: Row, fastest: Row, ran: list[Row], scored: list[Row], alike: list[Row]) -> list[str]:
    reasons = []
    if best is fastest:
        reasons.append(f"the fastest of those that keep the accuracy: {_p50_ms(best):.2f} ms")
    else:
        reasons.append(
            f"{_p50_ms(best):.2f} ms, which is within noise of the fastest "
            f"({fastest.name}, {_p50_ms(fastest):.2f} ms), and it is smaller"
        )
    if best.points is not None:
        reasons.append(f"top-1 {best.points:+.2f} points against fp32: {best.accuracy}")
    elif not scored:
        reasons.append("accuracy was not measured, so int8, dynamic and w4 were left out")
    others = [row.name for row in alike if row is not best and row is not fastest]
    if others:
        reasons.append(f"these are equally fast within noise: {', '.join(others)}")
    quicker = [row for row in ran if _p50_ms(row) < _p50_ms(fastest) and row not in alike]
    if quicker and scored:
        reasons.append(f"these are faster, but they lose accuracy: {', '.join(row.name for row in quicker)}")
    elif quicker:
        reasons.append(f"these are faster, but their accuracy is unknown: {', '.join(row.name for row in quicker)}")
    return reasons


def _within_noise(row: Row, other: Row) -> bool:
    assert row.measured is not None
    assert other.measured is not None
    return latency_difference(row.measured, other.measured).judgement == "within noise"


def _p50_ms(row: Row) -> float:
    assert row.measured is not None
    return row.measured.run.latency.p50_ms


def _size(row: Row) -> int:
    assert row.measured is not None
    return row.measured.run.artifact_bytes
