"""What the tables of families in docs/models.md have in common: measuring bundles, and writing between marks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numpy import stack

from xedge.bundle.opening import opened
from xedge.metrics import agreement
from xedge.runtimes import Settings
from xedge.types import FloatArray, UInt8Array

PAGE = Path(__file__).resolve().parent.parent / "docs" / "models.md"
# Every third of the embedded test photos is measured; the heads of the families were fitted to the others.
MEASURED = range(0, 372, 3)
# The photos on which the float reference is held against the original model.
COMPARED = 4


def fitting() -> list[int]:
    """Return the places of the embedded test photos to which heads are fitted."""
    return [at for at in range(MEASURED.stop) if at not in MEASURED]


def megabytes(bundle: Path) -> float:
    """Return the size of the artifact in a bundle."""
    return sum(file.stat().st_size for file in bundle.glob("*_int8.*")) / 1e6


def bundle_answers(path: Path, pixels: Iterable[UInt8Array]) -> FloatArray:
    """Return the probabilities (N, classes) of a bundle for photos."""
    from xedge.runtimes.classifier import open_classifier  # noqa: PLC0415

    with opened(path) as bundle:
        classifier = open_classifier(bundle.artifact, bundle.manifest, Settings(threads=2, exact=True))
        return stack([classifier.classify(one) for one in pixels])


def figures(answers: FloatArray, reference: FloatArray) -> dict[str, float]:
    """Return agreement and total variation in percent."""
    same = agreement(answers, reference)
    return {"agreement": 100 * same.agreement, "tv": 100 * same.total_variation}


def cells_of(row: dict[str, Any]) -> tuple[str, str, str]:
    """Return agreement, tv and size as cells of the table, or the reason why there are none."""
    if "reason" in row:
        return "-", row["reason"], "-"
    return f"{row['agreement']:.0f}", f"{row['tv']:.2f}", f"{row['mb']:.1f}"


def measured_apart(name: str, file: Path, command: list[str]) -> None:
    """Measure one network in a process of its own, which gives its memory back and leaves the others alone if it fails.

    Args:
        name: The network.
        file: The file that the process writes; what is there already is not measured again. If the process fails, the
            reason is kept there instead, and the next call tries again.
        command: The process.
    """
    if file.exists() and "failed" not in json.loads(file.read_text()):
        return
    done = subprocess.run([sys.executable, *command], check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        # A process that a signal ended had no time to say why: its last line is about something else.
        told = done.stderr.strip().splitlines() if done.returncode > 0 else []
        reason = (told or [f"ended with {done.returncode}"])[-1][:200]
        file.write_text(json.dumps({"name": name, "failed": reason.replace("|", "/")}) + "\n")
    print(f"{name}: {reason if done.returncode else 'measured'}", flush=True)


def write_section(mark: str, results: list[dict[str, Any]], table: list[str]) -> None:
    """Write a table between its marks in the page, below the processors on which it was measured."""
    start, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    processors = "; ".join(sorted({one["processor"] for one in results if "processor" in one}))
    before, _, rest = PAGE.read_text().partition(start)
    lines = [before + start, "", f"Measured on {processors}.", "", *table, "", end]
    PAGE.write_text("\n".join(lines) + rest.partition(end)[2])
