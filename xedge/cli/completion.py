"""``xedge completion``."""

from __future__ import annotations

import argparse
from pathlib import Path

from xedge.cli.parser import parser
from xedge.errors import MissingRuntimeError
from xedge.vocabulary import SCHEMES

try:
    import shtab
except ImportError as error:
    raise MissingRuntimeError("shtab makes the completions and is not installed: pip install shtab") from error


def main(options: argparse.Namespace) -> int:
    """Print a script that completes commands, options, their choices and file names."""
    top = parser()
    _complete_paths(top)
    print(shtab.complete(top, options.shell))
    return 0


def _complete_paths(of: argparse.ArgumentParser) -> None:
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_paths(command)
        elif action.type is Path or action.metavar in ("MODEL", "MODEL|ARTIFACT|BUNDLE"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.dest == "preprocess":
            action.choices = SCHEMES  # besides the files, which begin with their kind
