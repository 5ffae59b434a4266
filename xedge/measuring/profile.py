"""Where the time of an inference goes, operation by operation, as far as the runtime tells."""

from __future__ import annotations

from dataclasses import dataclass

from xedge.errors import UnsupportedError
from xedge.runtimes import Session
from xedge.types import Tensor
from xedge.vocabulary import PART


@dataclass(frozen=True, kw_only=True)
class OperationTime:
    """The time of what a runtime executes for one operation of the artifact.

    Args:
        name: The runtime's name for it, without what xedge's converters or the runtime append for its parts. In an
            artifact of the reference graph, it begins with the name of a node.
        ms: The time of an inference that it takes, in milliseconds.
        share: Its share of all operations' time, 0 to 1.
    """

    name: str
    ms: float
    share: float


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
    times: dict[str, float] = {}
    for told, ms in session.times(photo).items():
        name = told.split(PART)[0] or told
        times[name] = times.get(name, 0.0) + ms
    total = sum(times.values())
    if total <= 0:
        execution = session.execution()
        raise UnsupportedError(f"{execution.runtime} {execution.version} does not tell them for this artifact")
    operations = tuple(OperationTime(name=name, ms=ms, share=ms / total) for name, ms in times.items())
    return Profile(operations=operations, total_ms=total)
