"""Evaluate bundles on many photos, on all cores of this machine or on a cluster."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from xedge.bundle.opening import opened
from xedge.device.board import usable_cores
from xedge.errors import InputError, MissingRuntimeError, UsageError, parameter
from xedge.evaluating.report import EvaluatePlan, EvaluateReport
from xedge.files import check_writable
from xedge.measuring.starting import RunOptions
from xedge.photos.reading import address_of, read_photos
from xedge.photos.stored import EXTRA, is_remote
from xedge.quantization.gate import Budget
from xedge.runtimes.classifier import open_bundle_classifier, try_bundle

Report = Callable[[str], None]
Pathlike = str | Path


def evaluate(
    *bundles: Pathlike,
    data: Pathlike,
    output: Pathlike,
    truth: Pathlike | None = None,
    limit: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    runtime: str | None = None,
    max_drop_points: float | None = None,
    min_agreement: float | None = None,
    skip_damaged: int = 0,
    answers: bool = True,
    report: Report = lambda line: None,
    progress: Report = lambda line: None,
) -> EvaluateReport:
    """Evaluate bundles on the same photos, chunk by chunk, on the processes of a Dask cluster.

    Each finished chunk is a file in the output folder. A second call computes only what is missing there.

    Args:
        bundles: The bundles: their folders or zips. The first fp32 bundle, or else the first one, is the reference.
        data: The photos, as for ``run``.
        output: The folder for the parts of the results.
        truth: A file with the class of each photo in a flat folder or a .tar.
        limit: The number of photos to evaluate, chosen by a fixed seed; None takes all.
        workers: The number of processes on this machine; None takes the number of cores.
        scheduler: The address of the scheduler of a cluster that runs already; None starts processes on this machine.
        runtime: The name of the runtime; None takes the first installed one that opens each artifact.
        max_drop_points: The greatest drop of the top-1 accuracy against the reference, in percentage points.
        min_agreement: The least share of photos with the same first class as the reference, 0 to 1.
        skip_damaged: The greatest number of photos that cannot be read and are left out.
        answers: Whether the report has the answer to each photo, with which runs can be compared later.
        report: A function that is told one line as each stage ends.
        progress: A function that is told how far the evaluation is.

    Raises:
        XedgeError: Something does not fit together, a photo or bundle cannot be read, or the cluster is lost. The
            parts that are finished are kept.
    """
    if not bundles:
        raise UsageError("no bundle is given; name one or more")
    if scheduler is not None and workers is not None:
        raise UsageError(
            f"{parameter('workers')} are processes on this machine, but {parameter('scheduler')} is a cluster that "
            "has its own; give one of the two"
        )
    folder, budget = Path(output), Budget(max_drop_points=max_drop_points, min_agreement=min_agreement)
    if budget.demands and len(bundles) < 2:
        demanded = parameter("max_drop_points" if max_drop_points is not None else "min_agreement")
        raise UsageError(f"{bundles[0]}: there is nothing to compare it with, as {demanded} demands; give its fp32 too")
    check_writable(folder)
    with ExitStack() as stack:
        members = [stack.enter_context(opened(Path(bundle))) for bundle in bundles]
        for one in members if scheduler is None else ():
            # In a fork of this process, which still has one thread: a damaged artifact would crash each worker.
            try_bundle(one, RunOptions(threads=1).settings(one), runtime)
        for one in members if scheduler is None else ():
            open_bundle_classifier(one, RunOptions(threads=1).settings(one), runtime)
        # Workers of another's cluster have other working folders.
        photos = read_photos(data if scheduler is None else _absolute(data), truth)
        photos = photos if limit is None else photos.sample(limit, seed=0)
        if budget.max_drop_points is not None and not photos.labelled:
            raise InputError(f"{data}: {parameter('max_drop_points')} needs photos with labels; give class folders")
        run, cluster = _part("run"), _part("cluster")
        evaluation = run.evaluation_of(members, photos, folder, runtime=runtime, skip_damaged=skip_damaged)
        client = stack.enter_context(
            cluster.local(workers or usable_cores()) if scheduler is None else cluster.running(scheduler)
        )
        found: EvaluateReport = run.evaluate_on(
            client, evaluation, budget, answers=answers, report=report, progress=progress
        )
        return found


def _absolute(data: Pathlike) -> Pathlike:
    """Return a path on this machine as an absolute one; an address is one already."""
    return data if is_remote(address_of(data)) else Path(data).absolute()


def evaluate_plan(output: Pathlike, *, max_drop_points: float) -> EvaluatePlan:
    """Return on how many photos a drop below a limit would be proved, from what was evaluated so far.

    Args:
        output: The folder of an evaluation, finished or not.
        max_drop_points: The limit of the drop of the top-1 accuracy, in percentage points.

    Raises:
        InputError: Nothing was evaluated there that could be compared.
        MissingRuntimeError: The packages of the extra ``cluster`` are not installed.
    """
    found: EvaluatePlan = _part("planning").plan_of(Path(output), max_drop_points)
    return found


def _part(name: str) -> Any:
    """Return a module of ``xedge.evaluating``; Dask and Arrow are imported for evaluations alone."""
    try:
        return importlib.import_module(f"xedge.evaluating.{name}")
    except ModuleNotFoundError as error:
        raise MissingRuntimeError(f"{error.name} is needed and not installed: {EXTRA}") from error
