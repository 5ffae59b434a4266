"""Find the hosts that ssh's configuration names and that match a pattern; what it says about them is left to ssh."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from xedge.errors import InputError, parameter
from xedge.files import read_text
from xedge.remote.address import Address

USER, SYSTEM = Path("~/.ssh/config"), Path("/etc/ssh/ssh_config")
LARGEST_BYTES = 1 << 20
# ssh itself follows includes of includes so far.
DEEPEST = 16


def matching_hosts(pattern: str, program: Sequence[str]) -> list[Address]:
    """Return the hosts whose names match a pattern, in the order in which the configuration names them.

    Args:
        pattern: A pattern as ``Host`` has it: ``*`` and ``?``, several with commas, and those after ``!`` left out.
        program: The ssh program with its options, of which ``-F`` names another configuration.

    Raises:
        InputError: No host matches, or a configuration cannot be read.
    """
    files = _files(program)
    names = list(dict.fromkeys(name for file, base in files for name in _hosts(file, base, 0)))
    found = [name for name in names if _matches(name, pattern)]
    if not found:
        there = f"there are {', '.join(names[:20])}" if names else "they name none"
        raise InputError(
            f"{parameter('fleet')} {pattern}: there is no such inventory, and no Host in "
            f"{', '.join(str(file) for file, _ in files)} matches it; {there}"
        )
    return [Address(name=name, destination=name) for name in found]


def _files(program: Sequence[str]) -> list[tuple[Path, Path]]:
    """Return the files that ssh reads, each with the folder to which its includes are relative."""
    user = USER.expanduser()
    for place, word in enumerate(program):
        if word.startswith("-F"):
            named = word[2:] or (program[place + 1] if place + 1 < len(program) else "")
            return [(Path(named).expanduser(), user.parent)]
    return [(user, user.parent), (SYSTEM, SYSTEM.parent)]


def _hosts(file: Path, base: Path, depth: int) -> Iterator[str]:
    """Yield the names after ``Host`` that are no patterns themselves."""
    if depth > DEEPEST or not file.is_file():
        return
    try:
        lines = read_text(file, LARGEST_BYTES).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as ssh's configuration ({error})") from error
    for line in lines:
        setting = re.fullmatch(r"\s*(host|include)(?:\s+|\s*=\s*)(.*)", line, re.IGNORECASE)
        words = _words(setting[2]) if setting is not None else []
        if setting is None:
            continue
        if setting[1].lower() == "host":
            yield from (word for word in words if not re.search(r"[*?!]", word))
            continue
        for word in words:
            for included in _included(word, base):
                yield from _hosts(included, base, depth + 1)


def _included(word: str, base: Path) -> list[Path]:
    """Return the files that an ``Include`` names, in the order in which ssh reads them."""
    path = base / os.path.expanduser(word)  # noqa: PTH111 - joined with a folder, from which an absolute path leads away
    return sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:  # ssh refuses such a line itself, with its number.
        return text.split()


def _matches(name: str, pattern: str) -> bool:
    """Return whether ssh would say that a name matches a list of patterns."""
    matched = False
    for one in (one for one in pattern.split(",") if one):
        text = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in one.removeprefix("!"))
        if re.fullmatch(text, name):
            if one.startswith("!"):
                return False
            matched = True
    return matched
