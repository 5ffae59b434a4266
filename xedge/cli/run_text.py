"""A run's report, as a person reads it."""

from __future__ import annotations

import textwrap

from xedge.cli.console import fields, megabytes, milliseconds, percent, table
from xedge.measuring.report import RunReport
from xedge.metrics import Confusion
from xedge.vocabulary import BY_NAME_ONLY

# From so many stretches of time on, their course is shown.
LONG = 20
# Of more classes than this, only the worst are shown.
MOST_CLASSES, WORST_CLASSES = 40, 10
# So many operations are shown of a profile.
SLOWEST = 15
# A confusion matrix of more classes is wider than a terminal.
LARGEST_MATRIX = 12


def text(report: RunReport) -> str:
    """Return the report as a person reads it."""
    parts = [fields(_what(report)), *_board(report), fields(_latency(report)), fields(_phases(report))]
    parts += [*_streams(report), *_cold_starts(report), *_profile(report), *_series(report)]
    parts += [f"NOTE: {one}" for one in report.notes]
    parts += [*(f"NOTE: not measured: {one}" for one in report.not_measured), *_accuracy(report)]
    return "\n\n".join([*parts, *_against(report), _verdict(report)])


def _against(report: RunReport) -> list[str]:
    """Return how the bundle compares with another one, and whether its precision pays here."""
    against = report.against
    if against is None:
        return []
    ratio, low, high = against.speed.ratio
    pays = {True: "pays here", False: "does not pay here: it is slower", None: "may not pay here: the turns disagree"}
    if report.precision in BY_NAME_ONLY:
        pays[None] = "is made for size, and is neither faster nor slower for sure"
    lines = [
        ("against", f"{against.other} ({against.precision}), {against.speed.float_ms:.2f} ms"),
        ("ratio", f"{ratio:.2f} [{low:.2f}, {high:.2f}]: {report.precision} {pays[against.speed.pays]}"),
    ]
    if against.agreement is not None:
        low, high = against.agreement.interval95
        same = f"{percent(against.agreement.agreement)} [{100 * low:.1f}, {100 * high:.1f}]"
        lines.append(("agreement", f"{same} with it on {against.agreement.photos} photos"))
    if report.budget is not None:
        lines.append(("budget", f"{report.budget} on the host"))
    return [fields(lines)]


def _what(report: RunReport) -> list[tuple[str, str]]:
    execution, board, test = report.execution, report.board, report.self_test
    return [
        ("bundle", f"{report.bundle}: {report.artifact_name}, {megabytes(report.artifact_bytes)}"),
        ("board", f"{board.model or 'unknown'} ({board.machine}), {board.cores} cores"),
        ("runtime", execution.described),
        ("options", ", ".join(f"{key}={value}" for key, value in execution.options.items()) or "the runtime's own"),
        ("delegate", _delegate(report)),
        ("self-test", f"passed: {test.photos} golden photos within {test.max_difference:.2g} of the host's outputs"),
    ]


def _board(report: RunReport) -> list[str]:
    """Return what the board said about itself during the run; nothing where it says nothing."""
    first, last = report.readings[0], report.readings[-1]
    warmest = [one.temperature_c for one in report.readings if one.temperature_c is not None]
    clocks = [max(one.core_mhz) for one in report.readings if one.core_mhz]
    lines = []
    if report.board.jetson is not None:
        jetson = report.board.jetson
        lines.append(("JetPack", f"{jetson.jetpack or '?'} (L4T {jetson.release}), mode {jetson.power_mode or '?'}"))
    if report.board.governors:
        lines.append(("governor", ", ".join(report.board.governors)))
    if clocks:
        lines.append(("clock", f"{min(clocks):.0f} to {max(clocks):.0f} MHz"))
    if first.temperature_c is not None and last.temperature_c is not None:
        lines.append(
            ("temperature", f"{first.temperature_c:.1f} to {last.temperature_c:.1f} C, {max(warmest):.1f} at most")
        )
    if last.throttling is not None:
        since = ", ".join(last.throttling.since_boot) or "nothing"
        lines.append(("throttling", f"now {', '.join(last.throttling.now) or 'nothing'}; since boot {since}"))
    if report.contention is not None:
        others = report.contention
        stolen = f", {100 * others.stolen:.0f} % stolen by the hypervisor" if others.stolen else ""
        lines.append(("other processes", f"{100 * others.processes:.0f} % of the cores' time{stolen}"))
    if last.power is not None:
        energy = "" if report.energy_j is None else f"; {1000 * report.energy_j:.0f} mJ an inference"
        if report.energy is not None and report.energy.above_idle_j is not None:
            above, low, high = (1000 * value for value in report.energy.above_idle_j)
            idle = f"{report.energy.idle_watts:.2f} W of the idle board"
            energy += f", {above:.0f} [{low:.0f}, {high:.0f}] mJ without the {idle}"
        lines.append(("power", f"{last.power.watts:.2f} W ({last.power.meter}){energy}"))
    return [fields(lines)] if lines else []


