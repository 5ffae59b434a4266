"""Check the files that a command will write before it begins its work."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from xedge.errors import InputError
from xedge.files import check_file_writable

# What stands near the beginning of every page that xedge writes.
PAGE_MARK = b'<meta name="generator" content="xedge'
BEGINNING = 4096
# Options whose values are files to write, and what stands near the beginning of each such file.
MARKS = {
    "junit": b'<testsuites name="xedge check"',
    "summary": b"<!-- xedge check -->",
    "badge": b'data-made-by="xedge check"',
}
# The document that `check` keeps beside the bundles.
RESULTS = "check.json"
# The names under which the command line's parsers keep what is read.
INPUTS = (
    *("model", "weights", "data", "truth", "calibration", "selection", "labels", "wheels", "against", "fleet"),
    *("artifact", "reference"),
    *("file", "paths", "bundle", "bundles", "photos", "things", "documents", "thing"),
)
# Documents that are lists, by command, and the schema of each of their entries without its version.
LISTS = {
    "convert": "xedge.bundle",
    "wrap": "xedge.bundle",
    "predict": "xedge.predict",
    "cost": "xedge.cost",
    "hashes": "xedge.hashes",
}


def check_outputs(options: argparse.Namespace) -> None:
    """Refuse an output that cannot be written, that is also an input, or that would replace somebody else's file.

    Args:
        options: The parsed command line.

    Raises:
        InputError: An output is an input, or a file that xedge did not write and ``--force`` was not given.
        ResourceError: An output cannot be written.
    """
    for flag, path, ours in _outputs(options):
        for given in _inputs(options):
            if _same(path, given):
                raise InputError(f"{flag} {path}: this is also an input, which would be lost; name another file")
        check_file_writable(path)
        if path.is_file() and path.stat().st_size and not options.force and not ours(path):
            raise InputError(
                f"{flag} {path}: xedge {options.command} did not write the file that is there; name another file, or "
                "replace it with --force"
            )


def _outputs(options: argparse.Namespace) -> Iterator[tuple[str, Path, Any]]:
    """Yield the option, the file, and how a file is recognized that the same command wrote before."""
    document = getattr(options, "json", None)
    if document not in (None, "-"):
        yield "--json", Path(document), lambda path: _is_document(path, options.command)
    if options.command == "check" and options.output is not None:
        yield "--output", options.output / RESULTS, partial(_is_document, command="check")
    for name, mark in MARKS.items():
        if getattr(options, name, None) is not None:
            yield f"--{name}", getattr(options, name), partial(_begins_with, mark)
    if getattr(options, "page", None) is not None:
        yield "--report", options.page, _is_page
    if options.command == "report":
        yield "--output", options.output, _is_page


def _inputs(options: argparse.Namespace) -> Iterator[Path]:
    for name in INPUTS:
        given = getattr(options, name, None)
        for one in given if isinstance(given, list) else [given]:
            if isinstance(one, str | Path):  # Some options of these names are numbers.
                yield Path(one)


def _same(path: Path, given: Path) -> bool:
    with suppress(OSError):
        return path.samefile(given)
    return False


def _is_document(path: Path, command: str) -> bool:
    """Whether a file is JSON that this command wrote."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    if isinstance(data, list):
        return bool(data) and all(_kind(one) == LISTS.get(command) for one in data)
    return _kind(data).startswith(f"xedge.{command}")


def _kind(data: Any) -> str:
    """Return the schema that a document names, without its version; nothing for what is no document of xedge."""
    return str(data.get("schema", "")).partition("/")[0] if isinstance(data, dict) else ""


def _is_page(path: Path) -> bool:
    return _begins_with(PAGE_MARK, path)


def _begins_with(mark: bytes, path: Path) -> bool:
    """Whether a mark stands near the beginning of a file."""
    with path.open("rb") as file:
        return mark in file.read(BEGINNING)
