"""Make one self-contained page: charts and photos are embedded, there are no scripts, and nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from xedge._version import __version__
from xedge.converters import targets
from xedge.measuring.comparison import board_name
from xedge.measuring.verdict import grouped
from xedge.metrics import Accuracy, Confusion
from xedge.photos.labels import told_apart
from xedge.remote.fleet_run import reached_c
from xedge.reporting import figures
from xedge.reporting.gather import Entry, Gathered
from xedge.reporting.photos import changed_photos
from xedge.reporting.summary import summary
from xedge.untrusted import shown

# A time series with fewer windows shows nothing.
SHORTEST_SERIES = 5
# A larger confusion matrix is not readable as a table.
LARGEST_MATRIX = 16


def page(found: Gathered, data: Path | None = None, title: str | None = None) -> str:
    """Return the HTML of the page.

    Args:
        found: What the page shows.
        data: The folder in which the photos are now; None looks where they were scored.
        title: The title of the page; None makes one from the models and boards.
    """
    environment = Environment(
        loader=PackageLoader("xedge.reporting", ""),
        autoescape=select_autoescape(default=True),
        finalize=lambda value: shown(value) if type(value) is str else value,
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
        short=summary(found),
        least_points=figures.LEAST_POINTS,
        board_name=board_name,
        reached_c=reached_c,
        interval=_interval,
        targets=targets(),
        overall=_tradeoff(found.entries) if len(found.boards) > 1 else None,
        boards=[(name, entries, _tradeoff(entries)) for name, entries in found.boards.items()],
        invalid=lambda entries: grouped({str(one.number): one.run.verdict for one in entries}),
        distributions=Markup(figures.latency_distributions(found.entries)) if found.entries else None,  # noqa: S704
        courses=[(entry, Markup(figures.time_series(entry))) for entry in found.entries if _has_course(entry)],  # noqa: S704
        profiles=[
            (entry, entry.run.profile, Markup(figures.operations(entry, found.analyses)))  # noqa: S704 - drawn here
            for entry in found.entries
            if entry.run.profile is not None
        ],
        layers=[(one, Markup(figures.layers(one))) for one in found.analyses],  # noqa: S704
        matrices=list(_matrices(found.entries)),
        changed=changed[0],
        changed_count=changed[1],
    )


def _interval(bounds: tuple[float, float], factor: float) -> Markup:
    """Return the bounds of an interval in units of 1 / factor."""
    return Markup('<span class="quiet">{:.2f}–{:.2f}</span>').format(*(factor * bound for bound in bounds))


def _title(found: Gathered) -> str:
    if found.evaluations and not found.boards:
        one = found.evaluations[0]
        return f"{', '.join(bundle.bundle for bundle in one.bundles)} on {one.photos} photos"
    if not found.boards:
        return "Report"
    what = f"{', '.join(found.models)}: " if found.models else ""
    return f"{what}{len(found.entries)} runs on {', '.join(found.boards)}"


def _tradeoff(entries: Sequence[Entry]) -> Markup | None:
    scored = [entry for entry in entries if entry.run.accuracy is not None]
    return Markup(figures.accuracy_against_latency(scored)) if len(scored) > 1 else None  # noqa: S704 - drawn here


def _has_course(entry: Entry) -> bool:
    return sum(window.median_ms is not None for window in entry.run.series) >= SHORTEST_SERIES


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """The confusion between classes in one run: as a table if the classes are few, and otherwise as a list.

    Args:
        entry: The run.
        accuracy: The accuracy of the run.
        labels: The names of the classes, told apart.
        rows: The confusion matrix, whose rows are the true classes and whose columns are the answers; None if it is too
            large for a table.
        right: The top-1 accuracy of each class that has photos, by the index of the class, 0 to 1.
        frequent: The most frequent confusions: the true class, the answer, and the number of photos.
    """

    entry: Entry
    accuracy: Accuracy
    labels: tuple[str, ...]
    rows: list[list[int]] | None
    right: dict[int, float]
    frequent: list[tuple[str, str, int]]


def _matrices(entries: Sequence[Entry]) -> Iterator[Matrix]:
    """Yield the confusion in each run that was scored."""
    for entry in entries:
        run = entry.run
        if run.accuracy is None or run.confusion is None or run.answers is None:
            continue
        labels = told_apart(run.answers.labels)
        yield Matrix(
            entry=entry,
            accuracy=run.accuracy,
            labels=labels,
            rows=_rows(run.confusion, len(labels)) if len(labels) <= LARGEST_MATRIX else None,
            right={one.index: one.top1 for one in run.confusion.classes},
            frequent=confusions(run.confusion, labels),
        )


def _rows(confusion: Confusion, classes: int) -> list[list[int]]:
    counts = {(true, answer): count for true, answer, count in confusion.cells}
    return [[counts.get((true, answer), 0) for answer in range(classes)] for true in range(classes)]


def confusions(confusion: Confusion, labels: Sequence[str], most: int = 12) -> list[tuple[str, str, int]]:
    """Return the most frequent confusions: the true class, the answer, and the number of photos.

    Args:
        confusion: What was answered to the photos of each class.
        labels: The names of the classes.
        most: The greatest number of confusions to return.
    """
    wrong = [(labels[true], labels[answer], count) for true, answer, count in confusion.cells if true != answer]
    return sorted(wrong, key=lambda one: -one[2])[:most]
