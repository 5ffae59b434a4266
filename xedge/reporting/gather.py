"""Gather what a page shows: the runs with their numbers, names and comparisons, and the other documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xedge.errors import InputError
from xedge.evaluating.report import EvaluateReport
from xedge.inspection.analysis import AnalyzeReport
from xedge.inspection.verification import VerifyReport
from xedge.measuring.comparison import AccuracyDifference, accuracy_difference, board_name, names_of
from xedge.measuring.recommendation import BenchmarkReport, Recommendation, Row
from xedge.measuring.report import RunReport
from xedge.remote.fleet_run import FleetRun
from xedge.remote.run import RemoteRun


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A run on the page.

    Args:
        number: The number of the run in the tables and charts, from 1.
        name: A name that no other run on the page has.
        run: The report of the run.
        difference: The difference in accuracy from the reference run of the page; None for the reference run itself, or
            if the run was not scored.
        on_frontier: Whether the run was scored and no other run on the same board is at least as fast and as accurate,
            and better in one of the two.
    """

    number: int
    name: str
    run: RunReport
    difference: AccuracyDifference | None
    on_frontier: bool

    @property
    def short(self) -> str:
        """The target and the precision of the run."""
        return self.run.artifact_name


@dataclass(frozen=True, kw_only=True, eq=False)
class Gathered:
    """Everything that a page shows.

    Args:
        models: The names of the models that were benchmarked.
        entries: The runs.
        reference: The run with which the accuracy of the others is compared: the first fp32 run that was scored, or the
            first scored run if there is no such run; None if no run was scored.
        failures: The error messages of what did not run, by name.
        fleets: The runs on several machines, which are among the entries too.
        evaluations: The evaluations on many photos.
        recommendations: The recommendations of benchmarks.
        verifications: The comparisons of bundles.
        analyses: The analyses of layers.
    """

    models: tuple[str, ...]
    entries: tuple[Entry, ...]
    reference: Entry | None
    failures: dict[str, str]
    fleets: tuple[FleetRun, ...]
    evaluations: tuple[EvaluateReport, ...]
    recommendations: tuple[Recommendation, ...]
    verifications: tuple[VerifyReport, ...]
    analyses: tuple[AnalyzeReport, ...]

    @property
    def boards(self) -> dict[str, list[Entry]]:
        """The runs on each board, by the name of the board."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(board_name(entry.run.board), []).append(entry)
        return found


@dataclass(kw_only=True)
class _Pile:
    models: dict[str, None] = field(default_factory=dict)
    runs: list[RunReport] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    fleets: list[FleetRun] = field(default_factory=list)
    evaluations: list[EvaluateReport] = field(default_factory=list)
    recommendations: list[Recommendation] = field(default_factory=list)
    verifications: list[VerifyReport] = field(default_factory=list)
    analyses: list[AnalyzeReport] = field(default_factory=list)

    def add(self, document: Any) -> None:
        match document:
            case RunReport():
                self.runs.append(document)
            case RemoteRun():
                self.runs += document.runs
                self.failures |= {f"{document.destination}: {k}": v.message for k, v in document.failures.items()}
            case FleetRun():
                self.runs += document.runs
                self.failures |= {name: one.message for name, one in document.failures.items()}
                self.fleets.append(document)
            case EvaluateReport():
                self.evaluations.append(document)
            case BenchmarkReport():
                self.models[document.model] = None
                self._rows(document.rows)
                if document.recommendation is not None:
                    self.recommendations.append(document.recommendation)
            case VerifyReport():
                self.verifications.append(document)
            case AnalyzeReport():
                self.analyses.append(document)
            case _:
                kind = getattr(document, "schema", type(document).__name__)
                raise InputError(
                    f"a report shows what run, evaluate, benchmark, verify and analyze write, but not {kind}"
                )

    def _rows(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.measured is not None:
                self.runs.append(row.measured.run)
            else:
                self.failures[row.name] = row.error or "did not run"


def gather(documents: Sequence[Any], failures: Mapping[str, str] | None = None) -> Gathered:
    """Gather what a page of these documents shows.

    Args:
        documents: The documents.
        failures: The error messages of what did not run and is in none of the documents, by name.

    Raises:
        InputError: The documents hold nothing that a page shows, or one of them is of another kind.
    """
    pile = _Pile(failures=dict(failures or {}))
    for document in documents:
        pile.add(document)
    if not (pile.runs or pile.evaluations or pile.verifications or pile.analyses):
        raise InputError(
            "none of these documents holds a run, so there is nothing to report; give those of `xedge run`"
        )
    scored = [run for run in pile.runs if run.accuracy is not None and run.answers is not None]
    first = next((run for run in scored if run.precision == "fp32"), scored[0] if scored else None)
    entries = tuple(
        Entry(
            number=number,
            name=name,
            run=run,
            difference=accuracy_difference(run, first) if first is not None and run is not first else None,
            on_frontier=_on_frontier(run, pile.runs),
        )
        for number, (name, run) in enumerate(zip(names_of(pile.runs), pile.runs, strict=True), start=1)
    )
    return Gathered(
        models=tuple(pile.models),
        entries=entries,
        reference=next((entry for entry in entries if entry.run is first), None),
        failures=pile.failures,
        fleets=tuple(pile.fleets),
        evaluations=tuple(pile.evaluations),
        recommendations=tuple(pile.recommendations),
        verifications=tuple(pile.verifications),
        analyses=tuple(pile.analyses),
    )


def _on_frontier(run: RunReport, runs: Sequence[RunReport]) -> bool:
    """Return whether no scored run on the board is at least as fast and as accurate, and better in one of the two."""
    if run.accuracy is None:
        return False
    mine = run.latency.p50_ms, -run.accuracy.top1
    for other in runs:
        if other.accuracy is None or board_name(other.board) != board_name(run.board):
            continue
        theirs = other.latency.p50_ms, -other.accuracy.top1
        if theirs != mine and theirs[0] <= mine[0] and theirs[1] <= mine[1]:
            return False
    return True
