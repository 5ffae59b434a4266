"""Write what benchmarks/families.py measured into docs/peers.md, every recipe, and docs/models.md, the best of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from family_figures import BLOCKS, DOCS, EVERY_FAMILY, RUNS, write_section
from pooling import Mean, over_networks95, over_photos95
from recipes import RECIPES, STRIDE, Recipe

from xedge.converters import target_names
from xedge.types import DoubleArray, Tensor

TARGETS = target_names("all")
# The figures of a network, and what was kept of each photo, by name.
Result = tuple[dict[str, Any], Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to make an int8 artifact.

    Args:
        target: The target of the artifact.
        method: The name among the methods of the target.
        recipe: The recipe of another tool; None for xedge.
    """

    target: str
    method: str
    recipe: Recipe | None = None

    @property
    def title(self) -> str:
        """The name in tables."""
        return self.recipe.title if self.recipe else "xedge"


METHODS = {
    **{f"xedge_{target}": Method(target=target, method="xedge") for target in TARGETS},
    **{name: Method(target=it.target, method=name, recipe=it) for name, it in RECIPES.items()},
}
EVERY = """    XEDGE_SHARED=DIR PYTHONPATH=. python benchmarks/families.py FOLDER

This section was written by the command above, from what it keeps in `docs/families`. It holds xedge's default int8
against every recipe of the other tools that make int8 for the same target, on {networks}. Networks that are missing
have not been measured yet.

- **Networks.** The families of Keras Applications have random weights, with heads that were fitted to photos. Another
  page says [how to read their rows](models.md). The names of trained networks say which weights they have.
- **Photos.** All methods calibrate on the same 100 photos. The families are measured on 124 of the embedded test
  photos, and the trained networks on 300 full-size photos, drawn from the test and validation splits.
- **Agreement** is the share of photos with the same first class as float, with its 95 % Wilson interval.
- **tv** is the mean total variation distance between the probabilities of int8 and of float, with its 95 % interval
  by bootstrap over the photos. Float is xedge's fp32 artifact for ONNX in all rows. {floats}
- **Drop** is the lost top-1 accuracy in percentage points with its 95 % interval (Tango, 1998) and the p-value of
  McNemar's exact test, for the networks whose outputs are the classes of the photos. **Photos** is how many photos
  would prove with a chance of 80 % that the drop is below {proved} points, judging by these; there is no such number if
  the drop that was seen is larger.
- **MB** is the size of the artifact.
- **s** and **peak MB** are the time and the memory that it takes to make the artifact from the Keras file, in processes
  of their own. Most recipes take two: one makes the float artifact, which the recipes of a target share here, and one
  quantizes it. The times are added, and the larger peak counts. In brackets is the time that the processors' cores
  spent, which other work on the machine hardly changes.
- **Latency** is the ratio of the median latency to that of xedge's int8, on one thread. The artifacts of a target took
  turns in one process, with {blocks} blocks of {runs} inferences each. Where it is empty, it has not been measured.
- The peer in **bold** has the lowest tv of all peers for this network and target. It is chosen by the same photos on
  which it is measured, which favours it a little.
- A method that fails has the reason in its row.{later}

The recipes, with what is set otherwise than by default:

{settings}

Their float artifacts come from TensorFlow's converter for TFLite, from tf2onnx (opset 17) for ONNX, and from OpenVINO's
converter of the exported SavedModel for OpenVINO. TensorFlow refuses names of layers that begin with an underscore, as
EfficientNet-Lite0 has them here; the peers get a copy with the same weights and other names.

The recipes of ONNX Runtime quantize per channel, with uint8 activations and int8 weights in QDQ form, after
`quant_pre_process`. {range_words} Percentile and Entropy take {stride} photos at a time (`CalibStridedMinMax`), because
their histograms otherwise keep every tensor of all photos in memory. NNCF takes all 100 photos (`subset_size`).

The versions are {versions}.
"""
POOLED = """### Pooled over networks

The differences between xedge and each peer are paired photo by photo, and pooled over all networks for which both have
figures. A positive difference of agreement and a negative one of tv say that xedge is closer to float. Both intervals
are 95 %, by bootstrap. The first one is about other photos for the same networks: a photo that is drawn counts in all
networks that were measured on it. The second one is about other networks like these, if there are {least} or more.
**Best of each network** takes the peer in bold for each network. **Closer in tv** counts the networks where the tv of
xedge is lower.
"""
TABLE = (
    "| network | method | agreement, % | tv, % | drop, points | photos | MB | s (of processors) | peak MB | latency |\n"
    + "|---" * 10
    + "|"
)
POOLED_TABLE = (
    "| target | peer | networks | pairs | agreement, points: difference | other photos | other networks "
    "| tv, points: difference | other photos | other networks | closer in tv |\n" + "|---" * 11 + "|"
)
SHORT = (
    "| network | input | way | difference | parity | target | agreement, % | tv, % | MB | best peer "
    "| agreement, % | tv, % | MB |\n" + "|---" * 13 + "|"
)
GROUPS = {"All networks": "", "Networks with trained weights": "full-size clothing photos"}
# Fewer networks than these tell nothing of other networks.
LEAST_NETWORKS = 5
# In percentage points.
PROVED = 0.1
# A reference that is further from a peer's own float artifact than this, in percent of tv, is told of.
SAME_FLOAT = 0.05


