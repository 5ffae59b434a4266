"""Bring bundles to another machine: what it needs, only what changed, and a Python of its own there."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from xedge.bundle.reading import MANIFEST, Bundle
from xedge.errors import EXIT_CODES, InputError, MissingRuntimeError, XedgeError, parameter
from xedge.files import sha256
from xedge.photos.sets import PhotoSet
from xedge.remote.ssh import Ssh
from xedge.remote.wheel import write_wheel
from xedge.runtimes import first_runtime

Report = Callable[[str], None]
OLDEST_PYTHON = (3, 10)
INSTALLED = "installed"
PYTHON = "@venv/bin/python"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A file and its place there.

    Args:
        name: below the agent's folder.
        path: here.
        digest: its sha256.
    """

    name: str
    path: Path
    digest: str


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A machine that is ready.

    Args:
        ssh: reaches it.
        bundles: the bundles' folders there, in the order that they were given.
        photos: the photos' folder there; None without.
        machine, python: of it.
    """

    ssh: Ssh
    bundles: tuple[str, ...]
    photos: str | None
    machine: str
    python: str

    def xedge(self, *arguments: str) -> Any:
        """Run a command of xedge there and return its JSON.

        Raises:
            XedgeError: it failed; with its line and exit code.
        """
        answer = self.ssh.ask({"do": "run", "arguments": [PYTHON, "-m", "xedge", *arguments, "--json", "--quiet"]})
        try:
            # The doctor's document comes with an exit code of its own.
            return json.loads(answer["out"])
        except ValueError:
            raise _failed(self.ssh.destination, answer) from None


def deploy(
    ssh: Ssh,
    bundles: Sequence[Bundle],
    photos: PhotoSet | None,
    wheels: Path | None,
    report: Report = lambda line: None,
) -> Deployed:
    """Send what changed and install the device side.

    Args:
        ssh: reaches the machine.
        bundles: to send.
        photos: to send along.
        wheels: a folder of wheels for a machine without internet; None lets it fetch them.
        report: told what is done.

    Raises:
        XedgeError: with a line for the user; what had arrived is kept, and the next attempt goes on from there.
    """
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        own = write_wheel(Path(scratch))
        files = [_sent(f"wheels/{own.name}", own), *_wheels(wheels)]
        folders = []
        for bundle in bundles:
            folders.append(f"bundles/{bundle.root.name}-{sha256(bundle.root / MANIFEST)[:12]}")
            files += [_sent(f"{folders[-1]}/{name}", bundle.root / name) for name in (MANIFEST, *bundle.manifest.files)]
        photo_folder, photo_files = _photos(photos)
        files += photo_files
        found = ssh.ask({"do": "state", "files": {file.name: file.digest for file in files}})
        if tuple(map(int, found["python"].split("."))) < OLDEST_PYTHON:
            raise MissingRuntimeError(
                f"{ssh.destination}: its {ssh.python} is Python {found['python']}; xedge needs 3.10 or newer there"
            )
        missing = [file for file in files if file.name not in found["have"]]
        size = sum(file.path.stat().st_size for file in missing)
        report(f"send       {len(missing)} of {len(files)} files, {size / 1e6:.1f} MB, to {ssh.destination}")
        if missing:
            _send(ssh, missing)
        _install(ssh, own, _extras(bundles), found["python"], wheels is not None, Path(scratch), report)
    return Deployed(
        ssh=ssh, bundles=tuple(folders), photos=photo_folder, machine=found["machine"], python=found["python"]
    )


def _sent(name: str, path: Path) -> Sent:
    return Sent(name=name, path=path, digest=sha256(path))


def _wheels(folder: Path | None) -> list[Sent]:
    if folder is None:
        return []
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise InputError(
            f"{parameter('wheels')} {folder}: there are no wheels; fetch them with pip download for that machine"
        )
    return [_sent(f"wheels/{path.name}", path) for path in found]


def _photos(photos: PhotoSet | None) -> tuple[str | None, list[Sent]]:
    if photos is None:
        return None, []
    found = {file.relative_to(photos.root).as_posix(): _sent("", file) for file in photos.files}
    # By names too: the same photos in other class folders are another set.
    listing = "\n".join(f"{name} {file.digest}" for name, file in found.items())
    folder = f"photos/{hashlib.sha256(listing.encode()).hexdigest()[:12]}"
    return folder, [replace(file, name=f"{folder}/{name}") for name, file in found.items()]


def _send(ssh: Ssh, files: Sequence[Sent]) -> None:
    def feed(pipe: IO[bytes]) -> None:
        with tarfile.open(fileobj=pipe, mode="w|") as archive:
            for file in files:
                archive.add(file.path, file.name, recursive=False)

    ssh.ask({"do": "receive", "files": {file.name: file.digest for file in files}}, feed)


def _extras(bundles: Sequence[Bundle]) -> tuple[str, ...]:
    """The extras of the runtimes that open the bundles' artifacts."""
    suffixes = {bundle.artifact.suffix for bundle in bundles}
    return tuple(first_runtime(suffix).name for suffix in sorted(suffixes))


def _install(
    ssh: Ssh, wheel: Path, extras: tuple[str, ...], python: str, offline: bool, scratch: Path, report: Report
) -> None:
    """Make or reuse the environment there; a file that says what is in it now spares doing it again."""
    marker = scratch / INSTALLED
    marker.write_text(f"{sha256(wheel)} {' '.join(extras)} {python}\n")
    done = _sent(INSTALLED, marker)
    if ssh.ask({"do": "state", "files": {INSTALLED: done.digest}})["have"]:
        report("install    as before")
        return
    # Until it is finished nobody may take it for what it was before.
    unfinished = scratch / "unfinished"
    unfinished.write_text("unfinished\n")
    _send(ssh, [_sent(INSTALLED, unfinished)])
    report(f"install    xedge[{','.join(extras)}] for Python {python}")
    _run(ssh, ssh.python, "-m", "venv", "@venv")
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if offline:
        pip += ["--no-index", "--find-links", "@wheels"]
    # Twice: the same version with other contents would be left as it is, and its dependencies need no new download.
    _run(ssh, *pip, f"@wheels/{wheel.name}[{','.join(extras)}]")
    _run(ssh, *pip, "--no-deps", "--force-reinstall", f"@wheels/{wheel.name}")
    _send(ssh, [done])


def _run(ssh: Ssh, *arguments: str) -> None:
    answer = ssh.ask({"do": "run", "arguments": list(arguments)})
    if answer["code"] != 0:
        raise _failed(ssh.destination, answer)


def _failed(destination: str, answer: dict[str, Any]) -> XedgeError:
    lines = [line for line in (answer["err"] or answer["out"]).splitlines() if line.strip()]
    words = lines[-1].strip().removeprefix("xedge: error: ") if lines else f"ended with {answer['code']}"
    if answer["code"] == -9:
        words = f"killed: most likely the memory did not suffice ({words})"
    error = XedgeError(f"{destination}: {words}")
    error.exit_code = answer["code"] if answer["code"] in EXIT_CODES else MissingRuntimeError.exit_code
    return error
