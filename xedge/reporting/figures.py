"""Draw the charts of the page as SVG without scripts.

They open offline, they can be printed, and they take their colours from the style sheet of the page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from xedge.converters import targets
from xedge.inspection.analysis import AnalyzeReport
from xedge.measuring.comparison import board_name
from xedge.measuring.report import RunReport
from xedge.reporting.gather import Entry
from xedge.untrusted import one_line

# These colours stand for variables of the page's style sheet, so that the same chart works in light and dark mode.
TEXT, GRID, ALARM = "#010101", "#010102", "#010103"
VARIABLES = {TEXT: "var(--text)", GRID: "var(--line)", ALARM: "var(--alarm)"}
VARIABLES |= {f"#0202{place:02x}": f"var(--{target.name})" for place, target in enumerate(targets(), start=1)}
_COLOURS = {variable: colour for colour, variable in VARIABLES.items()}
# Runs are not distinguished by colour alone: each precision has its own marker.
MARKERS = {"fp32": "o", "fp16": "s", "dynamic": "^", "int8": "D", "w4": "v"}
WIDTH_IN = 6.4
LAYERS = 20
# The axis of top-1 spans at least so many points: less would make the noise of a few hundred photos a difference.
LEAST_POINTS = 10
# Points that are closer than this, in pixels of the chart, share a label.
APART_X, APART_Y = 18, 14
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in the name of a layer is one
    "font.family": "sans-serif",
    "font.size": 13,
    "text.color": TEXT,
    "axes.edgecolor": GRID,
    "axes.labelcolor": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "legend.frameon": False,
}
SVG = "http://www.w3.org/2000/svg"


def _colour(target: str) -> str:
    """Return the placeholder for a target's colour; a target that is not registered here has the colour of text."""
    return _COLOURS.get(f"var(--{target})", TEXT)


def accuracy_against_latency(entries: Sequence[Entry]) -> str:
    """Draw top-1 accuracy with its 95 % interval against median latency.

    If all runs are of the same board, the frontier is drawn as a line.

    Args:
        entries: The runs; those that were not scored are left out.
    """
    boards = dict.fromkeys(board_name(entry.run.board) for entry in entries)
    scored = [entry for entry in entries if entry.run.accuracy is not None]
    with mpl.rc_context(STYLE):
        figure, axes = _figure(3.9)
        frontier = sorted((one.run.latency.p50_ms, _top1(one)) for one in scored if one.on_frontier)
        if len(frontier) > 1 and len(boards) == 1:
            axes.step(*zip(*frontier, strict=True), where="post", color=TEXT, linewidth=1, linestyle="--", alpha=0.6)
        for entry in scored:
            _point(axes, entry)
        axes.margins(x=0.12)
        _milliseconds(axes, [entry.run.latency.p50_ms for entry in scored])
        _points(axes, [100 * bound for one in scored if one.run.accuracy for bound in one.run.accuracy.interval95])
        _numbers(axes, scored)
        _legend(axes, scored)
        words = "; ".join(f"{one.number}: {one.run.latency.p50_ms:.2f} ms, {_top1(one):.2f} %" for one in scored)
        return _svg(figure, f"Accuracy against latency on {', '.join(boards)}", words)


def _points(axes: Axes, bounds: Sequence[float]) -> None:
    """Set up the axis for top-1, which holds all intervals and spans at least ``LEAST_POINTS``.

    Args:
        axes: The chart.
        bounds: The bounds of the intervals in percent.
    """
    low, high = min(bounds), max(bounds)
    room = max(0.05 * (high - low), (LEAST_POINTS - (high - low)) / 2)
    beyond = max(0.0, high + room - 101)  # the axis goes on below instead: there is nothing above 100 %
    axes.set_ylim(low - room - beyond, high + room - beyond)
    axes.set_ylabel("top-1, %")


def _point(axes: Axes, entry: Entry) -> None:
    accuracy = entry.run.accuracy
    assert accuracy is not None
    low, high = (100 * bound for bound in accuracy.interval95)
    x, y = entry.run.latency.p50_ms, _top1(entry)
    colour = _colour(entry.run.target)
    axes.errorbar(x, y, yerr=[[y - low], [high - y]], color=colour, linewidth=1.5, capsize=4, alpha=0.6)
    axes.plot(x, y, MARKERS.get(entry.run.precision, "o"), color=colour, markersize=8)


def _numbers(axes: Axes, entries: Sequence[Entry]) -> None:
    """Write the numbers of the runs beside their points; numbers that would overlap share one label."""
    groups: list[tuple[float, float, list[Entry]]] = []
    for entry in sorted(entries, key=lambda one: one.run.latency.p50_ms):
        x, y = axes.transData.transform((entry.run.latency.p50_ms, _top1(entry)))
        # A label with several numbers is wider.
        near = [g for g in groups if abs(g[0] - x) < APART_X * (1 + len(g[2]) / 2) and abs(g[1] - y) < APART_Y]
        if near:
            near[0][2].append(entry)
        else:
            groups.append((x, y, [entry]))
    for x, y, together in groups:
        at = together[0].run.latency.p50_ms, _top1(together[0])
        words = numbers([entry.number for entry in together])
        crowded = any(abs(other[0] - x) < 2 * APART_X and 0 < other[1] - y < 4 * APART_Y for other in groups)
        offset = (0, -21 if crowded else 9)
        axes.annotate(words, at, xytext=offset, textcoords="offset points", ha="center", weight="bold")


