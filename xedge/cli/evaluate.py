"""``xedge evaluate``."""

from __future__ import annotations

import argparse

from xedge.api.evaluate import evaluate, evaluate_plan
from xedge.cli.console import Console, budget_code, budget_text, percent, table
from xedge.cli.options import refuse_idle
from xedge.cli.parser import commands_of, parser
from xedge.errors import UsageError, parameter
from xedge.evaluating.report import SIGNIFICANT, Against, EvaluatedBundle, EvaluatePlan, EvaluateReport

# Of more classes than this, only the worst are shown.
MOST_CLASSES, WORST_CLASSES = 40, 10
# A plan is made of the results so far.
NOT_PLANNED = ("bundles", "data", "truth", "limit", "workers", "scheduler", "runtime", "min_agreement", "skip_damaged")


def main(options: argparse.Namespace) -> int:
    """Evaluate bundles on many photos and print what they lost against the reference."""
    console = Console(options.json, options.quiet)
    if options.plan:
        return _plan(options, console)
    if options.data is None:
        raise UsageError(f"{parameter('data')} is missing: say which photos to evaluate on")
    report = evaluate(
        *options.bundles,
        data=options.data,
        truth=options.truth,
        output=options.output,
        limit=options.limit,
        workers=options.workers,
        scheduler=options.scheduler,
        runtime=options.runtime,
        max_drop_points=options.max_drop_points,
        min_agreement=options.min_agreement,
        skip_damaged=options.skip_damaged,
        answers=options.json is not None,
        report=console.stage,
        progress=console.progress,
    )
    console.result(report, text(report))
    return budget_code(report.verdicts)


def _plan(options: argparse.Namespace, console: Console) -> int:
    """Say on how many photos a drop could be proved."""
    if options.max_drop_points is None:
        raise UsageError(f"--plan needs {parameter('max_drop_points')}, the drop below which to stay")
    refuse_idle(options, commands_of(parser())["evaluate"], NOT_PLANNED, "with --plan")
    plan = evaluate_plan(options.output, max_drop_points=options.max_drop_points)
    console.result(plan, plan_text(plan))
    return 0


def plan_text(plan: EvaluatePlan) -> str:
    """Return the plan as a person reads it."""
    points = plan.max_drop_points
    rows = [
        [
            one.bundle,
            str(one.photos),
            str(one.lost),
            str(one.won),
            f"{100 * (one.lost - one.won) / one.photos:+.2f}",
            "no number" if one.photos_to_prove is None else str(one.photos_to_prove),
        ]
        for one in plan.bundles
    ]
    header = ["bundle", "photos so far", "lost", "won", "drop, points", f"photos for a drop below {points:g}"]
    return (
        f"{plan.photos} photos in {plan.data}; against {plan.reference}\n\n{table(rows, header)}\n\n"
        f"So many photos put the 95 % interval of the drop below {points:g} points with a chance of 80 %, if photos\n"
        "change as often as they did so far."
    )


def text(report: EvaluateReport) -> str:
    """Return the report as a person reads it."""
    parts = [_what(report), table([_row(one) for one in report.bundles], HEADER)]
    if len(report.bundles) > 1:
        parts.append("\n".join(_differences(report)))
    parts += _classes(report)
    return "\n\n".join(parts)


def _what(report: EvaluateReport) -> str:
    lines = [f"{report.photos} photos from {report.data}; drop and agreement are against {report.reference}"]
    if report.damaged:
        lines.append(f"NOTE: {len(report.damaged)} photos cannot be read and are left out, such as {report.damaged[0]}")
    if report.left_out:
        lines.append(f"NOTE: not taken: {', '.join(report.left_out)}")
    if len(report.processors) > 1:
        kinds = ", ".join(report.processors)
        lines.append(f"NOTE: the workers have different processors ({kinds}), which may round differently")
    if len({one.weights_sha256 for one in report.bundles}) > 1:
        lines.append("NOTE: the bundles are not of one model: their weights differ")
    return "\n".join(lines)


