"""``xedge hashes``."""

from __future__ import annotations

import argparse
from pathlib import Path

from xedge.bundle.opening import opened
from xedge.bundle.searching import find_bundles
from xedge.cli.console import Console
from xedge.errors import BundleError, InputError


def main(options: argparse.Namespace) -> int:
    """Check the files of bundles against their hashes, and say which bundles are damaged."""
    console = Console(options.json, options.quiet)
    found = {path: _fault(path) for path in find_bundles(options.paths or [Path()])}
    if not found and options.paths:
        raise InputError(f"{options.paths[0]}: there is no bundle here; name what `xedge convert` printed")
    damaged = [fault for fault in found.values() if fault is not None]
    console.result(
        [{"schema": "xedge.hashes/1", "path": str(path), "error": fault} for path, fault in found.items()],
        _text(len(found), damaged),
    )
    return BundleError.exit_code if damaged else 0


def _fault(path: Path) -> str | None:
    """Return what is wrong with a bundle; None if every file matches its hash."""
    try:
        with opened(path):
            return None
    except (BundleError, InputError) as error:
        return str(error)


def _text(bundles: int, damaged: list[str]) -> str:
    if not bundles:
        return "no bundle is here, and nothing was checked"
    if not damaged:
        return f"{bundles} {'bundle' if bundles == 1 else 'bundles'}: every file matches its sha256"
    return "\n".join([*(f"FAILED: {fault}" for fault in damaged), f"{len(damaged)} of {bundles} bundles are damaged"])
