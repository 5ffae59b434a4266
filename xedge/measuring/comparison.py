"""Compare runs with the first of them: what differs, and what is within noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Any, Literal

import numpy as np

from xedge.device.board import Board
from xedge.errors import InputError, UsageError, parameter
from xedge.measuring.report import RunReport
from xedge.measuring.rounds import Measured
from xedge.metrics import Accuracy, Answers, Drop, drop_of_answers, mean95, wilson
from xedge.quantization.gate import Budget, Verdict, verdict_by
from xedge.types import DoubleArray, IntArray

Judgement = Literal["better", "worse", "within noise"]
SIGNIFICANT = 0.05
# The greatest relative difference that was seen between two runs of one bundle, each in its own process, on a quiet
# machine (docs/reading.md).
RUN_TO_RUN = 0.15
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A bundle that was scored and not timed, as in an evaluation on many photos; its fields are those of a run.

    Args:
        bundle: The name of the bundle's folder.
        target: The target of the artifact.
        precision: The precision of the artifact.
        artifact_bytes: The size of the artifact in bytes, weights included.
        weights_sha256: The sha256 of the model's weights.
        runtime: The runtime's package with its version.
        accuracy: The accuracy; None without labels.
        answers: The answer to each photo; None if they were not kept.
    """

    bundle: str
    target: str
    precision: str
    artifact_bytes: int
    weights_sha256: str
    runtime: str
    accuracy: Accuracy | None
    answers: Answers | None


Run = RunReport | Scored


@dataclass(frozen=True, kw_only=True)
class Side:
    """One run of the comparison. A field is None if it was not measured.

    Args:
        name: A name that no other run of the comparison has.
        board: The name of the board on which the bundle was timed; None if it was scored alone.
        runtime: The runtime with its version, its provider and the number of threads, as text.
        target: The target of the artifact.
        precision: The precision of the artifact.
        artifact_bytes: The size of the artifact in bytes, weights included.
        photos: The number of photos on which the run was scored.
        top1: The top-1 accuracy, 0 to 1.
        interval95: The 95 % Wilson interval of ``top1``.
        p50_ms: The median latency in milliseconds; None if the bundle was not timed.
        p90_ms: The 90th percentile of the latency in milliseconds.
        rounds_ms: The median latency of each turn in milliseconds; empty if the run was not timed in turns with the
            others.
        peak_memory_bytes: The peak memory of the process in bytes; None if the bundle was not timed.
        valid: Whether the verdict on the latency is VALID; None if there is none.
        reasons: The reasons for the verdict INVALID; empty if it is VALID.
    """

    name: str
    board: str | None
    runtime: str
    target: str
    precision: str
    artifact_bytes: int
    photos: int | None
    top1: float | None
    interval95: tuple[float, float] | None
    p50_ms: float | None
    p90_ms: float | None
    rounds_ms: tuple[float, ...]
    peak_memory_bytes: int | None
    valid: bool | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AccuracyDifference:
    """How the accuracy of a run compares with that of the first run.

    Args:
        points: The top-1 accuracy gained over the first run, in percentage points; negative if this run is worse.
        interval95: The 95 % interval of ``points``.
        mcnemar_p: The p-value of McNemar's exact test; None if the runs were not scored on the same photos.
        agreement: The share of photos with the same answer in both runs, 0 to 1; None if the photos are not the same.
        agreement95: The 95 % interval of ``agreement``; None if the photos are not the same.
        judgement: The judgement by McNemar's test at the 5 % level, or by the interval if the photos are not the same.
    """

    points: float
    interval95: tuple[float, float]
    mcnemar_p: float | None
    agreement: float | None
    agreement95: tuple[float, float] | None
    judgement: Judgement


@dataclass(frozen=True, kw_only=True)
class LatencyDifference:
    """How the latency of a run compares with that of the first run.

    Args:
        ratio: The median latency divided by that of the first run.
        interval95: The 95 % interval of ``ratio``.
        in_turns: Whether both were timed in turns. If not, the interval is widened by as much as two runs of one bundle
            were seen to differ.
        judgement: The judgement by the interval: "within noise" if it contains 1.
    """

    ratio: float
    interval95: tuple[float, float]
    in_turns: bool
    judgement: Judgement