def write_pages(results: Sequence[Result]) -> None:
    """Write the sections of both pages."""
    measured = [(one, kept) for one, kept in results if "targets" in one]
    if not measured:
        return
    figures = [one for one, _ in measured]
    lines = [introduction(figures)]
    for target in TARGETS:
        lines += [f"### Every family: {target}\n", TABLE]
        lines += [line for one in figures for line in lines_of(one, target)]
        lines.append("")
    lines += [POOLED.format(least=LEAST_NETWORKS), *pooled(measured)]
    write_section(EVERY_FAMILY, figures, lines, DOCS / "peers.md", "Every family")
    short = [SHORT, *(line for one, _ in results for line in short_lines(one)), "", behind(figures)]
    write_section("families", figures, short)


def introduction(figures: list[dict[str, Any]]) -> str:
    """Return the words above the tables."""
    networks = "one network" if len(figures) == 1 else f"{len(figures)} networks"
    with_vnni = {one["vnni"] for one in figures}
    words = {
        True: "With VNNI, weights keep eight bits: no `reduce_range`, and NNCF's default `overflow_fix`.",
        False: "Without VNNI, weights have seven bits: `reduce_range`, and NNCF's `OverflowFix.ENABLE`.",
    }
    return EVERY.format(
        networks=networks,
        proved=PROVED,
        floats=float_words(figures),
        later=later_words(figures),
        blocks=BLOCKS,
        runs=RUNS,
        settings="\n".join(f"- {one.title} ({one.target}): {one.settings}." for one in RECIPES.values()),
        range_words=" ".join(words[one] for one in sorted(with_vnni)),
        stride=STRIDE,
        versions="; ".join(sorted({version_words(one["versions"]) for one in figures})),
    )


def version_words(versions: Mapping[str, str]) -> str:
    """Return the versions of packages in words."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def float_words(figures: list[dict[str, Any]]) -> str:
    """Return how close the float artifacts of other tools are to the reference."""
    tv = {
        (one["name"], target): cost["tv"]
        for one in figures
        for target, cost in one["floats"].items()
        if "reason" not in cost
    }
    far = [f"{name} for {target} ({value:.2f} %)" for (name, target), value in tv.items() if value > SAME_FLOAT]
    largest = f"The tv of the other tools' own float artifacts from it is {max(tv.values(), default=0):.1g} % at most."
    return f"{largest} It is larger than {SAME_FLOAT} % for {', '.join(far)}." if far else largest


def later_words(figures: list[dict[str, Any]]) -> str:
    """Return a line for each processor that some rows alone were measured on, after the others of their network."""
    rows = [
        (row["processor"], f"{method.title} for {method.target} ({one['name']})")
        for one in figures
        for method in METHODS.values()
        if "processor" in (row := one["targets"][method.target].get(method.method, {}))
    ]
    named = {processor: ", ".join(words for one, words in rows if one == processor) for processor, _ in rows}
    later = "\n- Measured later than the rest, on {}: {}."
    return "".join(later.format(processor, words) for processor, words in named.items())


def best_peer(rows: Mapping[str, Any]) -> str | None:
    """Return the peer's method with the lowest tv, or None if no peer has figures."""
    found = {method: row["tv"][0] for method, row in rows.items() if method != "xedge" and "reason" not in row}
    return min(found, key=found.__getitem__) if found else None


