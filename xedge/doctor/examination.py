"""Examine whether this machine can run bundles; each finding says what to do about it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xedge.device.board import Board, read_board
from xedge.device.readings import Reading, read_now
from xedge.doctor.place import Place
from xedge.doctor.probe import probe_import, probed
from xedge.doctor.wheels import misfits, pip_line, remedy
from xedge.processes import python_module
from xedge.runtimes import Runtime, runtimes

Status = Literal["ok", "warning", "problem", "unknown"]
# The processor features by which runtimes choose their kernels. Without any of those in INT8_FEATURES, int8 gains
# little speed.
FEATURES = {
    "aarch64": ("asimddp", "i8mm", "asimdhp", "bf16", "sve"),
    "x86_64": ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16"),
}
INT8_FEATURES = {
    "aarch64": ("asimddp", "i8mm"),
    "x86_64": ("avx512_vnni", "avx_vnni", "amx_int8"),
}
SMALL_MEMORY, SMALL_STORAGE = 256 << 20, 500 << 20
HOT_C = 75.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check.

    Args:
        name: The name of what was checked.
        status: Whether it is as it should be.
        found: The description of what was found.
        advice: The advice on what to do; None if nothing has to be done.
    """

    name: str
    status: Status
    found: str
    advice: str | None = None


@dataclass(frozen=True, kw_only=True)
class Examination:
    """The results of all checks.

    Args:
        schema: The kind of this document and its version.
        board: The machine.
        reading: The current state of the board.
        findings: The results of the checks, in the order in which these were made.
        install: The pip command that installs a runtime for this board and Python; None if a runtime already works, or
            if no wheel fits.
    """

    schema: Literal["xedge.doctor/1"] = "xedge.doctor/1"
    board: Board
    reading: Reading
    findings: tuple[Finding, ...]
    install: str | None

    @property
    def healthy(self) -> bool:
        """Whether no check found a problem."""
        return all(finding.status != "problem" for finding in self.findings)


def examine(place: Place) -> Examination:
    """Examine the machine, its temperature and throttling, and its runtimes."""
    board, reading = read_board(place.system), read_now(place.system)
    found = [_runtime(runtime, place) for runtime in runtimes()]
    works = any(finding.status == "ok" for finding in found)
    findings = [*_software(place), *_hardware(place, board, reading), *found]
    install = None if works else pip_line(place)
    if not works:
        advice = install or "use Python 3.10 to 3.14 on a 64-bit system"
        findings.append(Finding(name="runtime", status="problem", found="no runtime works", advice=advice))
    return Examination(board=board, reading=reading, findings=tuple(findings), install=install)


def examine_bundle(place: Place, bundle: Path) -> Finding:
    """Run a bundle's self-test and a few inferences in a process of its own.

    Args:
        place: The machine on which the bundle is run.
        bundle: The folder or zip of the bundle.
    """
    done = place.begin(
        python_module("xedge", "run", os.fspath(bundle), "--runs", "3", "--limit", "1", "--json", "--quiet")
    )
    tried = probed(done)
    if tried.works:
        return Finding(name=bundle.name, status="ok", found="runs here: self-test passed")
    cause = (tried.cause or "").removeprefix("xedge: error: ")
    return Finding(name=bundle.name, status="problem", found="does not run here", advice=cause)


def _software(place: Place) -> Iterator[Finding]:
    python = ".".join(map(str, place.python))
    old = place.python < (3, 10)
    yield Finding(
        name="Python",
        status="problem" if old else "ok",
        found=f"{python}, {'in a virtual environment' if place.virtual else 'of the system'}",
        advice="xedge needs Python 3.10 or newer; install it beside the system's own, with uv or pyenv"
        if old
        else None,
    )
    name, version = place.libc
    yield Finding(name="C library", status="ok" if name else "unknown", found=f"{name} {version}".strip() or "unknown")
    bits_32 = place.machine in ("armv6l", "armv7l")
    yield Finding(
        name="architecture",
        status="warning" if bits_32 else "ok",
        found=place.machine,
        advice="only tflite-runtime has wheels for 32 bits; a 64-bit system runs all runtimes and is faster"
        if bits_32
        else None,
    )