@dataclass(frozen=True, kw_only=True)
class Versus:
    """How a run compares with the first run.

    Args:
        name: The name of the run.
        accuracy: The difference in accuracy; None if one of the two runs was not scored.
        latency: The difference in latency; None if the two runs were on different boards, or if one was
            not timed.
        verdict: The verdict on the budget; None without a budget.
    """

    name: str
    accuracy: AccuracyDifference | None
    latency: LatencyDifference | None
    verdict: Verdict | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All runs, how each of the others compares with the first, and what to bear in mind when reading them.

    Args:
        schema: The kind of this document and its version.
        sides: All runs, in the order in which they were given.
        versus: The comparison of each run after the first with the first.
        max_drop_points: The greatest drop of the top-1 accuracy against the first run that the budget allows, in
            percentage points; None does not limit it.
        min_agreement: The least agreement with the first run that the budget demands, 0 to 1; None demands none.
        notes: What limits the comparison, one sentence each.
    """

    schema: Literal["xedge.compare/2"] = "xedge.compare/2"
    sides: tuple[Side, ...]
    versus: tuple[Versus, ...]
    max_drop_points: float | None
    min_agreement: float | None
    notes: tuple[str, ...]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts on the budget, of each run after the first."""
        return tuple(one.verdict for one in self.versus if one.verdict is not None)


def compare_runs(
    measured: Sequence[Measured | Scored], *, across: bool = False, budget: Budget | None = None
) -> Comparison:
    """Compare every run with the first.

    Args:
        measured: Two or more runs, timed or scored alone.
        across: Whether to compare the latencies of runs on different boards.
        budget: What a run may lose against the first; None judges nothing.

    Raises:
        UsageError: There are fewer than two runs.
        InputError: A run lacks what the budget is judged by.
    """
    budget = budget or Budget()
    if len(measured) < 2:
        raise UsageError("a comparison needs at least two runs; give JSON files of `xedge run`, or bundles")
    runs = [_run(one) for one in measured]
    names = names_of(runs)
    sides = tuple(_side(name, one) for name, one in zip(names, measured, strict=True))
    versus = []
    for name, other in zip(names[1:], measured[1:], strict=True):
        accuracy = accuracy_difference(_run(other), runs[0])
        latency = _latency_difference(other, measured[0], across=across)
        verdict = _verdict(budget, accuracy, name, names[0]) if budget.demands else None
        versus.append(Versus(name=name, accuracy=accuracy, latency=latency, verdict=verdict))
    return Comparison(
        sides=sides,
        versus=tuple(versus),
        max_drop_points=budget.max_drop_points,
        min_agreement=budget.min_agreement,
        notes=tuple(_notes(names, runs, across=across)),
    )


def _verdict(budget: Budget, found: AccuracyDifference | None, name: str, first: str) -> Verdict:
    if found is None:
        demanded = "max_drop_points" if budget.max_drop_points is not None else "min_agreement"
        raise InputError(
            f"{name} and {first}: {parameter(demanded)} needs runs that were scored on labelled photos; give "
            f"{parameter('data')} when they are made"
        )
    if budget.min_agreement is not None and found.agreement95 is None:
        raise InputError(
            f"{name} and {first}: {parameter('min_agreement')} needs the answers of both runs to the same photos; "
            "score both on the same"
        )
    low, high = found.interval95
    return verdict_by(budget, found.agreement95, (0.0 - high, 0.0 - low))


def _run(one: Measured | Scored) -> Run:
    return one if isinstance(one, Scored) else one.run


