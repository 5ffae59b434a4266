"""Put runs side by side: those in JSON files, and bundles that are run for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from xedge.api.documents import read_document
from xedge.bundle.opening import opened, photos_for
from xedge.errors import InputError, XedgeError, parameter
from xedge.evaluating.report import EvaluateReport
from xedge.measuring.comparison import Comparison, Scored, compare_runs
from xedge.measuring.recommendation import BenchmarkReport
from xedge.measuring.report import RunReport
from xedge.measuring.rounds import Measured, Plan, measure_in_rounds
from xedge.quantization.gate import Budget
from xedge.remote.fleet_run import FleetRun
from xedge.remote.run import RemoteRun

Report = Callable[[str], None]


def compare(
    *things: str | Path,
    across: bool = False,
    plan: Plan | None = None,
    max_drop_points: float | None = None,
    min_agreement: float | None = None,
    progress: Report = lambda line: None,
) -> Comparison:
    """Compare runs.

    Args:
        things: JSON files that ``run`` (here or elsewhere), ``benchmark`` or ``evaluate`` wrote, and bundles, which are
            run here in turns.
        across: Also compare timings of different boards.
        plan: How bundles are run.
        max_drop_points: The greatest drop of the top-1 accuracy against the first run, in percentage points.
        min_agreement: The least share of photos with the same first class as the first run, 0 to 1.
        progress: A function that is told what is being done.

    Returns:
        The comparison. With a budget, its ``verdicts`` say whether each run keeps it.

    Raises:
        UsageError: There are fewer than two runs, or a limit is out of its range.
        InputError: A file is not a run, a bundle does not run, or runs lack what the budget is judged by.
    """
    budget = Budget(max_drop_points=max_drop_points, min_agreement=min_agreement)
    paths = [Path(thing) for thing in things]
    bundles = [path for path in paths if _is_bundle(path)]
    if budget.demands:
        _check_scored(bundles, plan or Plan())
    measured = iter(measure_in_rounds(bundles, plan or Plan(), progress) if bundles else [])
    runs: list[Measured | Scored] = []
    for path in paths:
        if not _is_bundle(path):
            runs += _read(path)
            continue
        found = next(measured)
        if isinstance(found, XedgeError):
            raise found
        runs.append(found)
    return compare_runs(runs, across=across, budget=budget)


def _check_scored(bundles: list[Path], plan: Plan) -> None:
    """Refuse a budget for bundles that no photos would be scored on, before they are timed."""
    for path in bundles:
        with opened(path) as bundle:
            if photos_for(bundle, plan.data, None) is None:
                raise InputError(f"{path}: a budget needs labelled photos to score it on; give {parameter('data')}")


def _is_bundle(path: Path) -> bool:
    return path.is_dir() or path.suffix == ".zip"


def read_runs(path: Path) -> list[Measured]:
    """Return the runs of a JSON file.

    Raises:
        InputError: The file holds none.
    """
    return _runs_of(path, read_document(path))


def _runs_of(path: Path, document: Any) -> list[Measured]:
    match document:
        case RunReport():
            return [Measured(run=document, rounds_ms=())]
        case RemoteRun() | FleetRun():
            return [Measured(run=run, rounds_ms=()) for run in document.runs]
        case BenchmarkReport():
            return [row.measured for row in document.rows if row.measured is not None]
        case _:
            raise InputError(
                f"{path}: is {document.schema}; give JSON files of run, run --on, benchmark or evaluate, or bundles"
            )


def _read(path: Path) -> Sequence[Measured | Scored]:
    """Return what a JSON file has to compare; errors are those of ``read_runs``."""
    document = read_document(path)
    if not isinstance(document, EvaluateReport):
        return _runs_of(path, document)
    return [Scored(**{each.name: getattr(one, each.name) for each in fields(Scored)}) for one in document.bundles]
