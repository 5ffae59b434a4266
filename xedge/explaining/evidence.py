"""What is known of an inference before causes are named: its operations, their times, its runtime, its machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xedge.bundle.manifest import Manifest
from xedge.device.board import Board
from xedge.measuring.paying import Unpaid
from xedge.measuring.profile import OperationTime
from xedge.runtimes import Execution
from xedge.runtimes.audit import Audit


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was found out about an inference.

    Args:
        manifest: What the bundle says of itself.
        execution: What the runtime does with the artifact.
        audit: What it executes, counted.
        operations: The operations with their times, in the order of execution; empty if the runtime does not tell.
        p50_ms: The median latency in milliseconds.
        preprocess_ms: The median time from decoded pixels to the input tensor, in milliseconds.
        board: The machine.
        dot_product: Whether its processor has instructions for products of 8-bit integers; None if it does not tell.
        half_arithmetic: Whether its processor computes in half precision.
        unpaid: Why the bundle's precision does not pay on this processor; None where nothing is known against it.
        circumstances: Why the latency cannot be believed, as the verdict of a run says it.
    """

    manifest: Manifest
    execution: Execution
    audit: Audit
    operations: tuple[OperationTime, ...]
    p50_ms: float
    preprocess_ms: float
    board: Board
    dot_product: bool | None
    half_arithmetic: bool
    unpaid: Unpaid | None
    circumstances: tuple[str, ...]

    @property
    def quantized(self) -> bool:
        """Whether the artifact multiplies integers, or is meant to."""
        return self.manifest.precision in ("int8", "dynamic") or self.audit.integer_products > 0

    @property
    def timed_ms(self) -> float:
        """The sum of the operations' times in milliseconds."""
        return sum(one.ms for one in self.operations)

    def such(self, chosen: Callable[[OperationTime], bool]) -> list[OperationTime]:
        """Return the operations for which a function is true."""
        return [one for one in self.operations if chosen(one)]
