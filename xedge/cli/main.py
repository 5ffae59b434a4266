"""Run one command, and turn errors into one line and an exit code."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from xedge.cli import last_error
from xedge.cli.options import option_called
from xedge.cli.parser import commands_of, parser
from xedge.errors import INTERRUPTED, MissingRuntimeError, ResourceError, XedgeError

INTERNAL = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return _run(arguments)
    except BrokenPipeError:
        # A reader that leaves (`xedge info ... | head`) is no error of the user's: end as other programs do. Only now,
        # for otherwise a connection that is lost while something is sent would end xedge without a word.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
        raise


def _run(arguments: Sequence[str] | None) -> int:
    verbose = False
    try:
        try:
            options = parser().parse_args(arguments)
            verbose = options.verbose
            if verbose:
                logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its waiting threads take cores from the runtimes
            _send_no_statistics()
            command = importlib.import_module(f"xedge.cli.{options.command}")
            code: int = command.main(options)
        finally:
            _flush()
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        if verbose:
            traceback.print_exc()
        return _failed(error, arguments)
    return code


def _send_no_statistics() -> None:
    """Keep OpenVINO from sending statistics of its use when it is imported.

    It does so from a process that it forks out of a thread, which may wait for a lock forever and cannot be ended while
    it has this program's handler of SIGTERM, so that the command would never end. OpenVINO does without the package
    that sends if the package cannot be imported.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def _flush() -> None:
    """Write what was printed while somebody still listens to what goes wrong: the interpreter's end is too late."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # What could not be written would be tried once more then.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            raise
        raise ResourceError(f"standard output: {error.strerror}; make room, or send it elsewhere") from None


def _failed(error: BaseException, arguments: Sequence[str] | None) -> int:
    """Say in one line what went wrong, and return the exit code."""
    message, code = _explained(error, _command(sys.argv[1:] if arguments is None else arguments))
    if code == INTERNAL:
        last_error.keep(error, sys.argv[1:] if arguments is None else arguments)
    sys.stderr.write(f"xedge: error: {message}\n")
    return code


def _command(arguments: Sequence[str]) -> str | None:
    """The command that was asked for, which decides what parameters are called."""
    return next((word for word in map(str, arguments) if not word.startswith("-")), None)


def _explained(error: BaseException, command: str | None) -> tuple[str, int]:
    match error:
        case XedgeError():
            parsers = commands_of(parser())
            # Options of other commands are named where the one at hand has none: "convert with --labels".
            known = [parsers[name] for name in (command, "convert", "run") if name in parsers]
            return error.worded(lambda name: option_called(known, name)), error.exit_code
        case ModuleNotFoundError() if not str(error.name).startswith("xedge"):
            # Commands of the host import its packages at the top of their modules; a device has none of them.
            message = f"{error.name} is needed and not installed: pip install 'xedge[host]'"
            return message, MissingRuntimeError.exit_code
        case KeyboardInterrupt():
            return "interrupted; nothing half-made was left", INTERRUPTED
        case MemoryError():
            return "out of memory; close other programs, or use a smaller model", ResourceError.exit_code
        case OSError():
            # What reaches here was not foreseen, but is the system's refusal and no fault in xedge.
            return f"{error.filename or 'the system'}: {error.strerror or error}", ResourceError.exit_code
        case _:
            words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            return (
                f"a fault of xedge's own ({words}); `xedge doctor --report` prints what to put into an issue",
                INTERNAL,
            )


def _terminated(signum: int, frame: object) -> NoReturn:
    del signum, frame
    raise KeyboardInterrupt
