"""Judge a model's bundles by the budgets in a file, as ``xedge check`` does, and begin such a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from xedge.checking import run
from xedge.checking.config import DEFAULT, read_config
from xedge.checking.report import CheckReport
from xedge.conversion.options import ConvertOptions
from xedge.errors import InputError, parameter
from xedge.files import check_file_writable, write_file

Report = Callable[[str], None]
Pathlike = str | Path


def check(
    file: Pathlike = DEFAULT,
    *,
    output: Pathlike | None = None,
    report: Report = lambda line: None,
    progress: Report = lambda line: None,
) -> CheckReport:
    """Convert a model as a file says, compare the bundles with the last release, and judge them by the file's budgets.

    Args:
        file: The file, in TOML; paths in it are relative to it.
        output: The folder to write the bundles to; None keeps none of them.
        report: A function that is told one line as each stage ends.
        progress: A function that is told how far a long stage is.

    Returns:
        The bundles with their figures and verdicts, and the worst verdict of all of them.

    Raises:
        InputError: The file is missing, or has a key or a value that is not right; the message names it.
        XedgeError: The model or the photos cannot be read at all.
    """
    config = read_config(Path(file))
    with ExitStack() as stack:
        kept = output is not None
        folder = Path(output or stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")))
        return run.check(config, folder, kept=kept, report=report, progress=progress)


def init(options: ConvertOptions, file: Pathlike = DEFAULT, *, force: bool = False) -> Path:
    """Begin a file for ``check`` by asking a model and its photos, as ``xedge init``.

    Args:
        options: The model, the photos, and what is known about them, as for ``convert``.
        file: The file to write, in TOML.
        force: Whether a file that is there is replaced.

    Returns:
        The file.

    Raises:
        InputError: The file is there already.
        XedgeError: The model or the photos cannot be read, or do not belong together.
    """
    from xedge.checking.draft import draft  # noqa: PLC0415 - checking needs none of it

    path = Path(file)
    if path.exists() and not force:
        raise InputError(
            f"{path}: is there already; name another file with {parameter('file')}, or replace it with "
            f"{parameter('force')}"
        )
    for given in (options.model, options.weights, options.truth, options.labels, options.data, options.calibration):
        if isinstance(given, str | Path) and path.exists() and Path(given).exists() and path.samefile(given):
            raise InputError(f"{path}: this is also an input, which would be lost; name another {parameter('file')}")
    check_file_writable(path)
    write_file(path, draft(options, path).encode())
    return path
