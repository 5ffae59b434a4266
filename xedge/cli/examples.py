"""``xedge examples``."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

import xedge
from xedge.cli.console import Console, fields
from xedge.errors import InputError
from xedge.files import check_writable, refusals_explained, write_file

# The folder is a link in a checkout, and a folder of files in an installed package.
FOLDER = Path(xedge.__file__).parent / "examples"
SUFFIXES = (".py", ".service")


def main(options: argparse.Namespace) -> int:
    """List the examples, or copy them to a folder."""
    console = Console(options.json, options.quiet)
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in SUFFIXES)
    found = {path.name: about(path) for path in files}
    document = {"schema": "xedge.examples/1", "examples": found}
    if options.output is None:
        console.result(document, f"{fields(list(found.items()))}\n\n`xedge examples DIR` copies them to a folder.")
        return 0
    copied = copy(files, options.output, force=options.force)
    words = "\n".join([*map(str, copied), "Each of them says at its beginning how it is called."])
    console.result({**document, "copied": [str(path) for path in copied]}, words)
    return 0


def about(path: Path) -> str:
    """Return the first line of what an example says about itself."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    return text.partition("\n")[0].strip("# ")


def copy(files: list[Path], folder: Path, *, force: bool) -> list[Path]:
    """Copy examples to a folder, which is made if there is none, and return the paths there.

    Args:
        files: The examples.
        folder: The folder.
        force: Whether files that are there already are replaced.

    Raises:
        InputError: One of them is there already, with other contents; nothing is copied then.
        ResourceError: The folder cannot be written to.
    """
    copies = [(path.read_bytes(), folder / path.name) for path in files]
    check_writable(folder)
    for data, path in copies:
        if not force and path.exists() and not (path.is_file() and path.read_bytes() == data):
            raise InputError(f"{path}: is there already, and not as it comes; name another folder, or give --force")
    with refusals_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for data, path in copies:
        write_file(path, data)
    return [path for _, path in copies]
