"""Give memory back to the system: a model's copies are a hundred megabytes each."""

from __future__ import annotations

import ctypes
import gc
import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

import numpy as np

from xedge.types import UInt8Array

# Of glibc's malloc.h.
M_MMAP_THRESHOLD = -3
_maps: WeakSet[mmap.mmap] = WeakSet()


def mapped(file: Path) -> UInt8Array:
    """Return a file's bytes as a read-only array that need not stay in memory."""
    with file.open("rb") as opened:
        content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    _maps.add(content)
    return np.frombuffer(content, np.uint8)


def return_large_blocks() -> None:
    """Have the allocator return blocks of over 4 MiB as soon as they are freed.

    Left alone, glibc raises that threshold to the largest block that it ever freed and keeps holes of that size between
    the others: 100 MB of a full-size conversion. Below 1 MiB the time for fetching memory anew is felt.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 4 << 20)


@contextmanager
def caller_set_aside() -> Iterator[None]:
    """Have garbage collections pass over what there was before: the objects of a program that has trained are millions.

    A caller who has frozen objects himself is left alone, for only all of them together can be thawed.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def give_memory_back() -> None:
    """Collect garbage, return what the allocator holds, and let go of mapped files until they are read again."""
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    for content in _maps:
        with suppress(AttributeError, ValueError, OSError):  # not on every system, or closed
            content.madvise(mmap.MADV_DONTNEED)
