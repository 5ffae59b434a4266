"""Tell each stage of a long command as it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from xedge.conversion.options import Report


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Where the stages of a command are told.

    Args:
        report: A function that is told one line as each stage ends.
        progress: A function that is told how far a long stage is.
        clock: Seconds, from any moment on.
    """

    report: Report
    progress: Report
    clock: Callable[[], float] = time.perf_counter

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        """Time what is done within; words that are added to the list stand behind the seconds."""
        words: list[str] = []
        start = self.clock()
        yield words
        self.report(f"{name:<10} {self.clock() - start:6.1f} s  {' '.join(words)}".rstrip())

    def tell(self, name: str, words: str) -> None:
        """Tell something that took no time worth telling, in the columns of the stages."""
        self.report(f"{name:<10}           {words}")

    def note(self, words: str) -> None:
        """Tell something that the user should know before trusting the result."""
        self.report(f"{'NOTE':<10} {words}")
