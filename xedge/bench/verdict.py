"""Whether a latency can be believed, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass

from xedge.bench.latency import MINIMUM_SAMPLES, Latency
from xedge.device.board import Board

LARGEST_DRIFT = 0.05
LARGEST_SPREAD = 0.10
BUSY_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """VALID without reasons, INVALID with them."""

    valid: bool
    reasons: tuple[str, ...]

    @property
    def word(self) -> str:
        """``VALID`` or ``INVALID``."""
        return "VALID" if self.valid else "INVALID"


def judge(latency: Latency, before: Board, after: Board) -> Verdict:
    """Return the verdict on a run between two looks at the board."""
    reasons = [*_of_samples(latency), *_of_board(before, after)]
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


def _of_board(before: Board, after: Board) -> list[str]:
    reasons = []
    if before.governor not in (None, "performance"):
        reasons.append(f"governor: {before.governor}, not performance, so the clock may vary")
    if before.load_1min is not None and before.load_1min > BUSY_SHARE * before.cores:
        reasons.append(f"load: {before.load_1min:.2f} on {before.cores} cores before the run started")
    if before.swap_used_bytes is not None and after.swap_used_bytes is not None:
        grown = after.swap_used_bytes - before.swap_used_bytes
        if grown > 1 << 20:
            reasons.append(f"swap: grew by {grown >> 20} MiB during the run")
    if before.emulated:
        reasons.append("emulated: timings under an emulator mean nothing")
    return reasons
