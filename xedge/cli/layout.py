"""Fit tables and text to the width of a terminal, without breaking a number or a name."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Sequence
from typing import TextIO

GAP = "  "
# Terminals that are narrower are written to as if they had this width.
NARROWEST = 40
# Between a name and its value, in lines of fields and in the lines of a table that does not fit.
_NAME = re.compile(r"\s*\S+(?: \S+)*?  +(?=\S)")
# A unit stays beside its number, and an interval in one piece: the spaces that are not broken at.
_UNITS = re.compile(r"(?<=\d) (?=%|MB|ms\b|points|photos)|(?<=,) (?=[-+\d.]+\])")
STUCK = "\u00a0"


def terminal_columns(out: TextIO) -> int | None:
    """Return the width of the terminal that a stream writes to, in characters; None for a pipe or a file."""
    if not out.isatty():
        return None
    try:
        given = os.environ.get("COLUMNS", "")
        columns = int(given) if given.isdigit() else os.get_terminal_size(out.fileno()).columns
    except (OSError, ValueError):
        return None
    return max(columns, NARROWEST) if columns else None


def aligned(lines: Sequence[Sequence[str]], *, header: bool, columns: int | None) -> list[str]:
    """Return the lines of a table: the first column aligned left, the others right.

    A table that is wider than the terminal becomes several, each with the first column and as many others as fit. If
    not even one other fits, or if there is one row, each row becomes lines of names and values.

    Args:
        lines: The cells of each line.
        header: Whether the first line has the names of the columns.
        columns: The width to keep to, in characters; None keeps to none.
    """
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    if columns is None or sum(widths) + len(GAP) * (len(widths) - 1) <= columns:
        return _block(lines, widths, range(len(widths)), header=header)
    too_narrow = widths[0] + len(GAP) + max(widths[1:], default=0) > columns
    if header and (len(lines) == 2 or too_narrow):
        return _records(lines)
    if too_narrow:
        return [text for first, *rest in lines for text in (first, *(f"  {cell}" for cell in rest))]
    text: list[str] = []
    for part in _parts(widths, columns):
        text += ([""] if text else []) + _block(lines, widths, part, header=header)
    return text


def _parts(widths: Sequence[int], columns: int) -> list[list[int]]:
    """Return the columns of each part of a table: the first one, and as many others as fit."""
    parts, used = [[0]], widths[0]
    for at, width in enumerate(widths[1:], 1):
        if used + len(GAP) + width > columns and len(parts[-1]) > 1:
            parts.append([0])
            used = widths[0]
        parts[-1].append(at)
        used += len(GAP) + width
    return parts


def _block(lines: Sequence[Sequence[str]], widths: Sequence[int], part: Sequence[int], *, header: bool) -> list[str]:
    text = [
        GAP.join(line[at].ljust(widths[at]) if at == 0 else line[at].rjust(widths[at]) for at in part).rstrip()
        for line in lines
    ]
    if header:
        text.insert(1, GAP.join("-" * widths[at] for at in part))
    return text


def _records(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return each row as lines of names and values, below the first cell."""
    names, *rows = lines
    width = max(len(name) for name in names[1:])
    text = []
    for row in rows:
        text.append(f"{names[0]} {row[0]}")
        text += [f"  {name:<{width}}{GAP}{cell}".rstrip() for name, cell in zip(names[1:], row[1:], strict=True)]
    return text


def wrapped(text: str, columns: int | None) -> str:
    """Return text whose lines are broken between words where they are longer than the terminal is wide.

    What follows a break stands below the beginning of its line, or below the value if the line has a name and a value.

    Args:
        text: The text.
        columns: The width to keep to, in characters; None changes nothing.
    """
    if columns is None:
        return text
    return "\n".join(line if len(line) <= columns else _broken(line, columns) for line in text.split("\n"))


def _broken(line: str, columns: int) -> str:
    """Return a line in several, each but the first behind spaces."""
    start = re.match(r"\s*", line)
    assert start is not None
    lead, indent = start.group(), len(start.group()) + 2
    named = _NAME.match(line)
    if named is not None and len(named.group()) <= columns // 2:
        lead, indent = named.group(), len(named.group())
    broken = textwrap.fill(
        _UNITS.sub(STUCK, line[len(lead) :]),
        columns,
        initial_indent=lead,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return broken.replace(STUCK, " ")
