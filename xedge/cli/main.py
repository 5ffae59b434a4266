"""Run one command, and turn errors into one line and an exit code."""

from __future__ import annotations

import fcntl
import importlib
import io
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress

from xedge.cli import last_error
from xedge.cli.console import clear_loading, tell_loading
from xedge.cli.options import option_called
from xedge.cli.outputs import check_outputs
from xedge.cli.parser import commands_of, parsed, parser
from xedge.errors import INTERRUPTED, InputError, ResourceError, XedgeError, host_needed, refusal
from xedge.untrusted import one_line

INTERNAL = 1
# Signals that come longer than this after the first one end the program at once.
PATIENCE_S = 5.0


def program() -> int:
    """Run the command line of this process and return its exit code."""
    _keep_standard_streams()
    interruptible()
    code = main()
    # What remains is the end of the interpreter, where an exception would be a traceback.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return code


def interruptible() -> None:
    """Let the signals that ask a program to end interrupt it, so that it can tidy up; ignored ones stay ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup lets a program outlive its terminal
            signal.signal(number, _Interruption())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: The words of the command line; None takes those of this process.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:
        # A reader that leaves (`xedge info ... | head`) is no error of the user's: end as other programs do. Only now,
        # for otherwise a connection that is lost while something is sent would end xedge without a word.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
        raise


def _run(arguments: Sequence[str]) -> int:
    verbose = False
    try:
        try:
            options = parsed(arguments)
            verbose = options.verbose
            if verbose:
                logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its waiting threads take cores from the runtimes
            _check_standard_output()
            check_outputs(options)
            if not getattr(options, "quiet", True):  # which completion has not
                tell_loading(options.command)
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


def _keep_standard_streams() -> None:
    """See to it that the three standard streams exist, and that every name can be printed.

    If a stream is closed, the next file that is opened would get its number, and what is printed would go into it. A
    closed standard output is made one that cannot be written to, which ``_check_standard_output`` tells.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open for the whole process
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_standard_output() -> None:
    """Refuse a standard output that cannot be written to before the work whose result would be lost.

    Raises:
        ResourceError: It is closed.
    """
    try:
        closed = fcntl.fcntl(sys.stdout.fileno(), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    except (OSError, ValueError):  # It may be an object without a file, or a closed one.
        return
    if closed:
        raise ResourceError("standard output is closed; send it to a file, or to /dev/null")


class _Interruption:
    """What a signal does that asks the program to end: it interrupts the command, which then tidies up.

    Further signals are not needed for that, and would interrupt the tidying. If it takes long, they end the program.
    """

    first: float | None = None

    def __call__(self, number: int, frame: object) -> None:
        del number, frame
        now = time.monotonic()
        if _Interruption.first is None:
            _Interruption.first = now
            raise KeyboardInterrupt
        if now - _Interruption.first > PATIENCE_S:
            os._exit(INTERRUPTED)


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


def _failed(error: BaseException, arguments: Sequence[str]) -> int:
    """Say in one line what went wrong, and return the exit code."""
    # Libraries turn an interruption into errors of their own, for example when it meets them while they are imported.
    cause = error if _Interruption.first is None else KeyboardInterrupt()
    message, code = _explained(cause, _command(arguments))
    if code == INTERNAL:
        last_error.keep(error, arguments)
    with suppress(OSError, ValueError):  # Nobody may be listening.
        clear_loading()
        sys.stderr.write(f"xedge: error: {one_line(' '.join(message.split()))}\n")
        sys.stderr.flush()
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
            missing = host_needed(str(error.name))
            return str(missing), missing.exit_code
        case KeyboardInterrupt():
            return "interrupted; nothing half-made was left", INTERRUPTED
        case MemoryError():
            return "out of memory; close other programs, or use a smaller model", ResourceError.exit_code
        case RuntimeError() if "can't start new thread" in str(error):
            words = "the system allows no more threads (ulimit -u); close other programs, or raise the limit"
            return words, ResourceError.exit_code
        case UnicodeEncodeError():
            return f"{error.object[:200]!r}: this name cannot be encoded here; use another one", InputError.exit_code
        case OSError():
            # What reaches here was not foreseen, but is the system's refusal and no fault in xedge.
            return refusal(error), ResourceError.exit_code
        case _:
            words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            return (
                f"a fault of xedge's own ({words}); `xedge doctor --report` prints what to put into an issue",
                INTERNAL,
            )
