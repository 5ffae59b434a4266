"""``xedge completion``."""

from __future__ import annotations

import argparse
from pathlib import Path

from xedge.cli.parser import parser
from xedge.converters import targets
from xedge.errors import MissingRuntimeError
from xedge.runtimes import runtimes
from xedge.vocabulary import BY_NAME_ONLY, PRECISIONS, RANGES, SCHEMES

try:
    import shtab
except ImportError as error:
    raise MissingRuntimeError("shtab makes the completions and is not installed: pip install shtab") from error


def main(options: argparse.Namespace) -> int:
    """Print a script that completes commands, options, their choices and file names."""
    top = parser()
    _complete(top, _values())
    print(shtab.complete(top, options.shell))
    return 0


def _values() -> dict[str, tuple[str, ...]]:
    """Return the values of options that take more than these: several with commas, or a file after its kind."""
    called = [name for target in targets() for name in (target.name, *target.aliases)]
    return {
        "target": (*called, "all"),
        "precision": (*PRECISIONS, *BY_NAME_ONLY, "all"),
        "ranges": (*RANGES, "all"),
        "preprocess": SCHEMES,
        "runtime": tuple(runtime.name for runtime in runtimes()),
        "provider": tuple(dict.fromkeys(name for runtime in runtimes() for name in runtime.providers)),
    }


def _complete(of: argparse.ArgumentParser, known: dict[str, tuple[str, ...]]) -> None:
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete(command, known)
        elif action.type is Path or action.metavar in ("MODEL", "MODEL|ARTIFACT|BUNDLE"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.dest in known:
            action.choices = known[action.dest]
