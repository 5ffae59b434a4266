"""Targets and precisions as users name them: one, several with commas, aliases, ``all``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import cast

from xedge.errors import UsageError
from xedge.vocabulary import NAMED_TARGETS, PRECISIONS, TARGET_ALIASES, TARGETS, Precision


def target_names(named: str | Sequence[str]) -> tuple[str, ...]:
    """Return the targets, each once; ``all`` leaves out those that are made only when asked for.

    Raises:
        UsageError: there is no such target.
    """
    if named == "all":
        return TARGETS
    return _known("--target", named, (*TARGETS, *NAMED_TARGETS), TARGET_ALIASES)


def precision_names(named: str | Sequence[str]) -> tuple[Precision, ...]:
    """Return the precisions, each once.

    Raises:
        UsageError: there is no such precision.
    """
    return cast("tuple[Precision, ...]", PRECISIONS if named == "all" else _known("--precision", named, PRECISIONS, {}))


def _known(
    option: str, named: str | Sequence[str], known: Sequence[str], aliases: Mapping[str, str]
) -> tuple[str, ...]:
    parts = named.split(",") if isinstance(named, str) else named
    names = [aliases.get(name.strip(), name.strip()) for name in parts]
    for name in names:
        if name not in known:
            raise UsageError(not_known(option, name, [*known, *aliases, "all"]))
    return tuple(dict.fromkeys(names))


def not_known(what: str, value: str, known: Sequence[str]) -> str:
    """Return the line that says so, with a guess at what was meant."""
    close = difflib.get_close_matches(value, known, 1, 0.5)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{what}: {value!r} is not known; {meant}there are {', '.join(known)}"
