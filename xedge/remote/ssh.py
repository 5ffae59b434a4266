"""The system's own ssh, with the user's configuration, agent, jump hosts and known hosts."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from typing import IO, Any

from xedge.errors import ConnectionLostError, InputError, ResourceError

# A line that is down is noticed within a minute; a host that does not answer, at once.
OPTIONS = ("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4", "-o", "ConnectTimeout=20")
# What ssh itself ends with when the connection fails.
SSH_FAILED = 255
# Python on the other side reads the agent's source, then the rest of standard input is the agent's.
BOOTSTRAP = "import sys; n = int(sys.argv[1]); exec(compile(sys.stdin.buffer.read(n), 'xedge-agent', 'exec'))"
HEARTBEAT_S = 10.0
Feed = Callable[[IO[bytes]], None]


def _nothing(pipe: IO[bytes]) -> None:
    del pipe


@dataclass(frozen=True, kw_only=True)
class Ssh:
    """A machine that ssh reaches.

    Args:
        destination: ``user@host`` or a name of the user's configuration.
        program: ssh itself with options; ``XEDGE_SSH`` says another, as ``GIT_SSH_COMMAND`` does for git.
        python: what Python is called there.
    """

    destination: str
    program: Sequence[str] = field(default_factory=lambda: shlex.split(os.environ.get("XEDGE_SSH", "")) or ["ssh"])
    python: str = "python3"

    def __post_init__(self) -> None:
        if not self.destination or self.destination.startswith("-") or any(c.isspace() for c in self.destination):
            raise InputError(f"{self.destination!r} is not a destination of ssh; say user@host")

    def ask(self, request: dict[str, Any], feed: Feed = _nothing) -> dict[str, Any]:
        """Have the agent do something there and return its answer.

        Args:
            request: what to do.
            feed: writes what the agent reads; standard input stays open until the answer has come, so that the agent
                notices a lost connection.

        Raises:
            ConnectionLostError: the machine cannot be reached, or not any more.
            ResourceError: the agent refuses.
        """
        source = resources.files("xedge.remote").joinpath("agent.py").read_text("utf-8")
        program = f"{source}\n\nmain(json.loads({json.dumps(json.dumps(request))}))\n".encode()
        there = shlex.join([self.python, "-u", "-c", BOOTSTRAP, str(len(program))])
        command = [*self.program, *OPTIONS, "--", self.destination, there]
        try:
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except FileNotFoundError:
            raise InputError(f"{self.program[0]}: no such program; install OpenSSH's client") from None
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        with child:  # also when interrupted: standard input ends, and with it what runs there
            with suppress(BrokenPipeError):  # what ssh says of it is told below
                child.stdin.write(program)
                feed(child.stdin)
                child.stdin.flush()
            with _heartbeat(child.stdin):
                answer = _last_json(child.stdout)
            with suppress(BrokenPipeError):
                child.stdin.close()
            said = child.stderr.read().decode(errors="replace")
        if answer is None:
            raise self._failed(child.returncode, said)
        if "refused" in answer:
            raise ResourceError(f"{self.destination}: {answer['refused']}")
        return answer

    def _failed(self, code: int, said: str) -> ConnectionLostError:
        lines = [line for line in said.splitlines() if line.strip()]
        words = lines[-1].strip() if lines else f"ssh ended with {code}"
        if code != SSH_FAILED and "not found" in words:
            return ConnectionLostError(f"{self.destination}: {self.python} was not found there ({words})")
        return ConnectionLostError(f"{self.destination}: {words}")


@contextmanager
def _heartbeat(pipe: IO[bytes]) -> Iterator[None]:
    """Say something every few seconds, so that the agent knows that the line holds."""
    stop = threading.Event()

    def beat() -> None:
        with suppress(OSError, ValueError):
            while not stop.wait(HEARTBEAT_S):
                pipe.write(b".")
                pipe.flush()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _last_json(lines: Iterable[bytes]) -> dict[str, Any] | None:
    """Return the agent's answer; login scripts may have printed something before it."""
    for line in lines:
        if line.startswith(b"{"):
            try:
                answer: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            return answer
    return None
