"""Deploy bundles to another machine: send what it needs and has not got yet, and make a virtual environment there."""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

from xedge.bundle.reading import MANIFEST, Bundle
from xedge.doctor.examination import Examination
from xedge.errors import (
    EXIT_CODES,
    BundleError,
    ConnectionLostError,
    InputError,
    MissingRuntimeError,
    ResourceError,
    XedgeError,
    parameter,
)
from xedge.files import sha256
from xedge.photos.sets import PhotoSet
from xedge.remote.answers import Done, Ran, State, parsed
from xedge.remote.ssh import Ssh
from xedge.remote.wheel import write_wheel
from xedge.runtimes import first_runtime

Report = Callable[[str], None]
OLDEST_PYTHON = (3, 10)
INSTALLED = "installed"
VENV = "venv"
PYTHON = f"@{VENV}/bin/python"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A file to send to the other machine.

    Args:
        name: The name of the file there, relative to the agent's folder.
        path: The path of the file on this machine.
        digest: The sha256 of the file.
    """

    name: str
    path: Path
    digest: str


@dataclass(frozen=True, kw_only=True)
class Package:
    """What is sent to other machines. It is read and hashed once, for any number of them.

    Args:
        bundles: The bundles, opened and checked.
        folders: The folders of the bundles there, in the same order.
        photos: The folder of the photos there; None without photos.
        wheel: The wheel of the xedge that runs here.
        files: All files, the wheel included.
        extras: The extras of xedge with the runtimes that open the bundles' artifacts.
        offline: Whether the files include the wheels of everything that has to be installed.
    """

    bundles: tuple[Bundle, ...]
    folders: tuple[str, ...]
    photos: str | None
    wheel: Sent
    files: tuple[Sent, ...]
    extras: tuple[str, ...]
    offline: bool


@contextmanager
def packed(bundles: Sequence[Bundle], photos: PhotoSet | None, wheels: Path | None) -> Iterator[Package]:
    """Yield what is sent to other machines; the wheel of xedge is there for as long as the block runs.

    Args:
        bundles: The bundles to send.
        photos: The photos to send along; None sends none.
        wheels: A folder of wheels for machines without internet access; None lets them download what they need.

    Raises:
        InputError: There are no wheels in the folder.
    """
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        own = write_wheel(Path(scratch))
        wheel = _sent(f"wheels/{own.name}", own)
        files = [wheel, *_wheels(wheels)]
        folders = []
        for bundle in bundles:
            manifest = _sent("", bundle.root / MANIFEST)
            folders.append(f"bundles/{bundle.root.name}-{manifest.digest[:12]}")
            files.append(replace(manifest, name=f"{folders[-1]}/{MANIFEST}"))
            files += [_sent(f"{folders[-1]}/{name}", bundle.root / name) for name in bundle.manifest.files]
        photo_folder, photo_files = _photos(photos)
        yield Package(
            bundles=tuple(bundles),
            folders=tuple(folders),
            photos=photo_folder,
            wheel=wheel,
            files=(*files, *photo_files),
            extras=_extras(bundles),
            offline=wheels is not None,
        )


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A machine that is ready, as ``xedge deploy --json`` tells it.

    Args:
        schema: The kind of this document and its version.
        destination: The machine, as ssh names it.
        machine: The architecture of the machine, as ``uname -m`` prints it.
        python: The version of Python there, such as ``3.11``.
        bundles: The folders of the bundles there, in the order in which they were given.
        doctor: The document that ``xedge doctor --json`` printed there.
    """

    schema: Literal["xedge.deploy/1"] = "xedge.deploy/1"
    destination: str
    machine: str
    python: str
    bundles: tuple[str, ...]
    doctor: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A machine that is ready to run bundles.

    Args:
        ssh: The connection to the machine.
        bundles: The folders of the bundles there, in the order in which they were given.
        photos: The folder of the photos there; None without photos.
        machine: The architecture of the machine, as ``uname -m`` prints it.
        python: The version of Python there, such as ``3.11``.
    """

    ssh: Ssh
    bundles: tuple[str, ...]
    photos: str | None
    machine: str
    python: str

    def xedge(self, kind: type[T], *arguments: str) -> tuple[T, Any]:
        """Run a command of xedge there and return its JSON document, as a value of a type and as plain values.

        Args:
            kind: The type of the document.
            arguments: The command and its options.

        Raises:
            ConnectionLostError: The machine cannot be reached, or the connection was lost.
            XedgeError: The command failed; the error has its message and its exit code.
        """
        request = {"do": "run", "arguments": [PYTHON, "-m", "xedge", *arguments, "--json", "--quiet"]}
        answer = self.ssh.ask(Ran, request)
        try:
            # The doctor prints its document even if it ends with another code than 0, and then no message.
            return parsed(kind, answer.out)
        except BundleError as error:
            if answer.code != 0 and answer.err.strip():
                raise _failed(self.ssh.destination, answer, of_xedge=True) from None
            raise MissingRuntimeError(
                f"{self.ssh.destination}: xedge {arguments[0]} there printed a document that is not one of xedge's "
                f"({str(error)[:300]}); remove ~/.xedge there and try again"
            ) from error


def deploy(ssh: Ssh, package: Package, report: Report = lambda line: None) -> Deployed:
    """Send the files that the machine does not have yet, and install xedge there.

    Args:
        ssh: The connection to the machine.
        package: What to send.
        report: A function that is called with one line of text for each stage.

    Raises:
        XedgeError: Something failed; the message is one line for the user. Files that had arrived are kept, and the
            next attempt continues from there.
    """
    files = package.files
    found = ssh.ask(State, {"do": "state", "files": {file.name: file.digest for file in files}})
    if found.version < OLDEST_PYTHON:
        raise MissingRuntimeError(
            f"{ssh.destination}: {ssh.python} is Python {found.python} there, but xedge needs 3.10 or newer"
        )
    have = set(found.have)
    missing = [file for position, file in enumerate(files) if position not in have]
    size = sum(file.path.stat().st_size for file in missing)
    report(f"send       {len(missing)} of {len(files)} files, {size / 1e6:.1f} MB, to {ssh.destination}")
    if missing:
        _send(ssh, missing)
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        _install(ssh, package, found.python, Path(scratch), report)
    return Deployed(ssh=ssh, bundles=package.folders, photos=package.photos, machine=found.machine, python=found.python)


def deploy_there(ssh: Ssh, package: Package, report: Report = lambda line: None) -> Deployment:
    """Make a machine ready and examine it with the doctor; arguments and errors are those of ``deploy``."""
    ready = deploy(ssh, package, report)
    _, doctor = ready.xedge(Examination, "doctor")
    return Deployment(
        destination=ssh.destination,
        machine=ready.machine,
        python=ready.python,
        bundles=ready.bundles,
        doctor=doctor,
    )


def _sent(name: str, path: Path) -> Sent:
    return Sent(name=name, path=path, digest=sha256(path))


def _wheels(folder: Path | None) -> list[Sent]:
    if folder is None:
        return []
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise InputError(
            f"{parameter('wheels')} {folder}: there are no wheels in it; fetch them for that machine with pip download"
        )
    return [_sent(f"wheels/{path.name}", path) for path in found]


def _photos(photos: PhotoSet | None) -> tuple[str | None, list[Sent]]:
    if photos is None:
        return None, []
    found = {}
    for file in photos.files:
        if not isinstance(file, Path):
            raise InputError(f"{photos.root}: only a folder of photos is sent to another machine; unpack it first")
        found[photos.name_of(file)] = _sent("", file)
    # The names are hashed too, because the same photos in other class folders are another set.
    listing = "\n".join(f"{name} {file.digest}" for name, file in found.items())
    folder = f"photos/{hashlib.sha256(listing.encode()).hexdigest()[:12]}"
    return folder, [replace(file, name=f"{folder}/{name}") for name, file in found.items()]


def _send(ssh: Ssh, files: Sequence[Sent]) -> None:
    def feed(pipe: IO[bytes]) -> None:
        with tarfile.open(fileobj=pipe, mode="w|") as archive:
            for file in files:
                archive.add(file.path, file.name, recursive=False)

    ssh.ask(Done, {"do": "receive", "files": {file.name: file.digest for file in files}}, feed)


def _extras(bundles: Sequence[Bundle]) -> tuple[str, ...]:
    """Return the names of the extras of xedge with the runtimes that open the bundles' artifacts."""
    suffixes = {bundle.artifact.suffix for bundle in bundles}
    return tuple(first_runtime(suffix).name for suffix in sorted(suffixes))


