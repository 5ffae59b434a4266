"""Where commands print: results to standard output, progress to standard error, as tables or JSON."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from xedge.cli.layout import aligned, terminal_columns, wrapped
from xedge.codec import to_json
from xedge.errors import UNDECIDED, CheckError
from xedge.files import write_file
from xedge.untrusted import one_line, shown

if TYPE_CHECKING:  # help and errors are printed without NumPy
    from xedge.metrics import Drop

# Seconds of silence after which a log would look as if nothing happened.
SILENCE_S = 20.0
COLOURS = {"VALID": 32, "PASSED": 32, "INVALID": 31, "FAILED": 31, "PROBLEM": 31, "WARNING": 33}


# Goes back to the beginning of a terminal's line and clears it.
OVERWRITE = "\r\033[K"


def tell_loading(command: str) -> None:
    """Say on a terminal that a command is loaded, which takes seconds where it needs Keras or a runtime."""
    if sys.stderr.isatty():
        print(f"loading what {command} needs", end="", file=sys.stderr, flush=True)


def clear_loading() -> None:
    """Take back what a terminal's line says of work that ended."""
    if sys.stderr.isatty():
        print(OVERWRITE, end="", file=sys.stderr, flush=True)


class Console:
    """The output of a command.

    Args:
        json_to: Where JSON goes: ``-`` for standard output, or a file; None prints tables instead.
        quiet: Print neither progress nor stages.
    """

    def __init__(self, json_to: str | None, quiet: bool) -> None:
        self.json_to, self.quiet = json_to, quiet
        self._out: TextIO = sys.stdout
        self._err: TextIO = sys.stderr
        self._unfinished = self._err.isatty()  # what ``tell_loading`` wrote
        self._told_at = time.monotonic()

    def stage(self, line: str) -> None:
        """Print a line about a stage that ended; where standard output is for JSON, it goes to standard error."""
        if not self.quiet:
            self._clear()
            to = self._err if self.json_to == "-" else self._out
            print(wrapped(one_line(line), terminal_columns(to)), file=to, flush=True)

    def progress(self, line: str) -> None:
        """Print how far a long stage is: on a terminal one line that is overwritten, in a pipe a line now and then."""
        if self.quiet:
            return
        if self._err.isatty():
            # A line that the terminal breaks could not be overwritten.
            columns = terminal_columns(self._err)
            told = one_line(line) if columns is None else one_line(line)[: columns - 1]
            print(f"{OVERWRITE}{told}", end="", file=self._err, flush=True)
            self._unfinished = True
        elif time.monotonic() - self._told_at > SILENCE_S:
            self._told_at = time.monotonic()
            print(one_line(line), file=self._err, flush=True)

    def result(self, value: Any, text: str) -> None:
        """Print the command's result: as JSON if that was asked for, and otherwise as text."""
        self._clear()
        document = json.dumps(to_json(value), indent=2)
        if self.json_to == "-":
            print(document, file=self._out)
            return
        # What was measured is printed first: the file may turn out to be on a disk that is full.
        text = wrapped(shown(text), terminal_columns(self._out))
        print(_painted(text) if _takes_colour(self._out) else text, file=self._out)
        if self.json_to is not None:
            write_file(Path(self.json_to), (document + "\n").encode())

    def _clear(self) -> None:
        if self._unfinished:
            print(OVERWRITE, end="", file=self._err, flush=True)
            self._unfinished = False


def _takes_colour(out: TextIO) -> bool:
    """Whether the output is a terminal with colours, and the user has not turned them off (https://no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _painted(text: str) -> str:
    """Colour the words of a verdict, which say the same without colour."""
    words = rf"\b({'|'.join(COLOURS)})\b"
    return re.sub(words, lambda found: f"\033[{COLOURS[found.group()]}m{found.group()}\033[0m", text)


Tabulate = Callable[[Sequence[Sequence[str]], Sequence[str]], str]


def table(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None) -> str:
    """Return rows as aligned columns, which keep to the width of the terminal: the first one left, the others right."""
    lines = [list(header)] if header else []
    lines += [[one_line(cell) for cell in row] for row in rows]
    return "\n".join(aligned(lines, header=bool(header), columns=terminal_columns(sys.stdout)))


def markdown(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Return rows as a table for a Markdown document."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *([one_line(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def fields(pairs: Sequence[tuple[str, str]]) -> str:
    """Return lines of names and values, with the values aligned."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:<{width}}  {one_line(value)}".rstrip() for name, value in pairs)


class Demands(Protocol):
    """What a document has of the budget that was demanded."""

    @property
    def max_drop_points(self) -> float | None:
        """The greatest drop of the top-1 accuracy in percentage points."""

    @property
    def min_agreement(self) -> float | None:
        """The least agreement, 0 to 1."""


def budget_text(budget: Demands) -> str:
    """Return what a budget demands."""
    demands = []
    if budget.min_agreement is not None:
        demands.append(f"agreement of {100 * budget.min_agreement:g} %")
    if budget.max_drop_points is not None:
        demands.append(f"drop of at most {budget.max_drop_points:g} points")
    return f"budget ({', '.join(demands)})"


def budget_code(verdicts: Collection[str]) -> int:
    """Return the exit code for verdicts on a budget."""
    if "not met" in verdicts:
        return CheckError.exit_code
    return UNDECIDED if "too few photos to decide" in verdicts else 0


def drop_text(found: Drop) -> str:
    """Return a drop in points of top-1 with its 95 % interval and McNemar's p-value."""
    low, high = found.interval95
    return f"drop {found.points:+.2f} points [{low:+.2f}, {high:+.2f}], McNemar p {found.mcnemar_p:.2g}"


def percent(share: float) -> str:
    """Return a share as a percentage: 0.9059 as 90.59 %."""
    return f"{100 * share:.2f} %"


def megabytes(size: int) -> str:
    """Return a size in bytes as decimal megabytes."""
    return f"{size / 1e6:.2f} MB"


def milliseconds(value: float | None) -> str:
    """Return a time, or why there is none."""
    return "too few samples" if value is None else f"{value:.2f} ms"
