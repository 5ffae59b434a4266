"""Whether a latency can be believed, and if not, why."""

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
    """VALID without reasons, INVALID with them."""

    valid: bool
    reasons: tuple[str, ...]

    @property
    def word(self) -> str:
        """``VALID`` or ``INVALID``."""
        return "VALID" if self.valid else "INVALID"


def grouped(verdicts: Mapping[str, Verdict]) -> dict[str, list[str]]:
    """Return the kinds of reasons, such as ``unsteady`` or ``load``, each with the names of the runs that have it."""
    found: dict[str, list[str]] = {}
    for name, verdict in verdicts.items():
        for reason in verdict.reasons:
            found.setdefault(reason.partition(":")[0], []).append(name)
    return found


def judge(latency: Latency, board: Board, readings: Sequence[Reading], contention: Contention | None) -> Verdict:
    """Return the verdict on a run.

    Args:
        latency: its figures.
        board: where it ran.
        readings: of the board before, during and after it, in order; at least one.
        contention: what else the processor did meanwhile; None is unknown.
    """
    reasons = [*_of_samples(latency), *_of_board(board), *_of_contention(contention), *_of_readings(readings)]
    return Verdict(valid=not reasons, reasons=tuple(reasons))


def _of_samples(latency: Latency) -> list[str]:
    reasons = []
    if latency.samples < MINIMUM_SAMPLES:
        reasons.append(f"too few samples: {latency.samples}, a p90 needs {MINIMUM_SAMPLES}")
    if latency.drift is not None and abs(latency.drift) > LARGEST_DRIFT:
        reasons.append(f"drift: the last tenth is {100 * latency.drift:+.0f} % from the first")
    if latency.spread > LARGEST_SPREAD:
        reasons.append(f"unsteady: half of the samples spread over {100 * latency.spread:.0f} % of the median")
    return reasons


def _of_board(board: Board) -> list[str]:
    reasons = []
    fixed = board.jetson is not None and board.jetson.clocks_fixed
    loose = [governor for governor in board.governors if governor != "performance"]
    if loose and not fixed:
        reasons.append(f"governor: {', '.join(loose)}, not performance, so the clock may vary")
    if board.emulated:
        reasons.append("emulated: timings under an emulator mean nothing")
    return reasons


def _of_contention(contention: Contention | None) -> list[str]:
    if contention is None:
        return []
    reasons, processes, stolen = [], contention.processes, contention.stolen
    if processes > LARGEST_SHARE_OF_OTHERS:
        reasons.append(f"load: other processes had {100 * processes:.0f} % of the cores' time meanwhile")
    if stolen > LARGEST_SHARE_STOLEN:
        reasons.append(f"stolen: a hypervisor gave {100 * stolen:.0f} % of the cores' time to other machines")
    return reasons


def _of_readings(readings: Sequence[Reading]) -> list[str]:
    reasons, before, after = [], readings[0], readings[-1]
    slowed = [name for reading in readings for name in new_throttling(before.throttling, reading.throttling)]
    if slowed:
        reasons.append(f"throttling: {', '.join(dict.fromkeys(slowed))}")
    if before.swap_used_bytes is not None and after.swap_used_bytes is not None:
        grown = after.swap_used_bytes - before.swap_used_bytes
        if grown > 1 << 20:
            reasons.append(f"swap: grew by {grown >> 20} MiB during the run")
    return reasons
