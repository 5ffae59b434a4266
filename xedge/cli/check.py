"""``xedge check``."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from xedge.api.check import check
from xedge.checking.badge import badge
from xedge.checking.config import read_config
from xedge.checking.judging import Verdict
from xedge.checking.junit import junit
from xedge.checking.report import CheckedBundle, CheckReport
from xedge.checking.summary import summary
from xedge.cli.console import Console, megabytes, percent, table
from xedge.cli.outputs import RESULTS
from xedge.codec import to_json
from xedge.errors import UNDECIDED, CheckError, XedgeError
from xedge.files import write_file

CODES: dict[Verdict, int] = {"met": 0, "not met": CheckError.exit_code, "undecided": UNDECIDED, "skipped": UNDECIDED}


def main(options: argparse.Namespace) -> int:
    """Judge the bundles of a file, show what was found, and then write the files that were asked for."""
    console = Console(options.json, options.quiet)
    with ExitStack() as stack:
        folder = options.output or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")))
        made = check(options.file, output=folder, report=console.stage, progress=console.progress)
        found = made if options.output is not None else _without_paths(made)
        _all_of(
            [
                partial(console.result, found, text(found)),
                *(partial(write_file, path, content) for path, content in _files(options, found)),
                *([] if options.page is None else [partial(_page, made, options, console)]),
            ]
        )
    return CODES[found.verdict]


def _all_of(steps: list[Callable[[], None]]) -> None:
    """Take every step, whichever of the others fail, and raise the first error afterwards."""
    errors = []
    for step in steps:
        try:
            step()
        except XedgeError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _without_paths(report: CheckReport) -> CheckReport:
    """Return a report without the places of bundles that are not kept."""
    return replace(report, bundles=tuple(replace(one, path=None) for one in report.bundles))


def _files(options: argparse.Namespace, report: CheckReport) -> Iterator[tuple[Path, bytes]]:
    """Yield the files that were asked for, with what they hold."""
    if options.output is not None:
        yield options.output / RESULTS, (json.dumps(to_json(report), indent=2) + "\n").encode()
    if options.junit is not None:
        yield options.junit, junit(report)
    if options.summary is not None:
        yield options.summary, summary(report).encode("utf-8", "backslashreplace")
    if options.badge is not None:
        yield options.badge, badge(report).encode("utf-8", "backslashreplace")


def _page(report: CheckReport, options: argparse.Namespace, console: Console) -> None:
    from xedge.api.report import report_bundles  # noqa: PLC0415 - charts are imported for reports alone

    made = [Path(one.path) for one in report.bundles if one.path is not None and one.error is None]
    if made:
        places = read_config(options.file).places
        photos = {name: Path(places[name]) for name in ("data", "truth") if name in places}
        report_bundles(made, options.page, **photos, progress=console.progress)
        console.stage(f"report     {options.page}")


def text(report: CheckReport) -> str:
    """Return the report as a person reads it."""
    parts = [table([_row(one) for one in report.bundles], HEADER)]
    parts += ["\n".join([f"{one.name}: {one.verdict}", *_findings(one)]) for one in report.bundles]
    parts.append(f"{WORDS[report.verdict]}: {report.model}, by the budgets in {report.file}")
    return "\n\n".join(parts)


HEADER = ["bundle", "artifact", "top-1", "drop, points", "agreement", "photos", "time / baseline", "verdict"]
WORDS: dict[Verdict, str] = {"met": "PASSED", "not met": "FAILED", "undecided": "UNDECIDED", "skipped": "UNDECIDED"}


def _row(one: CheckedBundle) -> list[str]:
    found, against = one.closeness, one.against
    return [
        one.name,
        "-" if one.artifact_bytes is None else megabytes(one.artifact_bytes),
        "-" if one.accuracy is None else percent(one.accuracy.top1),
        "-" if found is None or found.drop is None else f"{found.drop.points:+.2f}",
        "-" if found is None else percent(found.agreement.agreement),
        "-" if found is None else str(found.photos),
        "-" if against is None or against.latency is None else f"{against.latency.ratio:.2f}",
        one.verdict,
    ]


def _findings(one: CheckedBundle) -> list[str]:
    if one.error is not None:
        return [f"  - {one.error}"]
    notes = [] if one.against is None else [f"  NOTE: {note}" for note in one.against.notes]
    return [*(f"  - {judged.verdict}: {judged.words}" for judged in one.judged), *notes]
