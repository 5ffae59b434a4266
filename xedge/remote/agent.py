"""The agent that runs on the other machine. It needs only Python 3.8 or newer there, with its standard library.

The host sends this file and one request. ``main`` answers with one JSON document, which is framed by the marker of the
request, and sends a sign of life every few seconds until then. Names in a request are relative to the agent's folder
and must not lead out of it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

# If nothing arrives from the host for this long, the connection is considered lost.
SILENCE_S = 60
# A virtual environment whose Python does not start within this time is considered broken.
CHECK_S = 120
STDIN, STDOUT = 0, 1
FOLDER = Path.home() / ".xedge"
VENV = "venv"
# The names and sizes of all files of the virtual environment when its installation ended.
LISTING = "venv.files"
# A request is a dictionary. A more precise type alias cannot be evaluated at run time in Python 3.8.
Request = Any


class RefusedError(Exception):
    """The agent cannot do what was asked; the message is one line for the user of the host."""


class Host:
    """The way back to the host: whole lines that start with the marker of the request.

    Args:
        marker: The marker of the request.
        largest: The greatest length of an answer in bytes.
    """

    def __init__(self, marker: str, largest: int) -> None:
        self.largest = largest
        self._marker = marker
        self._lock = threading.Lock()

    def beat(self, interval_s: float) -> None:
        """Send a sign of life at each interval, until the process ends or the host is gone."""

        def beats() -> None:
            with suppress(OSError):
                while True:
                    threading.Event().wait(interval_s)
                    self._write("alive", b"")

        threading.Thread(target=beats, daemon=True).start()

    def answer(self, answer: dict[str, Any]) -> None:
        """Send the answer, or a refusal if it is larger than the host takes."""
        data = _encoded(answer)
        if len(data) > self.largest:
            data = _encoded({"refused": f"the answer is larger than {self.largest / 1e6:g} MB"})
        self._write(f"answer {len(data)} {hashlib.sha256(data).hexdigest()}", data)

    def _write(self, words: str, data: bytes) -> None:
        # The first newline ends what something else may have printed before.
        rest = memoryview(f"\n{self._marker} {words}\n".encode() + data)
        with self._lock:
            while rest:
                rest = rest[os.write(STDOUT, rest) :]


def _encoded(answer: dict[str, Any]) -> bytes:
    # Names of files that are not UTF-8 have characters that cannot be encoded; they become question marks.
    return json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")


class Incoming:
    """What the host sends, as a file to read from; a connection that went down may never end it by itself."""

    def read(self, size: int) -> bytes:
        """Return the next bytes as they come, at most so many.

        Raises:
            RefusedError: Nothing arrived for too long.
        """
        if not select.select([STDIN], [], [], SILENCE_S)[0]:
            raise RefusedError(f"nothing arrived for {SILENCE_S} s; files that had arrived are kept, so try again")
        return os.read(STDIN, size)


def inside(name: str) -> Path:
    """Return the path of a name below the agent's folder.

    Raises:
        RefusedError: The name leads out of the folder.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise RefusedError(f"{name}: the name leads out of {FOLDER}")
    return FOLDER / path


def lock() -> FileIO:
    """Lock the machine for this process; the system releases the lock when the process ends, whatever the cause.

    Raises:
        RefusedError: Another process holds the lock, or there cannot be a folder for it.
    """
    if FOLDER.exists() and not FOLDER.is_dir():
        raise RefusedError(f"{FOLDER} is a file there, but should be a folder; move it away")
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "lock"
    remove_folder(path)
    try:
        held = path.open("a+b", buffering=0)
    except PermissionError:
        path.chmod(0o600)
        held = path.open("a+b", buffering=0)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.seek(0)
        said = "".join(c for c in held.read(200).decode("utf-8", "replace") if c.isprintable()).strip()
        raise RefusedError(f"busy with {said or 'another run'}; wait for it, or end it there") from None
    holder = f"process {os.getpid()} for {os.environ.get('SSH_CONNECTION', 'this machine').split()[0]}"
    with suppress(OSError):  # What removes files must not fail because the disk is full.
        held.truncate(0)
        held.write(holder.encode())
    return held


