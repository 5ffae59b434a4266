"""Every target and precision of one model on this machine, in one table, and which of them to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from xedge.measuring.comparison import Judgement, accuracy_difference, latency_difference
from xedge.measuring.rounds import Measured
from xedge.vocabulary import Precision

# More than this is not worth any speed, unless the user says so.
TOLERATED_POINTS = 1.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One target and precision.

    Args:
        error: why there is no measurement; None where there is one.
        bundle: its folder, where it was kept.
        measured: its turns.
        accuracy: beside the first fp32 of the table: better, worse or within noise; None where not scored.
        points: percentage points of top-1 gained against that.
    """

    target: str
    precision: Precision
    error: str | None
    bundle: str | None
    measured: Measured | None
    accuracy: Judgement | None = None
    points: float | None = None


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Which row to take on this machine, and why, in sentences."""

    target: str
    precision: Precision
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BenchmarkReport:
    """The whole table; ``recommendation`` is None where nothing ran."""

    schema: Literal["xedge.benchmark/1"] = "xedge.benchmark/1"
    model: str
    rounds: int
    rows: tuple[Row, ...]
    recommendation: Recommendation | None


def beside_float(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with every one's accuracy beside the first fp32 row that ran, or the first that ran at all."""
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
    """Return the fastest row that keeps the accuracy; of those that noise cannot tell apart, the smallest artifact."""
    ran = [row for row in rows if row.measured is not None]
    if not ran:
        return None
    scored = [row for row in ran if row.points is not None]
    if scored:
        keeping = [row for row in scored if row.points is not None and row.points >= -tolerated_points]
        keeping = [row for row in keeping if row.accuracy != "worse"] or scored
    else:
        # What was not measured is not promised: a quantized artifact may have lost anything.
        keeping = [row for row in ran if row.precision in ("fp32", "fp16")] or ran
    fastest = min(keeping, key=_p50_ms)
    alike = [row for row in keeping if row is fastest or _within_noise(row, fastest)]
    best = min(alike, key=_size)
    return Recommendation(
        target=best.target, precision=best.precision, reasons=tuple(_reasons(best, fastest, ran, scored, alike))
    )


def _reasons(best: Row, fastest: Row, ran: list[Row], scored: list[Row], alike: list[Row]) -> list[str]:
    reasons = []
    if best is fastest:
        reasons.append(f"the fastest of those that keep the accuracy: {_p50_ms(best):.2f} ms")
    else:
        reasons.append(
            f"{_p50_ms(best):.2f} ms, which noise cannot tell from the fastest "
            f"({_name(fastest)}, {_p50_ms(fastest):.2f} ms), and smaller"
        )
    if best.points is not None:
        reasons.append(f"top-1 {best.points:+.2f} points against fp32: {best.accuracy}")
    elif not scored:
        reasons.append("accuracy was not measured, so int8 and dynamic were left out")
    others = [_name(row) for row in alike if row is not best and row is not fastest]
    if others:
        reasons.append(f"as fast within noise: {', '.join(others)}")
    quicker = [row for row in ran if _p50_ms(row) < _p50_ms(fastest) and row not in alike]
    if quicker and scored:
        reasons.append(f"faster, but losing accuracy: {', '.join(map(_name, quicker))}")
    elif quicker:
        reasons.append(f"faster, with accuracy unknown: {', '.join(map(_name, quicker))}")
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


def _name(row: Row) -> str:
    return f"{row.target} {row.precision}"