def numbers(of: Sequence[int]) -> str:
    """Return numbers in order as text, with three or more consecutive ones as a range: ``1, 2, 5–9``."""
    rows: list[list[int]] = []
    for number in sorted(of):
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return ", ".join(f"{row[0]}–{row[-1]}" if len(row) > 2 else ", ".join(map(str, row)) for row in rows)


def _legend(axes: Axes, entries: Sequence[Entry]) -> None:
    handles = [
        axes.plot([], [], "s", color=_colour(target), label=one_line(target))[0]
        for target in dict.fromkeys(entry.run.target for entry in entries)
    ]
    handles += [
        axes.plot([], [], MARKERS.get(precision, "o"), color=TEXT, fillstyle="none", label=one_line(precision))[0]
        for precision in dict.fromkeys(entry.run.precision for entry in entries)
    ]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncol=4, columnspacing=1.2)


def latency_distributions(entries: Sequence[Entry]) -> str:
    """Draw the samples of every run as a box plot with quartiles, the 5 % and 95 % quantiles, and outliers."""
    with mpl.rc_context(STYLE):
        figure, axes = _figure(0.9 + 0.42 * len(entries))
        for place, entry in enumerate(reversed(entries)):
            colour = _colour(entry.run.target)
            line = {"color": colour, "linewidth": 1.2}
            axes.boxplot(
                [sample / 1e6 for sample in entry.run.samples_ns],
                positions=[place],
                orientation="horizontal",
                whis=(5, 95),
                widths=0.6,
                boxprops=line,
                whiskerprops=line,
                capprops=line,
                medianprops={"color": colour, "linewidth": 3},
                flierprops={"marker": ".", "markersize": 3, "markeredgecolor": colour, "alpha": 0.5},
            )
        axes.set_yticks(range(len(entries)), [one_line(f"{one.number}  {one.short}") for one in reversed(entries)])
        axes.grid(axis="y", visible=False)
        _milliseconds(
            axes, [sample / 1e6 for one in entries for sample in (min(one.run.samples_ns), max(one.run.samples_ns))]
        )
        return _svg(figure, "Distribution of the latency", "; ".join(_spread(entry) for entry in entries))


def _spread(entry: Entry) -> str:
    latency = entry.run.latency
    return f"{entry.number}: minimum {latency.min_ms:.2f} ms, median {latency.p50_ms:.2f} ms, {latency.samples} samples"


def time_series(entry: Entry) -> str:
    """Draw one run over time: the latency, and the temperature and the clock if the board reports them."""
    run = entry.run
    told = [("C", [w.temperature_c for w in run.series]), ("MHz", [w.core_mhz for w in run.series])]
    told = [(unit, values) for unit, values in told if any(value is not None for value in values)]
    times = [window.at_s for window in run.series]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 2.2 + 1.2 * len(told)), layout="constrained")
        panels = figure.subplots(1 + len(told), sharex=True, squeeze=False, height_ratios=[2, *[1] * len(told)])[:, 0]
        nothing = float("nan")
        medians = [nothing if w.median_ms is None else w.median_ms for w in run.series]
        worst = [nothing if w.max_ms is None else w.max_ms for w in run.series]
        colour = _colour(run.target)
        panels[0].plot(times, medians, color=colour, linewidth=2, label="median")
        panels[0].plot(times, worst, color=colour, linewidth=1, linestyle=":", label="slowest")
        panels[0].set_ylabel("ms")
        panels[0].set_ylim(bottom=0)
        panels[0].legend(loc="upper left", ncol=2)
        for panel, (unit, values) in zip(panels[1:], told, strict=True):
            panel.plot(times, [nothing if value is None else value for value in values], color=TEXT, linewidth=1.2)
            panel.set_ylabel(unit)
        if run.throttled_at_s is not None:
            for panel in panels:
                panel.axvline(run.throttled_at_s, color=ALARM, linewidth=1.5)
            panels[0].annotate("throttled", (run.throttled_at_s, panels[0].get_ylim()[1]), color=ALARM, va="top")
        panels[-1].set_xlabel("s")
        return _svg(figure, f"{entry.number} {entry.name} over time", _course(run))


def _course(run: RunReport) -> str:
    medians = [window.median_ms for window in run.series if window.median_ms is not None]
    words = f"window medians from {min(medians):.2f} to {max(medians):.2f} ms over {run.series[-1].at_s:.0f} s"
    return words if run.throttled_at_s is None else f"{words}; throttled after {run.throttled_at_s:.0f} s"