HEADER = ["bundle", "top-1 [95 %]", "top-5 [95 %]", "drop, points [95 %]", "McNemar p", "agreement [95 %]"]
HEADER += ["total variation [95 %]"]


def _row(one: EvaluatedBundle) -> list[str]:
    top1 = top5 = "-"
    if one.accuracy is not None:
        top1 = _share(one.accuracy.top1, one.accuracy.interval95)
        if one.accuracy.top5 is not None and one.top5_interval95 is not None:
            top5 = _share(one.accuracy.top5, one.top5_interval95)
    return [one.bundle, top1, top5, *_against(one.against)]


def _share(share: float, interval95: tuple[float, float]) -> str:
    return f"{percent(share)} [{100 * interval95[0]:.2f}, {100 * interval95[1]:.2f}]"


def _against(found: Against | None) -> list[str]:
    if found is None:
        return ["reference", "-", "-", "-"]
    drop, p = "-", "-"
    if found.drop is not None:
        low, high = found.drop.interval95
        drop, p = f"{found.drop.points:+.2f} [{low:+.2f}, {high:+.2f}]", f"{found.drop.mcnemar_p:.2g}"
    variation = f"{found.agreement.total_variation:.5f}"
    if found.total_variation95 is not None:
        variation += " [{:.5f}, {:.5f}]".format(*found.total_variation95)
    return [drop, p, _share(found.agreement.agreement, found.agreement.interval95), variation]


def _differences(report: EvaluateReport) -> list[str]:
    """Return what is said of each bundle against the reference: classes, photos needed, verdict."""
    lines = []
    for one in report.bundles:
        if one.against is not None:
            lines += [f"{one.bundle}: {words}" for words in _said(report, one.against)]
    return lines


def _said(report: EvaluateReport, found: Against) -> list[str]:
    said = []
    if found.drop is not None:
        said.append(_class_words(found))
    if report.max_drop_points is not None and found.drop is not None:
        said.append(_needed(found, report.max_drop_points, report.photos))
    if found.verdict is not None:
        said.append(f"{budget_text(report)} {found.verdict}")
    return said


def _class_words(found: Against) -> str:
    """Say which classes changed; among many classes some seem to change by chance."""
    count = len(found.classes)
    alone = sum(one.mcnemar_p < SIGNIFICANT for one in found.classes)
    words = ", ".join(
        f"{one.label} (lost {one.lost}, won {one.won}, p {one.holm_p:.2g})" for one in found.changed_classes
    )
    return (
        f"{count} classes were compared; {alone} have p < {SIGNIFICANT} on their own, where chance alone gives up to "
        f"{count * SIGNIFICANT:.1f}; with p-values adjusted for their number (Holm), {words or 'none'} changed"
    )


def _needed(found: Against, points: float, photos: int) -> str:
    if found.photos_to_prove is None:
        return f"no number of photos proves a drop below {points:g} points if the drop is what was seen"
    enough = "" if found.photos_to_prove > photos else "; there are so many"
    return (
        f"about {found.photos_to_prove} photos prove a drop below {points:g} points with a chance of 80 %, if photos "
        f"change as often as was seen{enough}"
    )


def _classes(report: EvaluateReport) -> list[str]:
    """Return the accuracy of each class on each bundle; of many classes, those that are worst on the last bundle."""
    confusions = [one.confusion for one in report.bundles if one.confusion is not None]
    if not confusions:
        return []
    classes = range(len(confusions[0].classes))
    shown = sorted(classes, key=lambda at: confusions[-1].classes[at].top1)[:WORST_CLASSES]
    many = len(classes) > MOST_CLASSES
    rows = [
        [confusions[0].classes[at].label, str(confusions[0].classes[at].photos)]
        + [percent(one.classes[at].top1) for one in confusions]
        for at in (shown if many else classes)
    ]
    parts = [table(rows, ["class", "photos", *(one.bundle for one in report.bundles)])]
    if many:
        parts.append(
            f"These {len(shown)} of {len(classes)} classes have the lowest accuracy on {report.bundles[-1].bundle}; "
            "--json writes all of them."
        )
    return parts
