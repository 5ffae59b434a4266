"""The last fault of xedge's own, kept so that it can be reported later."""

from __future__ import annotations

import os
import shlex
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from xedge.files import write_file


def place() -> Path:
    """Return the file that it is kept in."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "xedge" / "last-error.txt"


def keep(error: BaseException, arguments: Sequence[str]) -> None:
    """Keep an error with the command that had it; where it cannot be kept, nothing happens."""
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    text = f"{when}: xedge {shlex.join(map(str, arguments))}\n{''.join(traceback.format_exception(error))}"
    with suppress(Exception):
        write_file(place(), text.encode())


def read() -> str | None:
    """Return what was kept; None if nothing was."""
    try:
        return place().read_text(encoding="utf-8")
    except OSError:
        return None
