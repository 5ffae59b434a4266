"""What passes: one rule for every case, whatever it tries."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from xedge.errors import EXIT_CODES

FAULT = 1
# Besides newlines and tabs, nothing that a terminal would act on is printed; no stream here is a terminal.
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ERROR = "xedge: error: "


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command did.

    Args:
        code: Its exit code; negative if a signal ended it, None if it had to be ended because it took too long.
        out: What it wrote to standard output.
        err: What it wrote to standard error.
        changed: The files outside of its working folder that are new, gone or different.
        ran: Whether code of the working folder was run.
        lost: What was there before and is neither what it was nor whole, in words.
    """

    code: int | None
    out: bytes
    err: bytes
    changed: tuple[str, ...] = ()
    ran: bool = False
    lost: str | None = None


def broken(
    outcome: Outcome, *, signals: tuple[int, ...] = (), encoding: str = "utf-8", silent: bool = False
) -> str | None:
    """Return how an outcome breaks the rule, in a few words; None if it keeps it.

    Args:
        outcome: What a command did.
        signals: The signals that may end it, because the case sends them.
        encoding: The encoding of what it writes.
        silent: Whether nobody can hear its messages, because the case closed standard error.
    """
    if outcome.code is None:
        return "hang"
    if outcome.code < 0 and -outcome.code not in signals:
        return f"ended by signal {-outcome.code}"
    for name, stream in (("output", outcome.out), ("error output", outcome.err)):
        try:
            text = stream.decode(encoding)
        except UnicodeDecodeError:
            return f"{name} is not {encoding}"
        if ACTING.search(text):
            return f"control character in {name}"
        if "Traceback (most recent call last)" in text:
            return f"traceback in {name}"
    if outcome.ran:
        return "ran code of the working folder"
    if outcome.changed:
        return f"changed files outside: {', '.join(outcome.changed[:3])}"
    if outcome.lost is not None:
        return f"lost: {outcome.lost}"
    if outcome.code < 0:
        return None
    if outcome.code not in EXIT_CODES:
        return f"exit code {outcome.code} is not documented"
    if outcome.code == FAULT:
        return "a fault of its own"
    return None if silent else _told(outcome.code, outcome.err.decode(encoding))


def _told(code: int, err: str) -> str | None:
    """Return what is wrong with the message of a command that ended; None if nothing is."""
    errors = [line for line in err.splitlines() if line.startswith(ERROR)]
    # These two codes say what a check that was made found; their findings are a part of the output.
    if code in (8, 9) and not errors:
        return None
    if code and len(errors) != 1:
        return f"{len(errors)} lines of error with exit code {code}"
    if not code and errors:
        return "an error with exit code 0"
    if errors and len(errors[0]) > 1500:
        return "an error of more than 1500 characters"
    return None


def valid_json(out: bytes) -> bool:
    """Whether an output is one JSON document without values that JSON does not have."""
    try:
        json.loads(out, parse_constant=_refuse)
    except ValueError:
        return False
    return True


def _refuse(name: str) -> object:
    raise ValueError(name)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the size and the time of change of everything in a folder, by its relative name."""
    found = {}
    for path in folder.rglob("*"):
        state = path.lstat()
        found[path.relative_to(folder).as_posix()] = (state.st_size, state.st_mtime_ns)
    return found