def _series(report: RunReport) -> list[str]:
    """Return the course of a long run in ten lines, and what became of frames."""
    parts = []
    if report.frames is not None:
        frames = report.frames
        parts.append(
            fields([("frames", f"{frames.rate:g}/s: {frames.done} done, {frames.late} late, {frames.dropped} dropped")])
        )
    if len(report.series) >= LONG:
        shown = report.series[:: max(1, len(report.series) // 10)]
        rows = [
            [f"{w.at_s:.0f} s", _or_dash(w.median_ms), _or_dash(w.max_ms), _or_dash(w.temperature_c)] for w in shown
        ]
        parts.append(table(rows, ["at", "median ms", "max ms", "C"]))
    if report.throttled_at_s is not None:
        parts.append(f"throttling began after {report.throttled_at_s:.0f} s")
    return parts


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _delegate(report: RunReport) -> str:
    execution = report.execution
    if execution.operators is None:
        return "not told by the runtime"
    if execution.delegate is None:
        return f"none: {execution.operators} operators on the runtime's own kernels"
    return (
        f"{execution.delegate}: {execution.delegated} of {execution.operators} operators, "
        f"{execution.partitions} partition{'s' if execution.partitions != 1 else ''}"
    )


def _latency(report: RunReport) -> list[tuple[str, str]]:
    latency = report.latency
    drift = "too few samples" if latency.drift is None else f"{100 * latency.drift:+.1f} %"
    return [
        (
            "latency p50",
            f"{latency.p50_ms:.2f} ms   ({latency.samples} samples after a warm-up of {report.warmup_inferences})",
        ),
        ("p90", milliseconds(latency.p90_ms)),
        ("p95", milliseconds(latency.p95_ms)),
        ("p99", milliseconds(latency.p99_ms)),
        ("min, mean", f"{latency.min_ms:.2f} ms, {latency.mean_ms:.2f} ms"),
        ("throughput", _throughput(report)),
        ("spread, drift", f"{100 * latency.spread:.1f} %, {drift}"),
        ("peak memory", megabytes(report.peak_memory_bytes)),
    ]


def _throughput(report: RunReport) -> str:
    if report.frames is not None:
        return f"{report.frames.done / report.series[-1].at_s:.1f} of {report.frames.rate:g} frames/s"
    return f"{report.latency.per_second:.1f} inferences/s, one after another"


def _phases(report: RunReport) -> list[tuple[str, str]]:
    phases = report.phases
    decode = "" if phases.decode_ms is None else f"decode and resize {phases.decode_ms:.2f} ms, "
    return [
        ("import", f"{phases.import_ms:.0f} ms"),
        ("load", f"{phases.load_ms:.0f} ms"),
        ("first inference", f"{phases.first_ms:.1f} ms"),
        ("start to result", f"{phases.start_to_first_result_ms:.0f} ms"),
        ("around inference", f"{decode}scale {phases.preprocess_ms:.2f} ms, output {phases.postprocess_ms:.2f} ms"),
    ]


def _streams(report: RunReport) -> list[str]:
    streams = report.streams
    if streams is None:
        return []
    each = f"{streams.sessions} session{'s' if streams.sessions > 1 else ''} of {streams.threads} threads"
    queries = streams.queries
    late = f"p90 {milliseconds(queries.p90_ms)}, p99 {milliseconds(queries.p99_ms)}"
    lines = [
        (f"{streams.photos} at once", f"p50 {queries.p50_ms:.2f} ms, {late}   ({queries.samples} queries, {each})"),
        ("multistream", f"{streams.multistream_per_second:.1f} photos/s"),
        ("offline", f"{streams.offline_per_second:.1f} photos/s over {streams.offline_s:.1f} s"),
    ]
    return [fields(lines)]


def _cold_starts(report: RunReport) -> list[str]:
    cold = report.cold_starts
    if cold is None:
        return []
    rows = [
        [
            name,
            f"{one.import_ms:.0f}",
            f"{one.load_ms:.0f}",
            f"{one.first_ms:.1f}",
            f"{one.start_to_first_result_ms:.0f}",
            megabytes(one.peak_memory_bytes),
        ]
        for name, one in (*((str(n), one) for n, one in enumerate(cold.starts, 1)), ("median", cold.median))
    ]
    return [table(rows, ["cold start", "import ms", "load ms", "first ms", "start to result ms", "peak memory"])]


def _profile(report: RunReport) -> list[str]:
    """Return the slowest operations; all of them are in the JSON."""
    profile = report.profile
    if profile is None:
        return []
    slowest = sorted(profile.operations, key=lambda one: -one.ms)[:SLOWEST]
    rows = [
        [
            one.name,
            f"{one.ms:.3f}",
            f"{100 * one.share:.1f} %",
            "-" if one.giga_per_second is None else f"{one.giga_per_second:.1f}",
            one.precision,
            str(one.threads),
            " + ".join(one.kernels),
        ]
        for one in slowest
    ]
    count, total = len(profile.operations), profile.total_ms
    words = f"{count} operations take {total:.2f} ms, in inferences that are slower because they are watched."
    return [table(rows, ["operation", "ms", "share", "GMAC/s", "precision", "threads", "kernel"]), words]


def _accuracy(report: RunReport) -> list[str]:
    scored = report.accuracy
    if scored is None:
        return ["accuracy          not measured: give --data with labelled photos in class folders", *_left_out(report)]
    low, high = scored.interval95
    lines = [
        (
            "top-1",
            f"{percent(scored.top1)}   (95 % interval {100 * low:.1f} to {100 * high:.1f}, {scored.photos} photos)",
        )
    ]
    if scored.top5 is not None:
        lines.append(("top-5", percent(scored.top5)))
    if report.host_top1 is not None:
        which = "when it was converted" if report.same_photos_as_host else "when it was converted, on other photos"
        lines.append(("on the host", f"{percent(report.host_top1)} {which}"))
    if report.confusion is None:
        return [fields(lines), *_left_out(report)]
    return [fields(lines), *_left_out(report), *_classes(report.confusion), *_matrix(report.confusion)]


def _left_out(report: RunReport) -> list[str]:
    """What of the folder was not scored."""
    return [f"NOTE: not scored: {', '.join(report.left_out)}"] if report.left_out else []


def _classes(confusion: Confusion) -> list[str]:
    """Return the accuracy of each class; of many classes, those with the lowest accuracy."""
    classes, header = confusion.classes, ["class", "top-1"]
    if len(classes) <= MOST_CLASSES:
        return [table([[one.label, percent(one.top1)] for one in classes], header)]
    worst = sorted(classes, key=lambda one: one.top1)[:WORST_CLASSES]
    words = f"These {WORST_CLASSES} of {len(classes)} classes have the lowest accuracy; --json writes all of them."
    return [table([[one.label, percent(one.top1)] for one in worst], header), words]


def _matrix(confusion: Confusion) -> list[str]:
    """Return the confusion matrix, if it fits a terminal and every class that was answered has photos."""
    names = {one.index: one.label for one in confusion.classes}
    if len(names) > LARGEST_MATRIX or any(answer not in names for _, answer, _ in confusion.cells):
        return []
    counts = {(true, answer): count for true, answer, count in confusion.cells}
    short = [textwrap.shorten(name, 9, placeholder="") or name[:9] for name in names.values()]
    rows = [[name, *(str(counts.get((true, answer), 0)) for answer in names)] for true, name in names.items()]
    return [table(rows, ["truth \\ answer", *short])]


def _verdict(report: RunReport) -> str:
    verdict = report.verdict
    if verdict.valid:
        return "VALID"
    return "\n".join(["INVALID: the latency above should not be quoted", *(f"  - {r}" for r in verdict.reasons)])
