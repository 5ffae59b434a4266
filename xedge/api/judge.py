"""Judge a bundle that is there by a budget, for tests of a team's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from xedge.bundle.opening import opened, photos_for
from xedge.bundle.reading import Bundle
from xedge.checking.bundles import against_of, judge_against, judge_integers
from xedge.checking.judging import LIMITS, Budgets, Closeness, closeness, judge_closeness, judged
from xedge.checking.report import Against, CheckedBundle
from xedge.errors import InputError, UsageError, XedgeError, parameter
from xedge.inspection.verification import BundleMember, same_model
from xedge.measuring.rounds import Plan, measure_in_rounds
from xedge.measuring.run import bundle_truth
from xedge.measuring.starting import RunOptions
from xedge.metrics import Accuracy, accuracy
from xedge.runtimes.classifier import try_bundle

Report = Callable[[str], None]
Pathlike = str | Path


def judge(
    bundle: Pathlike,
    *,
    reference: Pathlike | None = None,
    baseline: Pathlike | None = None,
    plan: Plan | None = None,
    max_drop_points: float | None = None,
    min_agreement_percent: float | None = None,
    max_total_variation: float | None = None,
    max_size_mb: float | None = None,
    max_latency_ratio: float | None = None,
    max_baseline_drop_points: float | None = None,
    progress: Report = lambda line: None,
) -> CheckedBundle:
    """Judge a bundle by a budget, each limit by the 95 % interval of what is measured here.

    Args:
        bundle: The bundle: its folder or its zip.
        reference: A bundle of the same model, usually its fp32, that the first three limits compare with.
        baseline: A bundle, usually the last release, that the last two limits compare with.
        plan: The photos, and how bundles are timed in turns; None takes the embedded model's own photos.
        max_drop_points: The greatest drop of the top-1 accuracy against the reference, in percentage points.
        min_agreement_percent: The least share of photos with the first class of the reference, in percent.
        max_total_variation: The greatest mean total variation distance from the reference's probabilities, 0 to 1.
        max_size_mb: The greatest size of the artifact, weights included, in MB of 1,000,000 bytes.
        max_latency_ratio: The greatest latency as a ratio of the baseline's.
        max_baseline_drop_points: The greatest drop of the top-1 accuracy against the baseline, in percentage points.
        progress: A function that is told what is being done.

    Returns:
        The figures and the verdict on each limit. An int8 artifact also has to compute in integers.

    Raises:
        UsageError: A limit is impossible, or compares with a bundle that is not given.
        InputError: A bundle or photos are missing, or the reference is of another model.
    """
    budgets = _budgets(
        max_drop_points=max_drop_points,
        min_agreement_percent=min_agreement_percent,
        max_total_variation=max_total_variation,
        max_size_mb=max_size_mb,
        max_latency_ratio=max_latency_ratio,
        max_baseline_drop_points=max_baseline_drop_points,
    )
    _check_others(budgets, reference, baseline)
    path, plan = Path(bundle), plan or Plan()
    with ExitStack() as stack:
        one = stack.enter_context(opened(path))
        name, size, precision = one.manifest.artifact_name, one.artifact_bytes, one.manifest.precision
        scored, close = None, None
        if reference is not None:
            scored, close = _closeness(one, stack.enter_context(opened(Path(reference))), plan, progress)
    verdicts = judge_closeness(budgets, close) if close is not None else []
    if budgets.max_size_mb is not None:
        verdicts.append(judged("max_size_mb", budgets.max_size_mb, size / 1e6, None))
    if precision == "int8":
        verdicts.append(judge_integers(name, path))
    against = None if baseline is None else _against(path, Path(baseline), plan, progress)
    return CheckedBundle(
        name=name,
        path=str(path),
        artifact_bytes=size,
        accuracy=scored,
        closeness=close,
        against=against,
        judged=(*verdicts, *judge_against(budgets, against)),
        error=None,
    )


def _budgets(**limits: float | None) -> Budgets:
    try:
        return Budgets(**limits)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check_others(budgets: Budgets, reference: Pathlike | None, baseline: Pathlike | None) -> None:
    """Refuse a budget without a limit, or with one whose other bundle is missing."""
    if not budgets.given():
        raise UsageError(f"nothing is demanded; give one of {', '.join(LIMITS)}")
    for name, _ in budgets.given():
        needed = "baseline" if LIMITS[name].baseline else "reference" if LIMITS[name].photos else None
        if (needed, True) in (("baseline", baseline is None), ("reference", reference is None)):
            raise UsageError(f"{name} compares with another bundle; give {parameter(str(needed))}")


def _closeness(bundle: Bundle, other: Bundle, plan: Plan, progress: Report) -> tuple[Accuracy | None, Closeness]:
    same_model([other, bundle])
    photos = photos_for(bundle, plan.data, plan.limit, plan.truth)
    if photos is None or not photos.labelled:
        raise InputError(f"{plan.data or bundle.source}: labelled photos are needed; give a folder of class folders")
    options = RunOptions(threads=plan.threads, runtime=plan.runtime, provider=plan.provider)
    pixels = [bundle.manifest.preprocessing.pixels(file) for file in photos.files]
    progress(f"two bundles on {len(pixels)} photos")
    for one in (bundle, other):
        try_bundle(one, options.settings(one), options.runtime)
    rows, floats = (BundleMember(str(one.source), one, options).probabilities(pixels) for one in (bundle, other))
    truth = np.asarray(bundle_truth(bundle, photos))
    return accuracy(rows, truth), closeness(rows, floats, truth)


def _against(bundle: Path, baseline: Path, plan: Plan, progress: Report) -> Against:
    before, after = measure_in_rounds([baseline, bundle], plan, progress)
    for one in (before, after):
        if isinstance(one, XedgeError):
            raise one
    assert not isinstance(before, XedgeError)
    assert not isinstance(after, XedgeError)
    return against_of(baseline, before, after)