def _latency_difference(
    other: Measured | Scored, first: Measured | Scored, *, across: bool
) -> LatencyDifference | None:
    if isinstance(other, Scored) or isinstance(first, Scored):
        return None
    return latency_difference(other, first) if across or _same_board(other.run, first.run) else None


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return a name for each run: that of its bundle, and whatever distinguishes it from runs with the same name."""
    names = [run.bundle for run in runs]
    boards = [board_name(run.board) if isinstance(run, RunReport) else "not timed" for run in runs]
    threads = [f"{run.execution.threads} threads" if isinstance(run, RunReport) else "not timed" for run in runs]
    for details in (boards, threads):
        twice = {name for name in names if names.count(name) > 1}
        if len(set(details)) > 1:
            names = [f"{name}, {more}" if name in twice else name for name, more in zip(names, details, strict=True)]
    return [f"{name} #{names[: i + 1].count(name)}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def board_name(board: Board) -> str:
    """Return the name of a board: its model, or its architecture if the model is not known."""
    name = (board.model or board.machine).split("\0")[0]
    return f"{name} (emulated)" if board.emulated else name


def accuracy_difference(run: Run, first: Run) -> AccuracyDifference | None:
    """Return the difference in accuracy between a run and the first run; None if one of them was not scored."""
    if run.accuracy is None or first.accuracy is None:
        return None
    paired = _paired(run, first)
    if paired is None:
        return _unpaired(run.accuracy, first.accuracy)
    answers, reference, truth = paired
    found: Drop = drop_of_answers(answers, reference, truth)
    same = int((answers == reference).sum())
    points = 0.0 - found.points  # The subtraction avoids a negative zero.
    changed = found.mcnemar_p < SIGNIFICANT
    return AccuracyDifference(
        points=points,
        interval95=(0.0 - found.interval95[1], 0.0 - found.interval95[0]),
        mcnemar_p=found.mcnemar_p,
        agreement=same / len(truth),
        agreement95=wilson(same, len(truth)),
        judgement=("better" if points > 0 else "worse") if changed else "within noise",
    )


def _paired(run: Run, first: Run) -> tuple[IntArray, IntArray, IntArray] | None:
    """Return the answers of both runs and the true classes, photo by photo; None if the photos are not the same."""
    ours, theirs = run.answers, first.answers
    if ours is None or theirs is None or ours.photos_sha256 != theirs.photos_sha256 or ours.labels != theirs.labels:
        return None
    place = {photo: index for index, photo in enumerate(ours.photos)}
    if set(place) != set(theirs.photos):
        return None
    order = [place[photo] for photo in theirs.photos]
    return np.array(ours.first)[order], np.array(theirs.first), np.array(theirs.truth)


def _unpaired(ours: Accuracy, theirs: Accuracy) -> AccuracyDifference:
    """Compare the top-1 accuracies of two independent samples of photos.

    Newcombe, 1998, "Interval estimation for the difference", method 10.
    """
    difference = ours.top1 - theirs.top1
    low = difference - sqrt((ours.top1 - ours.interval95[0]) ** 2 + (theirs.interval95[1] - theirs.top1) ** 2)
    high = difference + sqrt((ours.interval95[1] - ours.top1) ** 2 + (theirs.top1 - theirs.interval95[0]) ** 2)
    return AccuracyDifference(
        points=100 * difference,
        interval95=(100 * low, 100 * high),
        mcnemar_p=None,
        agreement=None,
        agreement95=None,
        judgement="better" if low > 0 else "worse" if high < 0 else "within noise",
    )


def latency_difference(run: Measured, first: Measured) -> LatencyDifference:
    """Return the difference in latency between a run and the first run."""
    in_turns = len(run.rounds_ms) == len(first.rounds_ms) >= 3
    if in_turns:
        ratio, low, high = _ratio_of_rounds(run.rounds_ms, first.rounds_ms)
    else:
        ratio, low, high = _ratio_of_samples(run.run.samples_ns, first.run.samples_ns)
        low, high = low * (1 - RUN_TO_RUN), high * (1 + RUN_TO_RUN)
    return LatencyDifference(
        ratio=ratio,
        interval95=(low, high),
        in_turns=in_turns,
        judgement="better" if high < 1 else "worse" if low > 1 else "within noise",
    )


def _ratio_of_rounds(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Return the geometric mean of the ratios of the turns, and its 95 % interval.

    The ratios are independent, so the interval is Student's interval of the mean of their logarithms.
    """
    middle, low, high = mean95([log(a / b) for a, b in zip(ours, theirs, strict=True)])
    return exp(middle), exp(low), exp(high)


