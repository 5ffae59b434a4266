#!/usr/bin/env python3
"""Draw the pictures of the docs, from what is measured and from what the pages themselves say.

    python docs/figures.py [--output DIR]

The ranges, the noise and the histogram are those of the compact default, calibrated on the photos that come with it;
the network is read and measured anew. The int8 artifacts of the full-size Xception are those of docs/peers.json, and
the networks of the lecture notes those of their page. The pictures are written as SVG files to docs/images, and the
numbers in them to figures.json beside them. It takes about half a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "openvino")

import matplotlib as mpl
import numpy as np

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import xedge
from xedge.conversion.calibrated import Calibrated
from xedge.conversion.options import ConvertOptions
from xedge.conversion.reference import graph_of
from xedge.conversion.request import resolved
from xedge.conversion.stages import Stages
from xedge.conversion.subject import read_subject
from xedge.converters import find_target
from xedge.quantization import recipe
from xedge.quantization.equalization import candidates
from xedge.quantization.ranges import least_squares_range
from xedge.quantization.statistics import Statistics, TensorStatistics

DOCS = Path(__file__).resolve().parent
BLUE, ORANGE, PURPLE, GREY = "#1f5fbf", "#b35900", "#7a3ea0", "#6b7280"
STYLE: Any = {
    "svg.hashsalt": "xedge",  # the same numbers give the same file
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d8dbe0",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
WIDTH = 5.2  # inches: on a phone, where it is shown at 360 pixels, words can still be read
PHOTOS = 8  # as many as xedge analyze takes by default
BINS = 80
EVERY = 3  # more channels than this would not be seen apart, and would make a large file


def main() -> int:
    """Measure, draw, and write the pictures and their numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DOCS / "images", help="the folder for the pictures")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    before, after, layers = statistics()
    pictures: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], None]]] = {
        "channels": (channels(before, after, layers), draw_channels),
        "noise": (noise(), draw_noise),
        "histogram": (histogram(before), draw_histogram),
        "cost": (cost(), draw_cost),
        "peers": (peers(json.loads((DOCS / "peers.json").read_text())), draw_peers),
        "variants": (variants((DOCS / "lecture-notes.md").read_text()), draw_variants),
    }
    for name, (numbers, draw) in pictures.items():
        with mpl.rc_context(STYLE):
            draw(numbers)
            plt.savefig(folder / f"{name}.svg", facecolor="white", metadata={"Date": None})
            plt.close()
    drawn = {name: numbers for name, (numbers, _) in pictures.items()}
    (folder / "figures.json").write_text(json.dumps(drawn) + "\n")
    return 0


def rounded(values: Any, digits: int = 4) -> Any:
    """Return numbers with so many significant digits, as many as a picture shows."""
    return [rounded(one, digits) for one in values] if np.ndim(values) else float(f"{float(values):.{digits}g}")


def statistics() -> tuple[Statistics, Statistics, dict[str, str]]:
    """Return what calibration saw of each tensor before and after equalization, and the layers that can be equalized.

    A layer is a depthwise convolution with the convolution that reads it.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stages = Stages(report=lambda line: None, progress=lambda line: None)
        asked = ConvertOptions(target="onnx", precision="int8")
        calibrated = Calibrated(read_subject(resolved(asked, stack), scratch, stages), stages)
        graph, before = graph_of(calibrated.subject.reference, "figures"), calibrated.statistics
        _, after = recipe.prepared(graph, before)
        return before, after, candidates(graph)


def spread(seen: TensorStatistics) -> float:
    """Return the range of the widest channel divided by the median range, as ``xedge analyze`` has it."""
    widths = seen.channel_high - seen.channel_low
    return float(widths.max() / np.median(widths))


def channels(before: Statistics, after: Statistics, layers: dict[str, str]) -> dict[str, Any]:
    """Return the channels' ranges in the depthwise result where they are the most uneven, in median ranges."""
    name = max(layers, key=lambda one: spread(before[one]))
    order = np.argsort(before[name].channel_low - before[name].channel_high)[::EVERY][::-1]
    numbers: dict[str, Any] = {"layer": name}
    for when, seen in (("before", before[name]), ("after", after[name])):
        median = float(np.median(seen.channel_high - seen.channel_low))
        numbers[when] = {
            "spread": rounded(spread(seen), 3),
            "low": rounded(seen.channel_low[order] / median, 3),
            "high": rounded(seen.channel_high[order] / median, 3),
        }
    return numbers


def noise() -> dict[str, Any]:
    """Return the signal-to-noise ratios of the logits with one layer in int8, in the order of computation."""
    report = xedge.analyze(target="onnx", photos=PHOTOS)
    return {
        "layers": [layer.layer for layer in report.layers],
        "alone_db": rounded([layer.alone_db for layer in report.layers], 3),
        "weights_db": rounded([layer.weights_db for layer in report.layers], 3),
        "activations_db": rounded([layer.activations_db for layer in report.layers], 3),
        "everything_db": rounded(report.everything_db, 3),
    }


