"""Access to the board's files and programs, both of which tests can replace."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 5
Run = Callable[[Sequence[str]], "str | None"]


def run_program(arguments: Sequence[str]) -> str | None:
    """Run a program and return what it prints; None if it is missing, fails or takes too long."""
    try:
        done = subprocess.run(
            list(arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None


@dataclass(frozen=True, kw_only=True)
class System:
    """The files and programs of a board.

    Args:
        root: The root folder of all files, which is ``/`` on the board itself.
        run: A function that runs a program with its arguments and returns what it prints, or None if it fails.
    """

    root: Path = Path("/")
    run: Run = run_program

    def text(self, path: str) -> str | None:
        """Return the text of a file without trailing blanks, line ends and NULs; None if it is unreadable or empty."""
        try:
            return (self.root / path).read_text(errors="replace").rstrip("\0\n ") or None
        except (OSError, ValueError):
            return None

    def number(self, path: str) -> float | None:
        """Return the number in a file; None if it holds none."""
        return number(self.text(path))

    def paths(self, pattern: str) -> Iterator[str]:
        """Yield the paths that match a glob pattern, relative to the root, in sorted order."""
        try:
            found = sorted(self.root.glob(pattern))
        except OSError:
            return
        for path in found:
            yield str(path.relative_to(self.root))

    def fields(self, path: str) -> dict[str, str]:
        """Return the values of the ``name : value`` lines in a file by name; of equal names, the first one counts."""
        found: dict[str, str] = {}
        for line in (self.text(path) or "").splitlines():
            name, colon, value = line.partition(":")
            if colon:
                found.setdefault(name.strip(), value.strip())
        return found


def number(text: str | None) -> float | None:
    """Return the finite number in a text; None if it holds none."""
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and abs(value) < float("inf") else None