def _hardware(place: Place, board: Board, reading: Reading) -> Iterator[Finding]:
    yield Finding(name="board", status="ok" if board.model else "unknown", found=board.model or "unknown")
    yield _features(place)
    yield _amount("memory free", reading.memory_available_bytes, SMALL_MEMORY, "close programs, or add swap")
    yield _amount("storage free", _free(place.home), SMALL_STORAGE, "make room for a runtime and a bundle")
    if board.governors:
        fixed = set(board.governors) == {"performance"} or (board.jetson is not None and board.jetson.clocks_fixed)
        command = "sudo jetson_clocks" if board.jetson else "sudo cpupower frequency-set -g performance"
        yield Finding(
            name="governor",
            status="ok" if fixed else "warning",
            found=", ".join(board.governors),
            advice=None if fixed else f"for timing: {command}",
        )
    if reading.temperature_c is not None:
        hot = reading.temperature_c > HOT_C
        yield Finding(
            name="temperature",
            status="warning" if hot else "ok",
            found=f"{reading.temperature_c:.0f} C",
            advice="boards throttle at about 80 C; add a heat sink or a fan" if hot else None,
        )
    if reading.throttling is not None:
        yield _throttling(reading)
    if board.emulated:
        yield Finding(name="emulation", status="warning", found="QEMU", advice="timings mean nothing here")


def _features(place: Place) -> Finding:
    fields = place.system.fields("proc/cpuinfo")
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    known = FEATURES.get(place.machine, ())
    if not flags or not known:
        return Finding(name="CPU features", status="unknown", found="unknown")
    int8 = any(name in flags for name in INT8_FEATURES[place.machine])
    return Finding(
        name="CPU features",
        status="ok" if int8 else "warning",
        found=", ".join(name for name in known if name in flags) or "none that kernels make use of",
        advice=None if int8 else "no integer dot products: int8 is smaller here, but gains less speed than elsewhere",
    )


def _amount(name: str, found: int | None, enough: int, advice: str) -> Finding:
    if found is None:
        return Finding(name=name, status="unknown", found="unknown")
    little = found < enough
    return Finding(
        name=name,
        status="warning" if little else "ok",
        found=f"{found >> 20} MiB",
        advice=f"{advice}; {enough >> 20} MiB are recommended" if little else None,
    )


def _throttling(reading: Reading) -> Finding:
    assert reading.throttling is not None
    now, since = reading.throttling.now, reading.throttling.since_boot
    found = f"now {', '.join(now) or 'none'}; since boot {', '.join(since) or 'none'}"
    power = "under-voltage" in (*now, *since)
    advice = "use a stronger power supply and a shorter cable" if power else "cool the board, or lower its load"
    status: Status = "problem" if now else "warning" if since else "ok"
    return Finding(name="throttling", status=status, found=found, advice=advice if now or since else None)


def _runtime(runtime: Runtime, place: Place) -> Finding:
    """Check whether a runtime can be imported, and if not, find out why and what would help."""
    name, version, misfit = runtime.package, place.installed(runtime.package), misfits(runtime, place)
    if version is None:
        found = f"not installed{f'; no wheel fits: {misfit}' if misfit else ''}"
        return Finding(name=name, status="unknown", found=found)
    probe = probe_import(runtime.wheel.probe, place.begin)
    numpy = probe.output.split()[-1] if probe.output else ""
    if probe.works and runtime.wheel.numpy_1 and not numpy.startswith("1."):
        # The import succeeds, but loading the first model would fail.
        cause = f"was built for NumPy 1, but NumPy {numpy} is installed"
    elif probe.works:
        return Finding(name=name, status="ok", found=f"{version} imports")
    else:
        cause = f"cannot be imported: {probe.cause}"
    return Finding(name=name, status="problem", found=f"{version} {cause}", advice=remedy(runtime, cause, misfit))


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(os.fspath(folder)).free
    except OSError:
        return None
