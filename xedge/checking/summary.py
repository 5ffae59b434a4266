"""A check in Markdown, as a comment on a pull request or the summary of a job."""

from __future__ import annotations

import re

from xedge.checking.judging import Judged, Verdict
from xedge.checking.report import CheckedBundle, CheckReport
from xedge.untrusted import one_line

# By this line a file is known that xedge wrote before.
MARK = "<!-- xedge check -->"
SIGNS: dict[Verdict, str] = {
    "met": "✅ met",
    "not met": "❌ not met",
    "undecided": "❔ undecided",
    "skipped": "➖ skipped",
}


def summary(report: CheckReport) -> str:
    """Return the Markdown."""
    lines = [MARK, f"### xedge check: {SIGNS[report.verdict]}", ""]
    photos = next((one.closeness.photos for one in report.bundles if one.closeness is not None), None)
    measured = "" if photos is None else f", on {photos} photos of {_escaped(report.data or '')}"
    lines += [f"{_escaped(report.model)}, judged by {_escaped(report.file)}{measured}. Intervals are of 95 %.", ""]
    lines += ["| bundle | budget | verdict | figures |", "|---|---|---|---|"]
    for bundle in report.bundles:
        lines += _rows(bundle)
    notes = dict.fromkeys(note for one in report.bundles if one.against is not None for note in one.against.notes)
    if notes:
        lines += ["", *(f"- {_escaped(note)}" for note in notes)]
    return "\n".join(lines) + "\n"


def _rows(bundle: CheckedBundle) -> list[str]:
    name = _escaped(bundle.name)
    if bundle.error is not None:
        return [f"| {name} | | {SIGNS['not met']} | {_escaped(bundle.error)} |"]
    if not bundle.judged:
        return [f"| {name} | | {SIGNS['met']} | nothing is demanded of it |"]
    return [_row(name, one) for one in bundle.judged]


def _row(name: str, one: Judged) -> str:
    limit = "" if one.limit is None else f" = {one.limit:g}"
    return f"| {name} | `{one.budget}{limit}` | {SIGNS[one.verdict]} | {_escaped(one.words)} |"


def _escaped(text: str) -> str:
    """Return text in one line that Markdown and HTML take for text."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", one_line(text)).replace("&", "&amp;")