def lines_of(one: dict[str, Any], target: str) -> list[str]:
    """Return the lines of one network in the table of a target, one for each method."""
    rows, times = one["targets"][target], one.get("times", {}).get(target, {})
    best, lines = best_peer(rows), list[str]()
    for name, method in METHODS.items():
        if method.target != target or method.method not in rows:
            continue
        row = rows[method.method]
        title = f"**{method.title}**" if name == best else method.title
        first = one["name"] if not lines else ""
        lines.append(f"| {first} | {title} | {' | '.join(row_cells(row, ratio(times, method.method)))} |")
    return lines


def row_cells(row: dict[str, Any], latency: str) -> list[str]:
    """Return the cells of a method."""
    if "reason" in row:
        return [f"fails: {row['reason']}", *("-" * 7)]
    return [
        with_interval(row["agreement"], 1),
        with_interval(row["tv"], 2),
        *drop_cells(row.get("drop")),
        f"{row['mb']:.1f}",
        f"{row['seconds']:.0f} ({row['processor_seconds']:.0f})",
        f"{row['peak_mb']:.0f}",
        latency,
    ]


def drop_cells(drop: dict[str, Any] | None) -> tuple[str, str]:
    """Return the drop of top-1, and how many photos would prove it small; nothing without true classes."""
    if drop is None:
        return "", ""
    words = f"{with_interval((drop['points'], *drop['interval95']), 1, '+')}, p {drop['mcnemar_p']:.2g}"
    needed = drop["photos_to_prove"]
    return words, "-" if needed is None else f"{needed:,}"


def ratio(times: Mapping[str, list[float]], method: str) -> str:
    """Return the ratio of the latency to xedge's; nothing if it was not measured."""
    if "xedge" not in times or method not in times:
        return ""
    return f"{median(times[method]) / median(times['xedge']):.2f}"


def with_interval(mean: Iterable[float], digits: int, sign: str = "") -> str:
    """Return a mean with its interval."""
    middle, low, high = (f"{value:{sign}.{digits}f}" for value in mean)
    return f"{middle} [{low}, {high}]"


def pooled(measured: Sequence[Result]) -> list[str]:
    """Return the tables of differences that are pooled over networks."""
    lines: list[str] = []
    for words, photo_set in GROUPS.items():
        members = [result for result in measured if result[0]["photo_set"] == (photo_set or result[0]["photo_set"])]
        rows = [pooled_line(target, name, members) for target in TARGETS for name in (*peers(target), None)]
        if members:
            lines += [f"{words}:\n", POOLED_TABLE, *(row for row in rows if row), ""]
    return lines[:-1]


def peers(target: str) -> list[str]:
    """Return the names of the peers' recipes for a target."""
    return [name for name, one in RECIPES.items() if one.target == target]