def layers(report: AnalyzeReport) -> str:
    """Draw the noisiest layers of int8, and their share of the time if the runtime reports it."""
    noisy = [(layer.alone_db, layer) for layer in report.layers if layer.alone_db is not None]
    shown = [layer for _, layer in sorted(noisy, key=lambda pair: pair[0])[:LAYERS]][::-1]
    timed = any(layer.time is not None for layer in shown)
    names, places = [one_line(layer.layer) for layer in shown], range(len(shown))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 1.0 + 0.28 * len(shown)), layout="constrained")
        panels = figure.subplots(1, 2 if timed else 1, sharey=True, squeeze=False)[0]
        colour = _colour(report.target)
        panels[0].barh(places, [layer.alone_db or 0.0 for layer in shown], color=colour)
        panels[0].set_yticks(places, names)
        panels[0].set_xlabel("signal-to-noise ratio, dB")
        if timed:
            panels[1].barh(places, [100 * (layer.time or 0.0) for layer in shown], color=TEXT)
            panels[1].set_xlabel("time, %")
        for panel in panels:
            panel.grid(axis="y", visible=False)
        words = "; ".join(f"{layer.layer} {layer.alone_db:.1f} dB" for layer in reversed(shown) if layer.alone_db)
        return _svg(figure, f"The noisiest layers of {report.model} for {report.target}", words)


def operations(entry: Entry, analyses: Sequence[AnalyzeReport]) -> str:
    """Draw the slowest operations of a run that timed them, and beside them the noise of their layers if it is known.

    Args:
        entry: The run, which has a profile.
        analyses: The analyses of layers; the first one for the target of the run is taken.
    """
    run = entry.run
    assert run.profile is not None
    shown = sorted(run.profile.operations, key=lambda one: -one.ms)[:LAYERS][::-1]
    analysis = next((one for one in analyses if one.target == run.target and run.precision == "int8"), None)
    noise = [_noise_of(one.name, analysis) for one in shown] if analysis is not None else []
    beside = any(value is not None for value in noise)
    names, places = [one_line(one.name) for one in shown], range(len(shown))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 1.3 + 0.28 * len(shown)), layout="constrained")
        panels = figure.subplots(1, 2 if beside else 1, sharey=True, squeeze=False)[0]
        for role, colour in {"integer": _colour(run.target), "float": TEXT, "conversion": ALARM}.items():
            chosen = [(place, one.ms) for place, one in zip(places, shown, strict=True) if one.role == role]
            if chosen:
                panels[0].barh(*zip(*chosen, strict=True), color=colour, label=role)
        panels[0].legend(loc="lower right")
        panels[0].set_yticks(places, names)
        panels[0].set_xlabel("ms")
        if beside:
            panels[1].barh(places, [value or 0.0 for value in noise], color=TEXT)
            panels[1].set_xlabel("signal-to-noise ratio, dB")
        for panel in panels:
            panel.grid(axis="y", visible=False)
        words = "; ".join(f"{one.name} {one.ms:.3f} ms {one.role}" for one in reversed(shown))
        return _svg(figure, f"The slowest operations of {entry.number} {entry.name}", words)


def _noise_of(operation: str, analysis: AnalyzeReport) -> float | None:
    """Return the noise of the layer that an operation belongs to, in decibels; None if it is not known."""
    found = (one for one in analysis.layers if operation == one.layer or operation.startswith(f"{one.layer}/"))
    layer = next(found, None)
    return layer.alone_db if layer is not None else None


def _figure(height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    return figure, figure.subplots()


def _top1(entry: Entry) -> float:
    assert entry.run.accuracy is not None
    return 100 * entry.run.accuracy.top1


def _milliseconds(axes: Axes, values: Sequence[float]) -> None:
    """Set up the axis for latencies, which is logarithmic if they span more than a factor of three, or begins at 0."""
    axes.set_xlabel("latency, ms")
    if max(values) > 3 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(_steps(min(values), max(values)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlim(left=0)


def _steps(low: float, high: float) -> mpl.ticker.Locator:
    decades = high / low
    subs = (1.0, 2.0, 5.0) if decades < 300 else (1.0,)
    return mpl.ticker.LogLocator(base=10, subs=subs)


def _svg(figure: Figure, title: str, description: str) -> str:
    """Return the chart as an element of the page, with a title and a description of its content."""
    buffer = io.StringIO()
    # The identifiers inside are always the same, and they differ from those of other charts.
    with mpl.rc_context({"svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 - written by matplotlib just now
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    name = re.sub(r"\W+", "-", title.lower())
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-words")
    for tag, words in (("desc", one_line(description)), ("title", one_line(title))):
        element = ET.Element(f"{{{SVG}}}{tag}", {"id": f"{name}-{'title' if tag == 'title' else 'words'}"})
        element.text = words
        root.insert(0, element)
    text = ET.tostring(root, encoding="unicode")
    return re.sub("|".join(VARIABLES), lambda found: VARIABLES[found.group()], text)
