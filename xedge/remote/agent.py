"""The agent that runs on the other machine. It needs only Python 3.8 or newer there, with its standard library.

The host sends this file and one request as JSON; ``main(request)`` prints one line of JSON as the answer. Names in a
request are relative to the agent's folder and must not lead out of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

# If nothing arrives from the host for this long, the connection is considered lost.
SILENCE_S = 60
FOLDER = Path.home() / ".xedge"
# A request is a dictionary. A more precise type alias cannot be evaluated at run time in Python 3.8.
Request = Any


class RefusedError(Exception):
    """The agent cannot do what was asked; the message is one line for the user of the host."""


def inside(name: str) -> Path:
    """Return the path of a name below the agent's folder.

    Raises:
        RefusedError: The name leads out of the folder.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise RefusedError(f"{name}: the name leads out of {FOLDER}")
    return FOLDER / path


def lock() -> TextIO:
    """Lock the machine for this process; the system releases the lock when the process ends, whatever the cause.

    Raises:
        RefusedError: Another process holds the lock.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    held = (FOLDER / "lock").open("a+")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.seek(0)
        raise RefusedError(f"busy with {held.read().strip() or 'another run'}; wait for it, or end it there") from None
    held.truncate(0)
    held.write(f"process {os.getpid()} for {os.environ.get('SSH_CONNECTION', 'this machine').split()[0]}")
    held.flush()
    return held


def state(request: Request) -> dict[str, Any]:
    """Return what this machine is, and which of the wanted files it already has."""
    have = [name for name, digest in request["files"].items() if digest_of(inside(name)) == digest]
    return {"python": ".".join(map(str, sys.version_info[:2])), "machine": platform.machine(), "have": have}


def digest_of(path: Path) -> str | None:
    """Return the sha256 of a file; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            whole = hashlib.sha256()
            for block in iter(lambda: file.read(1 << 20), b""):
                whole.update(block)
            return whole.hexdigest()
    except OSError:
        return None


def receive(request: Request) -> dict[str, Any]:
    """Receive files as a tar archive on standard input; each is written beside its destination and then renamed to it.

    Raises:
        RefusedError: A member is not a plain file, or it arrived damaged.
    """
    taken = []
    with lock(), tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for member in archive:
            source = archive.extractfile(member) if member.isfile() else None
            if source is None:
                raise RefusedError(f"{member.name}: is not a plain file")
            path = inside(member.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.part{os.getpid()}")
            try:
                with part.open("wb") as file:
                    shutil.copyfileobj(source, file)
                if digest_of(part) != request["files"].get(member.name):
                    raise RefusedError(f"{member.name}: arrived damaged; try again")
                part.replace(path)
            finally:
                with suppress(FileNotFoundError):
                    part.unlink()
            taken.append(member.name)
    return {"taken": taken}


def run(request: Request) -> dict[str, Any]:
    """Run a program and return what it prints; it is killed if the connection to the host is lost."""
    arguments = [str(inside(part[1:])) if part.startswith("@") else part for part in request["arguments"]]
    with lock():
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=FOLDER,
            start_new_session=True,
            text=True,
            errors="replace",
        )

        def end() -> None:
            with suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)

        def watch() -> None:
            # The host sends something every few seconds, because a connection that went down may never end the stream.
            stream = sys.stdin.fileno()
            while select.select([stream], [], [], SILENCE_S)[0] and os.read(stream, 1024):
                pass
            end()

        threading.Thread(target=watch, daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda *_: end())
        out, err = child.communicate()
    return {"code": child.returncode, "out": out, "err": err}


def main(request: Request) -> None:
    """Answer one request."""
    try:
        answer = {"state": state, "receive": receive, "run": run}[request["do"]](request)
    except RefusedError as refused:
        answer = {"refused": str(refused)}
    except tarfile.TarError:
        answer = {"refused": "the transfer was cut off; files that had arrived completely are kept, so try again"}
    except OSError as error:
        answer = {"refused": f"{error.filename or 'the system'}: {error.strerror or error}"}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    sys.stdout.flush()
    # The process ends without the usual cleanup, because a thread may still be waiting for the host.
    os._exit(0)