def _install(ssh: Ssh, package: Package, python: str, scratch: Path, report: Report) -> None:
    """Make the virtual environment there, or reuse it if it works and has the contents that are wanted.

    The file ``INSTALLED`` says what the contents are. An environment that works, but has other contents, is changed. If
    that fails, or the environment does not work, a new one is made from nothing.
    """
    marker = scratch / INSTALLED
    marker.write_text(f"{package.wheel.digest} {' '.join(package.extras)} {python}\n")
    done = _sent(INSTALLED, marker)
    found = ssh.ask(State, {"do": "state", "files": {INSTALLED: done.digest}, "check": True})
    if found.have and found.works:
        report("install    as before")
        return
    # Until the installation is finished, the file must not describe the previous contents.
    unfinished = scratch / "unfinished"
    unfinished.write_text("unfinished\n")
    _send(ssh, [_sent(INSTALLED, unfinished)])
    words = f"xedge[{','.join(package.extras)}] for Python {python}"
    changed = False
    if found.works:
        report(f"install    {words}")
        try:
            _fill(ssh, package)
            changed = True
        except ConnectionLostError:
            raise
        except XedgeError:
            report("install    failed in the environment that is there; it is made again")
    if not changed:
        report(f"install    {words}, in a new environment")
        ssh.ask(Done, {"do": "remove", "name": VENV})
        _run(ssh, ssh.python, "-m", "venv", f"@{VENV}")
        _fill(ssh, package)
    ssh.ask(Done, {"do": "seal"})
    _send(ssh, [done])


