"""The last fault of xedge's own, kept so that it can be reported later."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from xedge.files import cache_folder, read_text, write_file

LARGEST_BYTES = 1 << 20


def place() -> Path | None:
    """Return the file that it is kept in; None if there is no place for it."""
    folder = cache_folder()
    return None if folder is None else folder / "last-error.txt"


def keep(error: BaseException, arguments: Sequence[str]) -> None:
    """Keep an error with the command that had it; where it cannot be kept, nothing happens."""
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    text = f"{when}: xedge {shlex.join(map(str, arguments))}\n{''.join(traceback.format_exception(error))}"
    file = place()
    with suppress(Exception):
        if file is not None:
            write_file(file, text.encode("utf-8", "backslashreplace"))


def read() -> str | None:
    """Return what was kept; None if nothing was."""
    file = place()
    try:
        return None if file is None else read_text(file, LARGEST_BYTES)
    except (OSError, UnicodeDecodeError):
        return None
