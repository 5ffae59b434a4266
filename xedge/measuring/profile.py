"""Where the time of an inference goes, operation by operation, as far as the runtime tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xedge.errors import UnsupportedError
from xedge.runtimes import Role, Session, TimedOperation
from xedge.types import Tensor
from xedge.vocabulary import PART, ScaleKind


@dataclass(frozen=True, kw_only=True)
class OperationTime:
    """The time of what a runtime executes for one operation of the artifact.

    Args:
        name: The runtime's name for it, without what xedge's converters or the runtime append for its parts. In an
            artifact of the reference graph, it begins with the name of a node.
        ms: The time of an inference that it takes, in milliseconds.
        share: Its share of all operations' time, 0 to 1.
        kind: The runtime's name for the kind of operation.
        kernels: The runtime's names for the kernels that compute it.
        precision: The precision in which its product computes; without a product, that of the last kernel.
        role: Whether that computes in integers or in float, or only converts between them.
        product: Whether it has a convolution or a matrix product.
        multiply_accumulates: The number of multiply-accumulates for one photo; None without a product, or if the
            runtime does not tell shapes.
        threads: The number of threads that can share the work.
        delegated: Whether the accelerator or delegate took it; None where there is none.
        rank: The largest number of dimensions of its tensors; None where the runtime does not tell shapes.
        weights: Whether the integer weights of a product have one scale, or one for each channel of the result; None
            for float weights, and where the runtime does not tell.
    """

    name: str
    ms: float
    share: float
    kind: str = "unknown"
    kernels: tuple[str, ...] = ()
    precision: str = "unknown"
    role: Role = "float"
    product: bool = False
    multiply_accumulates: int | None = None
    threads: int = 1
    delegated: bool | None = None
    rank: int | None = None
    weights: ScaleKind | None = None

    @property
    def is_depthwise(self) -> bool:
        """Whether it is known to be a depthwise convolution, by its kind or by its name in the reference graph."""
        return self.kind == "DEPTHWISE_CONV_2D" or self.name.endswith("/depthwise")

    @property
    def giga_per_second(self) -> float | None:
        """The billions of multiply-accumulates per second; None without a product, or if it took no time."""
        if not self.multiply_accumulates or self.ms <= 0:
            return None
        return self.multiply_accumulates / self.ms / 1e6


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The times of all operations, measured in inferences of their own, which the measuring makes a little slower.

    Args:
        operations: The operations in the order in which the runtime tells them.
        total_ms: The sum of their times in milliseconds.
    """

    operations: tuple[OperationTime, ...]
    total_ms: float


def profile_of(session: Session, photo: Tensor) -> Profile:
    """Return the times of a session's operations.

    Args:
        session: The artifact, loaded.
        photo: The input in the artifact's type.

    Raises:
        UnsupportedError: The runtime does not tell them.
    """
    together: dict[str, list[TimedOperation]] = {}
    for one in session.timed(photo):
        together.setdefault(one.name.split(PART)[0] or one.name, []).append(one)
    total = sum(one.ms for parts in together.values() for one in parts)
    if total <= 0:
        execution = session.execution()
        raise UnsupportedError(f"{execution.runtime} {execution.version} does not tell them for this artifact")
    return Profile(operations=tuple(_whole(name, parts, total) for name, parts in together.items()), total_ms=total)


def _whole(name: str, parts: Sequence[TimedOperation], total: float) -> OperationTime:
    """Return what the parts of one operation make together; the largest product speaks for it."""
    largest = max(parts, key=lambda one: (one.operation.product, one.ms))
    work = [one.operation.multiply_accumulates for one in parts]
    ms = sum(one.ms for one in parts)
    return OperationTime(
        name=name,
        ms=ms,
        share=ms / total,
        kind=largest.operation.kind,
        kernels=tuple(dict.fromkeys(one.kernel for one in parts)),
        precision=largest.operation.precision,
        role=largest.operation.role,
        product=largest.operation.product,
        # The kernels of one operator in a file share its shapes.
        multiply_accumulates=max((count for count in work if count), default=None),
        threads=largest.threads,
        delegated=largest.delegated,
        rank=largest.operation.rank,
        weights=largest.operation.weights,
    )
