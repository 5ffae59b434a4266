"""Write one self-contained page: no script, nothing fetched, charts and photos inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from xedge import __version__
from xedge.api.inspect import verify
from xedge.bench.verdict import grouped
from xedge.documents import read_document
from xedge.errors import XedgeError
from xedge.files import write_file
from xedge.metrics import Accuracy
from xedge.reporting import figures
from xedge.reporting.gather import Entry, Gathered, gather
from xedge.reporting.photos import changed_photos
from xedge.rounds import Plan, measure_in_rounds

Pathlike = str | Path
# A time series of fewer stretches shows nothing.
SHORTEST_SERIES = 5
# A larger confusion matrix is no longer read as a table.
LARGEST_MATRIX = 16
# Artifacts are held against each other on so many photos; accuracy is told of all.
VERIFIED_PHOTOS = 50


def report(
    *documents: Pathlike, output: Pathlike = "report.html", data: Pathlike | None = None, title: str | None = None
) -> Path:
    """Make a page of what commands wrote with ``--json``.

    Args:
        documents: JSON files of ``run``, ``run --on``, ``benchmark``, ``verify`` and ``analyze``.
        output: the page.
        data: where the photos that were scored lie now, for those that quantization changed.
        title: the page's heading.

    Raises:
        InputError: a file is none of these.
    """
    read = [read_document(Path(path)) for path in documents]
    return write_report(read, Path(output), data=Path(data) if data is not None else None, title=title)


def write_report(documents: Sequence[Any], output: Path, *, data: Path | None = None, title: str | None = None) -> Path:
    """Make a page of documents that are read already; as ``report``."""
    return _write(gather(documents), output, data, title)


def _write(found: Gathered, output: Path, data: Path | None, title: str | None = None) -> Path:
    write_file(output, page(found, data, title).encode())
    return output


def report_bundles(
    bundles: Sequence[Path],
    output: Path,
    *,
    data: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Run bundles of one model in turns, hold them against each other, and make a page of it; as ``convert --report``.

    Raises:
        XedgeError: none of the bundles runs.
    """
    measured = dict(zip(bundles, measure_in_rounds(bundles, Plan(data=data), progress), strict=True))
    ran = {bundle: one.run for bundle, one in measured.items() if not isinstance(one, XedgeError)}
    failed = {bundle: error for bundle, error in measured.items() if isinstance(error, XedgeError)}
    if not ran:
        raise next(iter(failed.values()))
    verification = verify(*ran, data=data, limit=VERIFIED_PHOTOS, progress=progress)
    found = gather([*ran.values(), verification], {bundle.name: str(error) for bundle, error in failed.items()})
    return _write(found, output, data)


def page(found: Gathered, data: Path | None = None, title: str | None = None) -> str:
    """Return the page's HTML."""
    environment = Environment(
        loader=PackageLoader("xedge.reporting", ""),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    changed = changed_photos(found.reference, found.entries, data) if found.reference is not None else ([], 0)
    return environment.get_template("page.html.j2").render(
        title=title or _title(found),
        version=__version__,
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        found=found,
        overall=_tradeoff(found.entries) if len(found.boards) > 1 else None,
        boards=[(name, entries, _tradeoff(entries)) for name, entries in found.boards.items()],
        invalid=lambda entries: grouped({str(one.number): one.run.verdict for one in entries}),
        distributions=Markup(figures.latency_distributions(found.entries)) if found.entries else None,  # noqa: S704
        courses=[(entry, Markup(figures.time_series(entry))) for entry in found.entries if _has_course(entry)],  # noqa: S704
        layers=[(one, Markup(figures.layers(one))) for one in found.analyses],  # noqa: S704
        matrices=[(entry, entry.run.accuracy) for entry in found.entries if entry.run.accuracy is not None],
        matrix_fits=lambda accuracy: len(accuracy.confusion) <= LARGEST_MATRIX,
        confusions=confusions,
        changed=changed[0],
        changed_count=changed[1],
    )


def _title(found: Gathered) -> str:
    if not found.boards:
        return "Report"
    what = f"{', '.join(found.models)}: " if found.models else ""
    return f"{what}{len(found.entries)} runs on {', '.join(found.boards)}"


def _tradeoff(entries: Sequence[Entry]) -> Markup | None:
    scored = [entry for entry in entries if entry.run.accuracy is not None]
    return Markup(figures.accuracy_against_latency(scored)) if len(scored) > 1 else None  # noqa: S704 - drawn here


def _has_course(entry: Entry) -> bool:
    return sum(window.median_ms is not None for window in entry.run.series) >= SHORTEST_SERIES


def confusions(accuracy: Accuracy, labels: Sequence[str], most: int = 12) -> list[tuple[str, str, int]]:
    """Return what was most often taken for what: truth, answer, photos."""
    wrong = [
        (labels[i], labels[j], count)
        for i, row in enumerate(accuracy.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(wrong, key=lambda one: -one[2])[:most]