def remove_folder(path: Path) -> None:
    """Remove a folder where something else should be; a link to a folder is left to its user."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)


def state(request: Request, host: Host) -> dict[str, Any]:
    """Return what this machine is, which of the wanted files it already has, and whether its environment works."""
    del host
    wanted = enumerate(request["files"].items())
    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        "machine": platform.machine(),
        "have": [position for position, (name, digest) in wanted if digest_of(inside(name)) == digest],
        "works": works() if request.get("check") else None,
    }


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


def works() -> bool:
    """Return whether every file of the environment is there with its size, and xedge can be imported in it.

    Sizes find what a power failure leaves of files that had just been written. Nothing but xedge is imported, because
    what is wrong with a runtime is for the doctor to say.
    """
    try:
        listed = json.loads((FOLDER / LISTING).read_bytes())
        if not listed or any(os.lstat(FOLDER / VENV / name).st_size != size for name, size in listed.items()):
            return False
        command = [str(FOLDER / VENV / "bin" / "python"), "-c", "import xedge.cli.main"]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, cwd=FOLDER, timeout=CHECK_S, check=False
        )
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def seal(request: Request, host: Host) -> dict[str, Any]:
    """List the files of the environment, now that its installation has ended."""
    del request, host
    root = FOLDER / VENV
    with lock():
        files = [Path(folder, name) for folder, _, names in os.walk(root) for name in names]
        listed = {str(file.relative_to(root)): os.lstat(file).st_size for file in files}
        path = destination(LISTING)
        part = path.with_name(f"{path.name}.part{os.getpid()}")
        part.write_text(json.dumps(listed), "utf-8")
        part.replace(path)
    return {}


def remove(request: Request, host: Host) -> dict[str, Any]:
    """Remove a folder or a file, whether it is there or not."""
    del host
    with lock():
        path = inside(request["name"])
        remove_folder(path)
        with suppress(FileNotFoundError):
            path.unlink()
    return {}


def destination(name: str) -> Path:
    """Return the path for a file that is about to be written, and make room for it.

    Raises:
        RefusedError: The name leads out of the agent's folder.
    """
    path = inside(name)
    for above in path.parents:
        if FOLDER in above.parents and above.is_file():
            above.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_folder(path)
    return path


def receive(request: Request, host: Host) -> dict[str, Any]:
    """Receive files as a tar archive on standard input; each is written beside its destination and then renamed to it.

    Raises:
        RefusedError: A member is not a plain file, or it arrived damaged or not at all.
    """
    del host
    missing, folders = set(request["files"]), set()
    with lock(), tarfile.open(fileobj=Incoming(), mode="r|") as archive:  # type: ignore[call-overload]
        for member in archive:
            source = archive.extractfile(member) if member.isfile() else None
            if source is None:
                raise RefusedError(f"{member.name}: is not a plain file")
            path = destination(member.name)
            if path.parent not in folders:
                folders.add(path.parent)
                sweep(path.parent)
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
            missing.discard(member.name)
    if missing:
        raise RefusedError(f"{len(missing)} files did not arrive; try again")
    return {}


def sweep(folder: Path) -> None:
    """Remove what agents that were killed had begun to write into a folder; the lock says that none is at work."""
    for path in list(folder.iterdir()):
        if re.search(r"\.part[0-9]+$", path.name):
            path.unlink()


def run(request: Request, host: Host) -> dict[str, Any]:
    """Run a program and return what it prints; it is killed if the connection to the host is lost.

    Raises:
        RefusedError: It prints more than an answer can hold.
    """
    arguments = [str(inside(part[1:])) if part.startswith("@") else part for part in request["arguments"]]
    with lock():
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=FOLDER,
            start_new_session=True,
        )

        def end() -> None:
            with suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)

        def watch() -> None:
            # The host sends something every few seconds, because a connection that went down may never end the stream.
            while select.select([STDIN], [], [], SILENCE_S)[0] and os.read(STDIN, 1024):
                pass
            end()

        threading.Thread(target=watch, daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda *_: end())
        out, err = Gathered(child.stdout, host.largest, end), Gathered(child.stderr, host.largest, end)
        said = [out.text(), err.text()]
        code = child.wait()
    if out.too_much or err.too_much:
        raise RefusedError(f"{Path(arguments[0]).name} printed more than {host.largest / 1e6:g} MB")
    return {"code": code, "out": said[0], "err": said[1]}


class Gathered:
    """What a program prints to one stream, up to a limit.

    Args:
        stream: The stream.
        most: The greatest number of bytes.
        end: A function that ends the program; it is called if there are more bytes.
    """

    def __init__(self, stream: Any, most: int, end: Any) -> None:
        self.too_much = False
        self._data = bytearray()
        self._thread = threading.Thread(target=self._gather, args=(stream.fileno(), most, end), daemon=True)
        self._thread.start()

    def _gather(self, number: int, most: int, end: Any) -> None:
        for block in iter(lambda: os.read(number, 1 << 16), b""):
            if len(self._data) + len(block) > most:
                self.too_much = True
                end()
                return
            self._data += block

    def text(self) -> str:
        """Wait for the end of the stream and return what was printed."""
        self._thread.join()
        return self._data.decode("utf-8", "replace")


def refusal(error: OSError) -> str:
    """Return one line about a refusal of the system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{FOLDER}: no space left on the disk there; free some"
    return f"{error.filename or FOLDER}: {error.strerror or error} (there)"


def main(request: Request, marker: str, interval_s: float, largest: int) -> None:
    """Answer one request.

    Args:
        request: The request.
        marker: The marker that starts each line for the host.
        interval_s: The seconds between two signs of life.
        largest: The greatest length of an answer in bytes.
    """
    host = Host(marker, largest)
    host.beat(interval_s)
    actions = {"state": state, "receive": receive, "run": run, "seal": seal, "remove": remove}
    try:
        answer = actions[request["do"]](request, host)
    except RefusedError as refused:
        answer = {"refused": str(refused)}
    except tarfile.TarError:
        answer = {"refused": "the transfer was cut off; files that had arrived completely are kept, so try again"}
    except OSError as error:
        answer = {"refused": refusal(error)}
    except Exception as error:  # The host needs one line, not a traceback.
        answer = {"refused": f"xedge's agent failed there ({type(error).__name__}: {error})"}
    with suppress(OSError):  # The host may be gone.
        host.answer(answer)
    # The process ends without the usual cleanup, because a thread may still be waiting for the host.
    os._exit(0)
