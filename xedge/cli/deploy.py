"""``xedge deploy``, and ``xedge run --on``: bundles on another machine over ssh."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xedge.bundle import Bundle, open_bundle
from xedge.cli.console import Console, percent, table
from xedge.cli.opening import photos_for
from xedge.cli.run import text
from xedge.codec import from_json
from xedge.errors import ConnectionLostError, UsageError, XedgeError
from xedge.remote.deploy import Deployed, deploy
from xedge.remote.ssh import Ssh
from xedge.runner import RunReport


@dataclass(frozen=True, kw_only=True)
class RemoteRun:
    """What was brought back.

    Args:
        destination: where it ran.
        doctor: what ``xedge doctor --json`` said there.
        runs: a report of each bundle that ran, in the order that they were given.
        failures: of the others, what went wrong by their names.
    """

    destination: str
    doctor: Any
    runs: tuple[RunReport, ...]
    failures: dict[str, str]


def main(options: argparse.Namespace) -> int:
    """Make another machine ready, and say what its doctor says."""
    console = Console(options.json, options.quiet)
    with ExitStack() as stack:
        bundles = _opened(options.bundles, stack)
        ready = deploy(Ssh(destination=options.destination), bundles, None, options.wheels, console.stage)
        doctor = ready.xedge("doctor")
    document = {"destination": options.destination, "bundles": list(ready.bundles), "doctor": doctor}
    console.result(
        document, f"{options.destination} ({ready.machine}, Python {ready.python}) is ready\n{_doctor(doctor)}"
    )
    return 0


def run_there(options: argparse.Namespace) -> int:
    """Deploy, run every bundle there, and print the reports beside the host's figures."""
    if options.against is not None:
        raise UsageError("--against compares on this machine; with --on name both bundles")
    console = Console(options.json, options.quiet)
    with ExitStack() as stack:
        bundles = _opened(options.bundles, stack)
        # The embedded model's photos come with the wheel.
        photos = photos_for(bundles[0], options.data, options.limit) if options.data is not None else None
        ready = deploy(Ssh(destination=options.on), bundles, photos, options.wheels, console.stage)
        doctor = ready.xedge("doctor")
        done: list[tuple[Bundle, RunReport]] = []
        failed: dict[str, XedgeError] = {}
        for bundle, folder in zip(bundles, ready.bundles, strict=True):
            console.stage(f"run        {bundle.root.name}")
            try:
                run = from_json(RunReport, ready.xedge("run", f"@{folder}", *_arguments(options, ready)))
                done.append((bundle, run))
            except ConnectionLostError:
                raise
            except XedgeError as error:
                # What the others measured is kept.
                failed[bundle.root.name] = error
    if not done:
        raise next(iter(failed.values()))
    runs = tuple(run for _, run in done)
    words = {name: str(error) for name, error in failed.items()}
    report = RemoteRun(destination=options.on, doctor=doctor, runs=runs, failures=words)
    lines = [f"FAILED     {name}: {why}" for name, why in words.items()]
    console.result(report, "\n\n".join([_doctor(doctor), *map(text, runs), _beside(done), *lines]))
    return max((error.exit_code for error in failed.values()), default=0)


def _opened(paths: Sequence[Path], stack: ExitStack) -> list[Bundle]:
    folders = [stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")) for _ in paths]
    return [open_bundle(path, Path(folder)) for path, folder in zip(paths, folders, strict=True)]


def _arguments(options: argparse.Namespace, ready: Deployed) -> list[str]:
    """What of the command line goes on to the other machine's."""
    arguments = []
    named = {"--limit": options.limit, "--runs": options.runs, "--threads": options.threads, "--rate": options.rate}
    named |= {"--runtime": options.runtime, "--provider": options.provider}
    if options.duration is not None:
        named["--duration"] = f"{options.duration}s"
    if options.cooldown is not None:
        kind, value = options.cooldown
        named["--cooldown"] = f"{value}{'C' if kind == 'temperature_c' else 's'}"
    for name, value in named.items():
        arguments += [name, str(value)] if value is not None else []
    if ready.photos is not None:
        arguments += ["--data", f"@{ready.photos}"]
    return arguments


def _doctor(doctor: Any) -> str:
    found = [one for one in doctor["findings"] if one["status"] in ("problem", "warning")]
    lines = [f"  {one['status']}: {one['name']}: {one['found']}" for one in found]
    return "\n".join(["doctor: nothing to mend" if not lines else "doctor:", *lines])


def _beside(done: Sequence[tuple[Bundle, RunReport]]) -> str:
    """The other machine's figures beside the host's."""
    rows = []
    for bundle, run in done:
        host, speed = bundle.manifest.accuracy, bundle.manifest.speed
        rows.append(
            [
                bundle.root.name,
                f"{run.latency.p50_ms:.2f}",
                "-" if speed is None else f"{speed.ms:.2f}",
                "-" if run.accuracy is None else percent(run.accuracy.top1),
                "-" if host is None else percent(host.artifact.top1),
                f"{run.self_test.max_difference:.2g}",
                run.verdict.word,
            ]
        )
    header = ["bundle", "p50 ms", "host ms", "top-1", "host top-1", "golden difference", "verdict"]
    return table(rows, header)