def histogram(seen: Statistics) -> dict[str, Any]:
    """Return the histogram of the tensor whose chosen range leaves out the most of its extremes, and both ranges."""
    parts = {}
    for name, one in seen.items():
        low, high = least_squares_range(one)
        extremes = max(one.high, 0.0) - min(one.low, 0.0)
        parts[name] = (high - low) / extremes if extremes else 1.0
    name = min(parts, key=lambda one: parts[one])
    centres, weights = seen[name].histogram()
    heights, edges = np.histogram(centres, bins=BINS, weights=weights)
    return {
        "tensor": name,
        "edges": rounded(edges),
        "shares": rounded(heights / heights.sum()),
        "chosen": rounded(least_squares_range(seen[name])),
        "extremes": rounded((seen[name].low, seen[name].high)),
        "beyond": rounded(weights[centres > least_squares_range(seen[name])[1]].sum() / weights.sum(), 2),
    }


def cost() -> dict[str, Any]:
    """Return the cost of each separable convolution of two networks beside that of the ordinary one it replaces."""
    numbers = {}
    for network in (None, "xception"):
        found = xedge.cost(network) if network else xedge.cost()
        pairs = [layer.separable for layer in found.layers if layer.separable is not None]
        numbers[found.network] = {"outputs": [one.outputs for one in pairs], "ratio": rounded([p.ratio for p in pairs])}
    return numbers


def peers(measured: dict[str, Any]) -> dict[str, Any]:
    """Return the tv in percent and the time against fp32 of each int8 artifact of the comparison, by target.

    The time is that with two threads, over the time of xedge's fp32 artifact for the same target.
    """
    units = {row["target"]: row["median_ms"]["2"] for row in measured["rows"] if row["artifact"] == "xedge fp32"}
    numbers: dict[str, Any] = {target: {} for target in units}
    for row in measured["rows"]:
        if "int8" in row["artifact"]:
            time = rounded(row["median_ms"]["2"] / units[row["target"]], 3)
            numbers[row["target"]][row["artifact"]] = {"tv": row["tv_percent"], "time": time}
    return numbers


