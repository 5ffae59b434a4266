"""Judge whether a latency can be believed, and say why if it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xedge.device.board import Board
from xedge.device.contention import Contention
from xedge.device.readings import Reading
from xedge.device.throttling import new_throttling
from xedge.measuring.latency import MINIMUM_SAMPLES, Latency

LARGEST_DRIFT = 0.05
LARGEST_SPREAD = 0.10
LARGEST_SHARE_OF_OTHERS = 0.10
LARGEST_SHARE_STOLEN = 0.05


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on a latency: VALID without reasons, INVALID with reasons.

    Args:
        valid: Whether the latency can be believed.
        reasons: The reasons why it cannot be believed, each as ``kind: details``; empty if it is valid.
    """

    valid: bool
    reasons: tuple[str, ...]

    @property
    def word(self) -> str:
        """The verdict in one word, ``VALID`` or ``INVALID``."""
        return "VALID" if self.valid else "INVALID"


def grouped(verdicts: Mapping[str, Verdict]) -> dict[str, list[str]]:
    """Return the runs that have each kind of reason.

    Args:
        verdicts: The verdicts by the names of the runs.

    Returns:
        The names of the runs by the kind of reason, such as ``unsteady`` or ``load``.
    """
    found: dict[str, list[str]] = {}
    for name, verdict in verdicts.items():
        for reason in verdict.reasons:
            found.setdefault(reason.partition(":")[0], []).append(name)
    return found


def judge(
    latency: Latency, board: Board, readings: Sequence[Reading], contention: Contention | None, threads: int = 1
) -> Verdict:
    """Return the verdict on a run.

    Args:
        latency: The figures of the run's latency.
        board: The board on which the bundle ran.
        readings: The readings of the board before, during and after the timing, in order; at least one.
        contention: What else the processor did during the timing; None if it is unknown.
        threads: The number of threads that the runtime was given.
    """
    reasons = [*_of_samples(latency), *_of_board(board), *_of_contention(contention), *_of_readings(readings)]
    if threads > board.cores:
        reasons.append(f"threads: there are {threads} for {board.cores} cores, so that they wait for each other")
    return Verdict(valid=not reasons, reasons=tuple(reasons))


def _of_samples(latency: Latency) -> list[str]:
    reasons = []
    if latency.samples < MINIMUM_SAMPLES:
        reasons.append(f"too few samples: there are {latency.samples}, but a p90 needs {MINIMUM_SAMPLES}")
    if latency.drift is not None and abs(latency.drift) > LARGEST_DRIFT:
        reasons.append(
            f"drift: the median of the last tenth of the samples is {100 * latency.drift:+.0f} % from that of the first"
        )
    if latency.spread > LARGEST_SPREAD:
        reasons.append(
            f"unsteady: the middle half of the samples spreads over {100 * latency.spread:.0f} % of the median"
        )
    return reasons


def _of_board(board: Board) -> list[str]:
    reasons = []
    fixed = board.jetson is not None and board.jetson.clocks_fixed
    loose = [governor for governor in board.governors if governor != "performance"]
    if loose and not fixed:
        reasons.append(f"governor: it is {', '.join(loose)} instead of performance, so the clock may vary")
    if board.emulated:
        reasons.append("emulated: timings on an emulated processor mean nothing")
    return reasons


def _of_contention(contention: Contention | None) -> list[str]:
    if contention is None:
        return []
    reasons, processes, stolen = [], contention.processes, contention.stolen
    if processes > LARGEST_SHARE_OF_OTHERS:
        reasons.append(f"load: other processes used {100 * processes:.0f} % of the cores' time during the timing")
    if stolen > LARGEST_SHARE_STOLEN:
        reasons.append(f"stolen: the hypervisor gave {100 * stolen:.0f} % of the cores' time to other machines")
    return reasons


def _of_readings(readings: Sequence[Reading]) -> list[str]:
    reasons, before, after = [], readings[0], readings[-1]
    slowed = [name for reading in readings for name in new_throttling(before.throttling, reading.throttling)]
    if slowed:
        reasons.append(f"throttling: {', '.join(dict.fromkeys(slowed))}")
    if before.swap_used_bytes is not None and after.swap_used_bytes is not None:
        grown = after.swap_used_bytes - before.swap_used_bytes
        if grown > 1 << 20:
            reasons.append(f"swap: its use grew by {grown >> 20} MiB during the timing")
    return reasons