def _ratio_of_samples(ours: Sequence[int], theirs: Sequence[int]) -> tuple[float, float, float]:
    """Return the ratio of the medians and its 95 % bootstrap interval.

    Successive samples are correlated, so whole blocks of them are drawn (moving-block bootstrap; Künsch, 1989).
    """
    rng = np.random.default_rng(0)
    ratios = _medians(ours, rng) / _medians(theirs, rng)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(np.median(ours) / np.median(theirs)), float(low), float(high)


def _medians(samples: Sequence[int], rng: np.random.Generator) -> DoubleArray:
    values = np.array(samples, np.float64)
    block = max(1, round(sqrt(len(values))))
    starts = rng.integers(0, len(values) - block + 1, (RESAMPLES, -(-len(values) // block)))
    drawn = values[(starts[:, :, None] + np.arange(block)).reshape(RESAMPLES, -1)[:, : len(values)]]
    medians: DoubleArray = np.median(drawn, axis=1)
    return medians


def _side(name: str, one: Measured | Scored) -> Side:
    run, timing = _run(one), {} if isinstance(one, Scored) else _timing(one)
    untimed = dict.fromkeys(("board", "p50_ms", "p90_ms", "peak_memory_bytes", "valid"))
    return Side(
        name=name,
        target=run.target,
        precision=run.precision,
        artifact_bytes=run.artifact_bytes,
        photos=run.accuracy.photos if run.accuracy is not None else None,
        top1=run.accuracy.top1 if run.accuracy is not None else None,
        interval95=run.accuracy.interval95 if run.accuracy is not None else None,
        **{"runtime": getattr(run, "runtime", ""), "rounds_ms": (), "reasons": (), **untimed, **timing},
    )


def _timing(one: Measured) -> dict[str, Any]:
    run = one.run
    return {
        "board": board_name(run.board),
        "runtime": run.execution.described,
        "p50_ms": run.latency.p50_ms,
        "p90_ms": run.latency.p90_ms,
        "rounds_ms": one.rounds_ms,
        "peak_memory_bytes": run.peak_memory_bytes,
        "valid": run.verdict.valid,
        "reasons": run.verdict.reasons,
    }


def _same_board(run: RunReport, first: RunReport) -> bool:
    def identity(board: Board) -> tuple[object, ...]:
        return board.model, board.soc, board.machine, board.cores, board.emulated

    return identity(run.board) == identity(first.board)


def _notes(names: Sequence[str], runs: Sequence[Run], *, across: bool) -> list[str]:
    timed = {name: run for name, run in zip(names, runs, strict=True) if isinstance(run, RunReport)}
    notes = _timing_notes(timed, across=across)
    if len(timed) < len(runs):
        notes.append(f"not timed: {', '.join(name for name in names if name not in timed)}")
    scored = [run for run in runs if run.accuracy is not None]
    if len({run.answers.photos_sha256 if run.answers is not None else None for run in scored}) > 1:
        notes.append("the runs were not scored on the same photos: they are compared as independent samples")
    invalid = [name for name, run in timed.items() if not run.verdict.valid]
    if invalid:
        which = "all of them" if len(invalid) == len(names) else ", ".join(invalid)
        notes.append(f"the timings of these runs are INVALID and should not be quoted: {which}")
    if len({run.weights_sha256 for run in runs}) > 1:
        notes.append("the runs are not of the same model: the weights differ")
    return notes


def _timing_notes(timed: Mapping[str, RunReport], *, across: bool) -> list[str]:
    notes, runs = [], list(timed.values())
    elsewhere = [name for name, run in timed.items() if not _same_board(run, runs[0])]
    if elsewhere and not across:
        notes.append(
            f"timings are not compared for runs on another board than that of the first: {', '.join(elsewhere)}"
        )
    threads = {run.execution.threads for run in runs}
    if len(threads) > 1:
        notes.append(f"the numbers of threads differ: {', '.join(map(str, sorted(threads)))}")
    return notes
