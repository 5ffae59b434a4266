"""Judge bundles that are there: against a baseline, and by what their runtimes execute."""

from __future__ import annotations

from pathlib import Path

from xedge.bundle.opening import opened
from xedge.checking.judging import Budgets, Judged, Verdict, judged, skipped
from xedge.checking.report import Against
from xedge.inspection.verification import BundleMember, misnamed
from xedge.measuring.comparison import compare_runs
from xedge.measuring.rounds import Measured
from xedge.measuring.starting import RunOptions

INTEGERS = "integer_arithmetic"


def judge_integers(name: str, path: Path) -> Judged:
    """Judge whether an int8 artifact computes in integers, as ``verify`` does.

    Args:
        name: What the artifact is called.
        path: The bundle.
    """
    with opened(path) as bundle:
        member = BundleMember(name, bundle, RunOptions())
        words, audit = misnamed(member), member.audit
    share = None if audit is None else audit.integer_share
    told = "its runtime does not tell" if share is None else f"{100 * share:.0f} % of the products run in integers"
    verdict: Verdict = "met" if words is None else "not met"
    return Judged(budget=INTEGERS, limit=None, value=share, interval95=None, verdict=verdict, words=words or told)


def against_of(baseline: Path, before: Measured, after: Measured) -> Against:
    """Return how a bundle compares with the baseline.

    Args:
        baseline: The baseline's bundle.
        before: Its measurement.
        after: The measurement of the bundle, in turns with the baseline.
    """
    comparison = compare_runs([before, after])
    (versus,) = comparison.versus
    return Against(bundle=str(baseline), accuracy=versus.accuracy, latency=versus.latency, notes=comparison.notes)


def judge_against(budgets: Budgets, against: Against | None) -> list[Judged]:
    """Judge the limits of a budget that compare with the baseline.

    Args:
        budgets: The limits; those that compare with something else are left to others.
        against: How the bundle compares with the baseline; None if this has no bundle for it.
    """
    judges = {"max_latency_ratio": _latency, "max_baseline_drop_points": _drop}
    missing = "the baseline has no bundle of this target and precision"
    return [
        skipped(name, limit, missing) if against is None else judges[name](name, limit, against)
        for name, limit in budgets.given()
        if name in judges
    ]


def _latency(name: str, limit: float, against: Against) -> Judged:
    found = against.latency
    if found is None:
        return skipped(name, limit, "the two bundles were not timed on one board")
    hint = "too few turns of timing to decide; time more rounds, or on a quieter machine"
    return judged(name, limit, found.ratio, found.interval95, hint)


def _drop(name: str, limit: float, against: Against) -> Judged:
    found = against.accuracy
    if found is None:
        return skipped(name, limit, "one of the two bundles was not scored")
    low, high = found.interval95
    return judged(name, limit, 0.0 - found.points, (0.0 - high, 0.0 - low), "too few photos to decide")
