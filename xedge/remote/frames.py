"""Read what comes back over ssh: only what is framed by the request's marker is believed.

A login shell may print anything before, between and after the lines of the agent. The agent therefore starts each of
its lines with a random marker that the host made for this request: ``MARKER ready``, ``MARKER alive``, and at last
``MARKER answer LENGTH SHA256``, which is followed by that many bytes. Everything else is noise and is skipped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

# No line of the agent's is longer than this, its marker not counted.
LONGEST_LINE = 120
LINE = re.compile(rb"(ready|alive|answer [0-9]{1,15} [0-9a-f]{64})\n")


class FrameError(Exception):
    """What comes back breaks a limit or is damaged; the message says what, without the name of the machine."""


class Sign(Enum):
    """A sign of life: the agent can be sent its program, or it still works on the answer."""

    READY = "ready"
    ALIVE = "alive"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer of the agent, of which the length and the sha256 have been checked.

    Args:
        data: The bytes of the answer.
    """

    data: bytes


def frames(read: Callable[[], bytes], marker: str, *, most_noise: int, largest_answer: int) -> Iterator[Sign | Answer]:
    """Yield the agent's signs of life and its answer, after which nothing more is read.

    Args:
        read: A function that returns the next bytes, as they come, and no bytes at the end.
        marker: The marker of the request.
        most_noise: The number of bytes outside frames that are skipped at most.
        largest_answer: The greatest length of an answer in bytes.

    Raises:
        FrameError: There is too much noise, the answer is too large, or it is not what its length and sha256 say.
    """
    start = f"\n{marker} ".encode()
    # The agent's first line may be the first one of all.
    pending, noise = bytearray(b"\n"), 0
    while True:
        found = pending.find(start)
        # The end of what is no frame may be the beginning of a marker that has not arrived completely.
        skipped = found if found >= 0 else max(len(pending) - len(start) + 1, 0)
        noise += skipped
        del pending[:skipped]
        if noise > most_noise:
            raise FrameError(f"the login shell there prints more than {most_noise / 1e6:g} MB")
        line = LINE.match(pending, len(start)) if found >= 0 else None
        if line is not None:
            words = line[1].decode().split()
            del pending[: line.end() - 1]  # The newline may be the first character of the next frame.
            if len(words) == 1:
                yield Sign(words[0])
                continue
            del pending[:1]
            yield from _answer(read, pending, int(words[1]), words[2], largest_answer)
            return
        if found >= 0 and (b"\n" in pending[len(start) :] or len(pending) > len(start) + LONGEST_LINE):
            del pending[: len(start)]
            noise += len(start)
            continue
        block = read()
        if not block:
            return
        pending += block


def _answer(
    read: Callable[[], bytes], pending: bytearray, length: int, digest: str, largest: int
) -> Iterator[Sign | Answer]:
    """Yield a sign of life for each part of an answer as it arrives, and then the answer."""
    if length > largest:
        raise FrameError(f"its answer has {length / 1e6:.0f} MB, but {largest / 1e6:g} MB is the limit")
    while len(pending) < length:
        block = read()
        if not block:
            return
        pending += block
        yield Sign.ALIVE
    data = bytes(pending[:length])
    if hashlib.sha256(data).hexdigest() != digest:
        raise FrameError("its answer arrived damaged, because something else there prints at the same time")
    yield Answer(data=data)
