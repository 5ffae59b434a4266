"""Run bundles on another machine and bring what they measured back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from xedge.bundle.reading import Bundle
from xedge.codec import from_json
from xedge.errors import ConnectionLostError, XedgeError
from xedge.measuring.report import RunReport
from xedge.photos.sets import PhotoSet
from xedge.remote.deploy import deploy
from xedge.remote.ssh import Ssh

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A bundle that did not run there: what was said, and the exit code."""

    message: str
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class HostFigures:
    """What the host knew of a bundle: median milliseconds and top-1, 0 to 1; None where it was not measured."""

    ms: float | None
    top1: float | None


@dataclass(frozen=True, kw_only=True)
class RemoteRun:
    """What was brought back.

    Args:
        schema: which document this is, and its version.
        destination: where it ran.
        doctor: what ``xedge doctor --json`` said there.
        runs: a report of each bundle that ran, in the order that they were given.
        host: what the host knew of each of these.
        failures: of the others, by their names.
    """

    schema: Literal["xedge.run-on/1"] = "xedge.run-on/1"
    destination: str
    doctor: dict[str, Any]
    runs: tuple[RunReport, ...]
    host: tuple[HostFigures, ...]
    failures: dict[str, Failure]


def run_there(
    ssh: Ssh,
    bundles: Sequence[Bundle],
    photos: PhotoSet | None,
    wheels: Path | None,
    arguments: Sequence[str],
    report: Report = lambda line: None,
) -> RemoteRun:
    """Deploy, ask the doctor, and run every bundle there.

    Args:
        ssh: reaches the machine.
        bundles: checked and open.
        photos: labelled ones to send along.
        wheels: a folder of wheels, for a machine without internet.
        arguments: options of ``xedge run`` there.
        report: told one line as each stage ends.

    Raises:
        ConnectionLostError: the machine cannot be reached, or not any more.
        XedgeError: every bundle failed; the first one's error.
    """
    ready = deploy(ssh, bundles, photos, wheels, report)
    doctor = ready.xedge("doctor")
    data = ("--data", f"@{ready.photos}") if ready.photos is not None else ()
    done: list[tuple[Bundle, RunReport]] = []
    failed: dict[str, XedgeError] = {}
    for bundle, folder in zip(bundles, ready.bundles, strict=True):
        report(f"run        {bundle.root.name}")
        try:
            run = from_json(RunReport, ready.xedge("run", f"@{folder}", *arguments, *data))
            # Folders there have a digest behind their names.
            done.append((bundle, replace(run, bundle=bundle.root.name)))
        except ConnectionLostError:
            raise
        except XedgeError as error:
            # What the others measured is kept.
            failed[bundle.root.name] = error
    if not done:
        raise next(iter(failed.values()))
    return RemoteRun(
        destination=ssh.destination,
        doctor=doctor,
        runs=tuple(run for _, run in done),
        host=tuple(_host(bundle) for bundle, _ in done),
        failures={name: Failure(message=str(error), exit_code=error.exit_code) for name, error in failed.items()},
    )


def _host(bundle: Bundle) -> HostFigures:
    accuracy, speed = bundle.manifest.accuracy, bundle.manifest.speed
    return HostFigures(
        ms=None if speed is None else speed.ms, top1=None if accuracy is None else accuracy.artifact.top1
    )
