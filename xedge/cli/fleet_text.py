"""Runs and deployments on several machines, as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xedge.cli.console import percent, table
from xedge.measuring.comparison import board_name
from xedge.measuring.report import RunReport
from xedge.remote.failure import Failure
from xedge.remote.fleet_run import FleetMachine, FleetRun, Spread, reached_c

RUN_HEADER = ["machine", "board", "bundle", "p50 ms", "p90 ms", "top-1", "warmest", "verdict"]
SPREAD_HEADER = ["boards of one kind", "bundle", "p50 ms, lowest to highest", "ratio", "top-1", "warmest", "VALID"]


def text(fleet: FleetRun) -> str:
    """Return the runs by machine, the spread between boards of one kind, and what failed."""
    parts = [table([row for machine in fleet.machines for row in _rows(machine)], RUN_HEADER)]
    if fleet.spreads:
        parts.append(table([_spread(one) for one in fleet.spreads], SPREAD_HEADER))
    parts += list(_notes(fleet))
    failed = sum(bool(machine.failures) for machine in fleet.machines)
    return "\n\n".join([*parts, *failures_text(fleet.failures, failed, len(fleet.machines))])


def failures_text(failures: Mapping[str, Failure], failed: int, machines: int) -> list[str]:
    """Return what failed, if anything did: a line for each with its exit code.

    Args:
        failures: The failures by what failed.
        failed: The number of machines on which something failed.
        machines: The number of all machines.
    """
    lines = [f"FAILED     {name}: {one.message} (exit code {one.exit_code})" for name, one in failures.items()]
    return ["\n".join([*lines, f"something failed on {failed} of {machines} machines"])] if lines else []


def _rows(machine: FleetMachine) -> Iterator[list[str]]:
    if machine.runs is None:
        yield [machine.name, *["-"] * (len(RUN_HEADER) - 2), "FAILED"]
        return
    for run in machine.runs.runs:
        yield [machine.name, board_name(run.board), run.bundle, *_figures(run), run.verdict.word]
    for bundle in machine.runs.failures:
        yield [machine.name, "-", bundle, "-", "-", "-", "-", "FAILED"]


def _figures(run: RunReport) -> list[str]:
    warmest = reached_c(run)
    return [
        f"{run.latency.p50_ms:.2f}",
        "-" if run.latency.p90_ms is None else f"{run.latency.p90_ms:.2f}",
        "-" if run.accuracy is None else percent(run.accuracy.top1),
        "-" if warmest is None else f"{warmest:.1f} C",
    ]


def _spread(one: Spread) -> list[str]:
    return [
        f"{len(one.machines)} x {one.kind}",
        one.bundle,
        f"{one.p50_ms[0]:.2f} to {one.p50_ms[2]:.2f}",
        f"{one.p50_ratio:.2f}",
        "-" if one.top1 is None else f"{percent(one.top1[0])} to {percent(one.top1[1])}",
        "-" if one.temperature_c is None else f"{one.temperature_c[0]:.1f} to {one.temperature_c[1]:.1f} C",
        f"{one.valid} of {len(one.machines)}",
    ]


def _notes(fleet: FleetRun) -> Iterator[str]:
    for one in fleet.spreads:
        if len(one.settings) > 1:
            yield f"NOTE: {one.bundle} ran differently on boards of one kind: {'; '.join(one.settings)}"
        if one.valid < len(one.machines):
            yield (
                f"NOTE: {len(one.machines) - one.valid} of the {len(one.machines)} timings of {one.bundle} on "
                f"{one.kind} are INVALID, so their spread is not that of the boards alone"
            )
