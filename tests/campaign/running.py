"""Run commands of a case, each in a process of its own that begins as a copy of this one.

A copy starts in milliseconds, because what all commands import is there already. A case that needs a process from the
beginning, for example because its streams have another encoding, says so.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from tests.campaign.rule import Outcome

SECONDS = 90.0
# Modules that commands import, and a codec that a user without a name may not be allowed to load. Runtimes are left
# out, because some start threads.
IMPORTED = (
    *("xedge.cli.info", "xedge.cli.predict", "xedge.cli.run", "xedge.cli.verify", "xedge.cli.compare"),
    *("xedge.cli.report", "xedge.cli.doctor", "xedge.cli.main", "xedge.cli.parser", "xedge.api.documents"),
    "encodings.utf_8_sig",
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A command and the circumstances in which it is run.

    Args:
        words: The words behind ``xedge``.
        closed: The numbers of the standard streams that are closed.
        out: A file for standard output; None captures it.
        limits: Limits of the system, by the constant of ``resource``.
        variables: Environment variables; None removes one.
        fresh: Whether it needs a process from the beginning.
        under: The words of a program that runs it, such as strace, if it is fresh.
        send: Signals to send, each after so many seconds.
        inside: Is called in the process before the command, for a case that no other field makes.
    """

    words: Sequence[str]
    closed: tuple[int, ...] = ()
    out: Path | None = None
    limits: Mapping[int, int] = field(default_factory=dict)
    variables: Mapping[str, str | None] = field(default_factory=dict)
    fresh: bool = False
    under: tuple[str, ...] = ()
    send: tuple[tuple[int, float], ...] = ()
    inside: Callable[[], None] | None = None


def run(call: Call, cwd: Path, logs: Path) -> Outcome:
    """Run a command in a working folder and return what it did.

    Args:
        call: The command.
        cwd: The working folder.
        logs: A folder outside of it for what the command writes.
    """
    out, err = logs / "out", logs / "err"
    environment = {**os.environ, "XDG_CACHE_HOME": str(logs / "cache"), "HOME": str(logs / "home")}
    for name, value in call.variables.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    start = _fresh if call.fresh else _copy
    status = _waited(start(call, cwd, out if call.out is None else call.out, err, environment), call.send)
    code = None if status is None else os.waitstatus_to_exitcode(status)
    return Outcome(code=code, out=_read(out) if call.out is None else b"", err=_read(err))


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _prepare(call: Call) -> None:
    """Set this process up as the case wants it; the last thing before the command."""
    for limit, value in call.limits.items():
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (value, hard if hard != resource.RLIM_INFINITY and hard < value else value))
    if call.inside is not None:
        call.inside()


def _fresh(call: Call, cwd: Path, out: Path, err: Path, environment: Mapping[str, str]) -> int:
    def prepare() -> None:
        for known in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # A shell may have ignored them in the background.
            signal.signal(known, signal.SIG_DFL)
        _prepare(call)
        for number in call.closed:
            os.close(number)

    with out.open("wb") as to_out, err.open("wb") as to_err:
        child = subprocess.Popen(
            [*call.under, str(Path(sys.executable).with_name("xedge")), *call.words],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=to_out,
            stderr=to_err,
            preexec_fn=prepare,  # noqa: PLW1509 - this process has no other threads
            start_new_session=True,
        )
    child.returncode = 0  # waited for below
    return child.pid


def _copy(call: Call, cwd: Path, out: Path, err: Path, environment: Mapping[str, str]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    try:
        _become(call, cwd, out, err, environment)
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
    finally:
        os._exit(FAILED)


FAILED = 99


def _become(call: Call, cwd: Path, out: Path, err: Path, environment: Mapping[str, str]) -> NoReturn:
    """Run the command in this process, the copy, and end it."""
    from xedge.cli.main import program

    os.setsid()
    os.chdir(cwd)
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, out, os.O_WRONLY), (2, err, os.O_WRONLY)):
        opened = os.open(path, flags | os.O_CREAT | (os.O_TRUNC if number else 0), 0o644)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["xedge", *call.words]
    for known in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(known, signal.SIG_IGN if known == signal.SIGPIPE else signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _prepare(call)
    for number in call.closed:
        os.close(number)
    sys.stdout = None if 1 in call.closed else io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8")
    sys.stderr = None if 2 in call.closed else io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8")
    try:
        code = program()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else FAILED
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


def _waited(child: int, send: tuple[tuple[int, float], ...]) -> int | None:
    """Wait for a process, sending it signals meanwhile, and return its status; None if it had to be ended."""
    start, pending = time.monotonic(), list(send)
    pause = 0.001
    while time.monotonic() - start < SECONDS:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        while pending and time.monotonic() - start >= pending[0][1]:
            os.kill(child, pending.pop(0)[0])
        time.sleep(pause)
        pause = min(1.3 * pause, 0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