def pooled_line(target: str, peer: str | None, measured: Sequence[Result]) -> str:
    """Return the line of a peer's recipe, or nothing if no network has both artifacts.

    Args:
        target: The target.
        peer: The name of the recipe; None takes the best one of each network.
        measured: The networks.
    """
    pairs = [
        (one["photo_set"], *paired(kept, target, chosen))
        for one, kept in measured
        for chosen in [peer or best_peer(one["targets"][target])]
        if chosen and all("tv" in one["targets"][target].get(it, {}) for it in ("xedge", chosen))
    ]
    if not pairs:
        return ""
    agreement = by_set((photo_set, same) for photo_set, same, _ in pairs)
    distance = by_set((photo_set, tv) for photo_set, _, tv in pairs)
    closer = sum(bool(tv.mean() < 0) for _, _, tv in pairs)
    title = RECIPES[peer].title if peer else "best of each network"
    cells = [target, title, str(len(pairs)), str(sum(values.size for values in agreement))]
    for values, digits in ((agreement, 2), (distance, 2)):
        cells += difference_cells(
            over_photos95(values), over_networks95(values), digits, many=len(pairs) >= LEAST_NETWORKS
        )
    return f"| {' | '.join([*cells, f'{closer} of {len(pairs)}'])} |"


def difference_cells(photos: Mean, networks: Mean, digits: int, *, many: bool) -> list[str]:
    """Return a difference and its two intervals; a few networks tell nothing of others."""
    middle = f"{photos[0]:+.{digits}f}"
    of_photos, of_networks = (f"[{low:+.{digits}f}, {high:+.{digits}f}]" for _, low, high in (photos, networks))
    return [middle, of_photos, of_networks if many else "-"]


def paired(kept: Mapping[str, Tensor], target: str, peer: str) -> tuple[DoubleArray, DoubleArray]:
    """Return how much xedge agrees more than a peer, and its tv above the peer's, in points for each photo (N,)."""
    ours, theirs = (kept[f"{name}_first"] == kept["reference"] for name in (f"xedge_{target}", peer))
    distance = kept[f"xedge_{target}_tv"] - kept[f"{peer}_tv"]
    return 100 * (ours.astype(np.float64) - theirs), 100 * distance.astype(np.float64)


def by_set(values: Iterable[tuple[str, DoubleArray]]) -> list[DoubleArray]:
    """Return the values (networks, photos) of each set of photos."""
    sets: dict[str, list[DoubleArray]] = {}
    for name, one in values:
        sets.setdefault(name, []).append(one)
    return [np.stack(rows) for rows in sets.values()]


def short_lines(one: dict[str, Any]) -> list[str]:
    """Return the lines of one network in the short table, one for each target."""
    if "targets" not in one:
        return [f"| {one['name']} | {one.get('failed', 'not measured')} |{' |' * 11}"]
    first = (one["name"], one["input"], one["way"], f"{one['difference']:.0e}", f"{one['parity']:.1g}")
    lines = []
    for target, rows in one["targets"].items():
        best = best_peer(rows)
        cells = [*(first if target == TARGETS[0] else [""] * len(first)), target, *short_cells(rows.get("xedge"))]
        cells += [RECIPES[best].title, *short_cells(rows[best])] if best else ["-"] * 4
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def short_cells(row: dict[str, Any] | None) -> list[str]:
    """Return agreement, tv and size as cells, or the reason why there are none."""
    if row is None or "reason" in row:
        return ["-", row["reason"] if row else "not measured", "-"]
    return [f"{row['agreement'][0]:.0f}", f"{row['tv'][0]:.2f}", f"{row['mb']:.1f}"]


def behind(figures: list[dict[str, Any]]) -> str:
    """Return in words where xedge is behind the best peer."""
    found = []
    for one in figures:
        for target, rows in one["targets"].items():
            best, ours = best_peer(rows), rows.get("xedge", {})
            if best is None or "tv" not in ours:
                continue
            words = [
                f"{what} ({ours[what][0]:.{digits}f} against {rows[best][what][0]:.{digits}f} %)"
                for what, digits, sign in (("agreement", 1, -1), ("tv", 2, 1))
                if sign * ours[what][0] > sign * rows[best][what][0]
            ]
            if words:
                found.append(f"- {one['name']} on {target}: {' and '.join(words)}")
    if not found:
        return "xedge is not behind the best peer in any of these rows."
    return "xedge is behind the best peer in these rows:\n\n" + "\n".join(found)
