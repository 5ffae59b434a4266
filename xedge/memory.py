"""Return memory to the system, because each copy of a full-size model takes about a hundred megabytes."""

from __future__ import annotations

import ctypes
import gc
import mmap
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from weakref import WeakSet

import numpy as np

from xedge.errors import ResourceError
from xedge.types import UInt8Array

# The constant of glibc's malloc.h.
M_MMAP_THRESHOLD = -3
LEAST_BYTES = 1 << 30
_maps: WeakSet[mmap.mmap] = WeakSet()
_set_aside: ContextVar[bool] = ContextVar("_set_aside", default=False)


def mapped(file: Path) -> UInt8Array:
    """Return the bytes of a file as a read-only array that the system can drop from memory."""
    with file.open("rb") as opened:
        content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    _maps.add(content)
    return np.frombuffer(content, np.uint8)


def check_address_space() -> None:
    """Refuse to convert under a limit of address space (``ulimit -v``) in which libraries cannot start their threads.

    Some of them then wait for these threads forever. The smallest conversion takes 1 GB.

    Raises:
        ResourceError: The limit is smaller.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit not in (resource.RLIM_INFINITY, -1) and limit < LEAST_BYTES:
        raise ResourceError(
            f"the address space is limited to {limit >> 20} MiB (ulimit -v), and converting takes at least "
            f"{LEAST_BYTES >> 20} MiB; raise the limit"
        )


def return_large_blocks() -> None:
    """Make the allocator return blocks of more than 4 MiB to the system as soon as they are freed.

    By default, glibc raises this threshold to the size of the largest block that was ever freed and keeps holes of that
    size between the others, which cost 100 MB in a full-size conversion. With a threshold below 1 MiB, requesting the
    memory again would take noticeable time.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 4 << 20)


@contextmanager
def caller_set_aside() -> Iterator[None]:
    """Exclude the objects that already exist from garbage collection, for the duration of the context.

    A program that has trained a model can have millions of objects. If the caller has frozen objects, nothing is done,
    because objects can only be unfrozen all together.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    before = _set_aside.set(True)
    try:
        yield
    finally:
        _set_aside.reset(before)
        gc.unfreeze()


def give_memory_back() -> None:
    """Collect garbage, return free memory to the system, and drop mapped files from memory until they are needed.

    Within ``caller_set_aside``, what is left is excluded from the next collections. Libraries that were imported since
    have hundreds of thousands of objects, among which each collection would look for garbage for a fifth of a second.
    """
    gc.collect()
    if _set_aside.get():
        gc.freeze()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    for content in _maps:
        # Some systems do not have madvise, and the file may be closed.
        with suppress(AttributeError, ValueError, OSError):
            content.madvise(mmap.MADV_DONTNEED)
