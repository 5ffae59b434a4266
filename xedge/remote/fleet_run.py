"""Runs on several machines: their reports, why others have none, and how far boards of one kind differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from xedge.device.board import Board
from xedge.measuring.comparison import board_name
from xedge.measuring.report import RunReport
from xedge.remote.address import Address
from xedge.remote.deploy import Package
from xedge.remote.failure import Failure
from xedge.remote.fleet import AT_ONCE, Outcome, Stage, exit_code_of, on_all
from xedge.remote.run import RemoteRun, run_there

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class FleetMachine:
    """One machine of the fleet, and what became of the runs there.

    Args:
        name: The name of the machine, which no other has.
        destination: The machine, as ssh names it.
        runs: The runs there; None if there are none.
        failure: Why there are no runs; None if there are some.
        transcript: The stages of the work there.
    """

    name: str
    destination: str
    runs: RemoteRun | None
    failure: Failure | None
    transcript: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if (self.runs is None) == (self.failure is None):
            raise ValueError("a machine has either runs or a failure")

    @property
    def failures(self) -> dict[str, Failure]:
        """What failed there, by the name of the machine, and of the bundle if only that failed."""
        if self.failure is not None:
            return {self.name: self.failure}
        assert self.runs is not None
        prefix = f"{self.destination}: "
        return {
            f"{self.name}: {bundle}": replace(one, message=one.message.removeprefix(prefix))
            for bundle, one in self.runs.failures.items()
        }


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far the runs of one bundle on boards of one kind differ.

    Args:
        kind: The kind of the boards: their model without its revision.
        bundle: The name of the bundle.
        machines: The names of the machines, two or more.
        valid: The number of these runs whose verdict on the latency is VALID.
        p50_ms: The lowest, the middle and the highest of their median latencies in milliseconds.
        p50_ratio: The highest median latency divided by the lowest.
        top1: The lowest and the highest top-1 accuracy, 0 to 1; None if one of the runs was not scored.
        temperature_c: The lowest and the highest of the temperatures that each board had reached, in degrees Celsius;
            None if a board does not report one.
        settings: The runtimes with their versions and threads; with more than one, the boards are not alike.
    """

    kind: str
    bundle: str
    machines: tuple[str, ...]
    valid: int
    p50_ms: tuple[float, float, float]
    p50_ratio: float
    top1: tuple[float, float] | None
    temperature_c: tuple[float, float] | None
    settings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FleetRun:
    """The results of bundles on several machines.

    Args:
        schema: The kind of this document and its version.
        machines: The machines, in the order in which they were named.
        spreads: How far boards of one kind differ, for each kind with two or more boards and each bundle.
    """

    schema: Literal["xedge.run-fleet/1"] = "xedge.run-fleet/1"
    machines: tuple[FleetMachine, ...]
    spreads: tuple[Spread, ...]

    def __post_init__(self) -> None:
        names = [machine.name for machine in self.machines]
        if len(set(names)) != len(names):
            raise ValueError("two machines have the same name")

    @property
    def failures(self) -> dict[str, Failure]:
        """What failed, by the name of the machine, and of the bundle if only that failed."""
        return {name: one for machine in self.machines for name, one in machine.failures.items()}

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        return exit_code_of([_exit_code(machine) for machine in self.machines])

    @property
    def runs(self) -> tuple[RunReport, ...]:
        """All runs; each is called by the names of its bundle and its machine."""
        return tuple(
            replace(run, bundle=f"{run.bundle} on {machine.name}")
            for machine in self.machines
            if machine.runs is not None
            for run in machine.runs.runs
        )


def _exit_code(machine: FleetMachine) -> int:
    """Return the exit code of one machine; a machine on which only some bundles ran has not wholly failed."""
    codes = [one.exit_code for one in machine.failures.values()]
    return exit_code_of([*codes, 0]) if machine.runs is not None else max(codes)


def run_on_all(
    addresses: Sequence[Address],
    package: Package,
    arguments: Sequence[str],
    at_once: int = AT_ONCE,
    report: Report = lambda line: None,
) -> FleetRun:
    """Run bundles on several machines at once.

    Args:
        addresses: The machines.
        package: The bundles, and what is sent with them.
        arguments: More options of ``xedge run`` there.
        at_once: The greatest number of machines to work on at the same time.
        report: A function that is told one line for each stage, with the name of the machine.
    """
    outcomes = on_all(addresses, lambda ssh, say: run_there(ssh, package, arguments, say), at_once, report)
    machines = tuple(_machine(outcome) for outcome in outcomes)
    return FleetRun(machines=machines, spreads=spreads_of(machines))


def _machine(outcome: Outcome[RemoteRun]) -> FleetMachine:
    return FleetMachine(
        name=outcome.address.name,
        destination=outcome.address.destination,
        runs=outcome.result,
        failure=outcome.failure,
        transcript=outcome.transcript,
    )


def reached_c(run: RunReport) -> float | None:
    """Return the highest temperature that the board reported during a run, in degrees Celsius; None without any."""
    return max((one.temperature_c for one in run.readings if one.temperature_c is not None), default=None)


def spreads_of(machines: Sequence[FleetMachine]) -> tuple[Spread, ...]:
    """Return how far the runs of each bundle on boards of one kind differ."""
    alike: dict[tuple[object, ...], dict[str, RunReport]] = {}
    for machine in machines:
        for run in machine.runs.runs if machine.runs is not None else ():
            alike.setdefault((*_kind(run.board), run.bundle), {})[machine.name] = run
    return tuple(_spread(runs) for runs in alike.values() if len(runs) > 1)


def _kind(board: Board) -> tuple[object, ...]:
    """Return what boards of one kind have in common. Their memory may differ, and their revision."""
    return _model(board), board.soc, board.machine, board.cores, board.emulated


def _model(board: Board) -> str:
    return board_name(replace(board, model=re.sub(r" Rev [0-9.]+\0?$", "", board.model) if board.model else None))


def _spread(runs: dict[str, RunReport]) -> Spread:
    first = next(iter(runs.values()))
    medians = sorted(run.latency.p50_ms for run in runs.values())
    return Spread(
        kind=_model(first.board),
        bundle=first.bundle,
        machines=tuple(runs),
        valid=sum(run.verdict.valid for run in runs.values()),
        p50_ms=(medians[0], median(medians), medians[-1]),
        p50_ratio=medians[-1] / medians[0],
        top1=_ends([run.accuracy.top1 if run.accuracy is not None else None for run in runs.values()]),
        temperature_c=_ends([reached_c(run) for run in runs.values()]),
        settings=tuple(dict.fromkeys(run.execution.described for run in runs.values())),
    )


def _ends(values: Sequence[float | None]) -> tuple[float, float] | None:
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if len(known) == len(values) else None
