"""Make a page of what commands wrote, or of bundles that are run for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xedge.api.documents import read_document
from xedge.api.verify import verify
from xedge.errors import XedgeError
from xedge.files import write_file
from xedge.measuring.rounds import Plan, measure_in_rounds
from xedge.reporting.gather import gather
from xedge.reporting.page import page

Pathlike = str | Path
# Artifacts are compared with each other on so many photos; accuracy is measured on all.
VERIFIED_PHOTOS = 50


def report(
    *documents: Any, output: Pathlike = "report.html", data: Pathlike | None = None, title: str | None = None
) -> Path:
    """Make a page of reports: objects, or files that commands wrote with ``--json`` or ``save`` wrote.

    Args:
        documents: What ``run``, ``run_on``, ``run_fleet``, ``evaluate``, ``benchmark``, ``verify`` and ``analyze``
            returned, or JSON files of it.
        output: The file to write the page to.
        data: The folder of the photos that were scored, where it has moved since; photos that quantization changed are
            shown on the page.
        title: The page's heading.

    Returns:
        The file.

    Raises:
        InputError: A file is none of these documents.
    """
    read = [read_document(Path(one)) if isinstance(one, str | Path) else one for one in documents]
    return write_report(read, Path(output), data=Path(data) if data is not None else None, title=title)


def write_report(documents: Sequence[Any], output: Path, *, data: Path | None = None, title: str | None = None) -> Path:
    """Make a page of documents that are read already; arguments are those of ``report``."""
    write_file(output, page(gather(documents), data, title).encode())
    return output


def report_bundles(
    bundles: Sequence[Path],
    output: Path,
    *,
    data: Path | None = None,
    truth: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Run bundles of one model in turns, compare them with each other, and make a page of it, as ``convert --report``.

    Args:
        bundles: The bundles.
        output: The file to write the page to.
        data: Labelled photos; None takes the embedded model's own.
        truth: A file with the classes of the photos; None if the photos have their own.
        progress: A function that is told what is being done.

    Raises:
        XedgeError: None of the bundles runs.
    """
    measured = dict(zip(bundles, measure_in_rounds(bundles, Plan(data=data, truth=truth), progress), strict=True))
    ran = {bundle: one.run for bundle, one in measured.items() if not isinstance(one, XedgeError)}
    failed = {bundle: error for bundle, error in measured.items() if isinstance(error, XedgeError)}
    if not ran:
        raise next(iter(failed.values()))
    verification = verify(*ran, data=data, truth=truth, limit=VERIFIED_PHOTOS, progress=progress)
    found = gather([*ran.values(), verification], {bundle.name: str(error) for bundle, error in failed.items()})
    write_file(output, page(found, data).encode())
    return output