def _fill(ssh: Ssh, package: Package) -> None:
    """Install xedge and its runtimes into the environment there."""
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if package.offline:
        pip += ["--no-index", "--find-links", "@wheels"]
    # The wheel is installed twice, because pip would keep an installed wheel of the same version with other contents.
    # The second time, its dependencies are not downloaded again.
    _run(ssh, *pip, f"@{package.wheel.name}[{','.join(package.extras)}]")
    _run(ssh, *pip, "--no-deps", "--force-reinstall", f"@{package.wheel.name}")


def _run(ssh: Ssh, *arguments: str) -> None:
    answer = ssh.ask(Ran, {"do": "run", "arguments": list(arguments)})
    if answer.code != 0:
        raise _failed(ssh.destination, answer, of_xedge=False)


def _failed(destination: str, answer: Ran, *, of_xedge: bool) -> XedgeError:
    """Return the error for a program that failed; exit codes are xedge's only if the program was xedge itself."""
    lines = [line for line in (answer.err or answer.out).splitlines() if line.strip()]
    words = lines[-1].strip().removeprefix("xedge: error: ") if lines else f"ended with {answer.code}"
    if answer.code == -9:
        words = f"the process was killed; most likely there was too little memory ({words})"
    if "ensurepip is not available" in answer.out:
        words = "Python there cannot make virtual environments; install python3-venv (sudo apt install python3-venv)"
    error = XedgeError(f"{destination}: {words}")
    error.exit_code = MissingRuntimeError.exit_code
    if "No space left on device" in words:
        error.exit_code = ResourceError.exit_code
    elif of_xedge and answer.code in EXIT_CODES and answer.code != 0:
        error.exit_code = answer.code
    return error