def variants(page: str) -> dict[str, Any]:
    """Return the networks, their points against the first with intervals, and their costs, of the page's own table."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in page.splitlines()]
    header = next(row for row in rows if row[0] == "network")
    wanted = ("points against the first [95 %]", "fp32, ratio to the first", "int8, ratio to the first")
    networks: dict[str, Any] = {}
    for cells in rows:
        if len(cells) != len(header) or cells[0] in ("network", "---"):
            continue
        told = dict(zip(header, cells, strict=True))
        networks[cells[0]] = {
            "macs": float(told["MACs, M"]),
            **{name.split(" [")[0]: interval(told[name]) for name in wanted},
        }
    return networks


def interval(text: str) -> list[float] | None:
    """Return a figure with its interval, such as ``+1.2 [-0.5, +2.9]``; None for an empty cell."""
    return [float(one) for one in re.findall(r"[-+]?\d+\.?\d*", text)] or None


def draw_channels(numbers: dict[str, Any]) -> None:
    """Draw the range of each channel before and after equalization."""
    _, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True)
    for axes, when, colour in zip(panels, ("before", "after"), (ORANGE, BLUE), strict=True):
        low, high = np.array(numbers[when]["low"]), np.array(numbers[when]["high"])
        axes.fill_between(np.arange(len(low)), low, high, step="mid", color=colour, linewidth=0)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_title(f"{when}: at most {numbers[when]['spread']:g}", fontsize=11)
        axes.set_xlabel("every third channel")
    panels[0].set_ylabel("range, in median ranges")


def draw_noise(numbers: dict[str, Any]) -> None:
    """Draw the noise that each layer causes alone, and its two parts."""
    _, axes = plt.subplots(figsize=(WIDTH, 6.4))
    places = np.arange(len(numbers["layers"]))[::-1]
    alone = np.array(numbers["alone_db"])
    axes.hlines(places, numbers["everything_db"], alone, color="#c9cdd4", linewidth=6)
    axes.plot(numbers["weights_db"], places, "s", color=BLUE, label="its weights alone")
    axes.plot(numbers["activations_db"], places, "^", color=ORANGE, label="its results alone")
    axes.plot(alone, places, "o", color="black", label="the whole layer")
    axes.axvline(numbers["everything_db"], color=PURPLE, linestyle="--", label="all layers at once")
    axes.set_yticks(places, numbers["layers"])
    axes.set_xlabel("signal over noise of the logits, dB")
    axes.legend(loc="upper center", bbox_to_anchor=(0.35, 1.13), ncols=2, fontsize=10)


def draw_histogram(numbers: dict[str, Any]) -> None:
    """Draw the values of a tensor with the chosen range and the extremes."""
    _, axes = plt.subplots(figsize=(WIDTH, 3.4))
    edges, shares = np.array(numbers["edges"]), np.array(numbers["shares"])
    axes.bar(edges[:-1], shares, width=np.diff(edges), align="edge", color=GREY)
    axes.set_yscale("log")
    axes.axvspan(*numbers["chosen"], color=BLUE, alpha=0.15)
    foot, top = axes.get_ylim()
    axes.vlines(numbers["chosen"], foot, top, color=BLUE, label="the chosen range")
    axes.vlines(numbers["extremes"], foot, top, color=ORANGE, linestyle="--", label="the extremes")
    axes.set_ylim(foot, top)
    axes.set_xlabel(f"value in {numbers['tensor']}")
    axes.set_ylabel("share of the weight")
    axes.legend(loc="upper left", bbox_to_anchor=(0.03, 1), fontsize=10)


def draw_cost(numbers: dict[str, Any]) -> None:
    """Draw the formula's ratio over the number of output channels, and the layers of networks on it."""
    _, axes = plt.subplots(figsize=(WIDTH, 4.2))
    outputs = np.geomspace(8, 4096, 200)
    for kernel, style in ((3, "-"), (5, "--"), (7, ":")):
        axes.plot(outputs, 1 / outputs + 1 / kernel**2, style, color=GREY, label=f"1/N + 1/d², d = {kernel}")
    axes.plot(outputs, 1 / outputs, "-.", color=PURPLE, label="1/N")
    for (network, one), colour, mark in zip(numbers.items(), (ORANGE, BLUE), ("^", "o"), strict=True):
        axes.plot(one["outputs"], one["ratio"], mark, color=colour, label=f"layers of {network}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_yticks([0.001, 0.01, 0.1], ["0.001", "0.01", "0.1"])
    axes.set_xticks([2**one for one in range(3, 13, 2)], [str(2**one) for one in range(3, 13, 2)])
    axes.set_xlabel("output channels N")
    axes.set_ylabel("multiply-accumulates,\nseparable over ordinary")
    axes.legend(fontsize=10, loc="lower left")


def draw_peers(numbers: dict[str, Any]) -> None:
    """Draw the tv of the int8 artifacts over their time."""
    _, axes = plt.subplots(figsize=(WIDTH, 4.2))
    for (target, artifacts), colour in zip(numbers.items(), (BLUE, ORANGE, PURPLE), strict=True):
        for name, one in artifacts.items():
            maker, _, how = name.partition(", ")
            words = f"{maker.rsplit(' ', 1)[0]}{f',{chr(10)}{how}' if how else ''}"
            mark, fill, side = "o", "white", 1
            if maker == "xedge int8":
                words = f"xedge, {find_target(target).title}"
                mark, fill, side = "D", colour, -1 if target == "onnx" else 1  # its right side is taken
            axes.plot(one["time"], one["tv"], mark, color=colour, ms=9, mfc=fill)
            at, align = (one["time"], one["tv"]), "left" if side > 0 else "right"
            axes.annotate(words, at, (9 * side, 0), textcoords="offset points", ha=align, va="center", fontsize=10)
    axes.set_yscale("log")
    axes.set_ylim(0.4, 100)
    axes.set_yticks([0.5, 1, 2, 5, 10, 20, 50, 100], ["0.5", "1", "2", "5", "10", "20", "50", "100"])
    axes.set_xlim(0.15, 1.2)
    axes.set_xlabel("time of an inference, fp32 = 1")
    axes.set_ylabel("total variation from fp32, %")


def draw_variants(numbers: dict[str, Any]) -> None:
    """Draw what each network gains and takes against the first, with intervals."""
    _, (points, times) = plt.subplots(2, 1, figsize=(WIDTH, 6.4))
    names = [name for name, one in numbers.items() if one["points against the first"]]
    places = np.arange(len(names))[::-1]
    whiskers(points, [numbers[name]["points against the first"] for name in names], places, BLUE, "o", None)
    points.axvline(0, color="black", linewidth=0.8)
    for axes in (points, times):
        axes.set_yticks(places, names)
    points.set_xlabel("top-1 in fp32, points gained")
    for precision, colour, mark, shift in (("fp32", BLUE, "o", 0.12), ("int8", ORANGE, "D", -0.12)):
        values = [numbers[name][f"{precision}, ratio to the first"] for name in names]
        whiskers(times, values, places + shift, colour, mark, f"time in {precision}")
    first = next(iter(numbers.values()))["macs"]
    times.plot([numbers[name]["macs"] / first for name in names], places, "|", color="black", ms=12, label="MACs")
    times.axvline(1, color="black", linewidth=0.8)
    times.set_xscale("log")
    times.set_xticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
    times.minorticks_off()
    times.set_xlabel("ratio to the first network")
    times.legend(fontsize=10, loc="upper right")


def whiskers(
    axes: Axes, values: Sequence[Sequence[float]], places: Any, colour: str, mark: str, label: str | None
) -> None:
    """Draw figures (middle, low, high) as marks with their intervals, at the height of ``places``."""
    middle, low, high = np.array(values).T
    errors = np.array([middle - low, high - middle])
    axes.errorbar(middle, places, xerr=errors, fmt=mark, color=colour, capsize=3, label=label)


if __name__ == "__main__":
    sys.exit(main())
