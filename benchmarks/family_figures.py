"""What the tables of families have in common: measuring bundles, and writing between marks of a page."""

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

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "models.md"
# The sections of docs/peers.md that benchmarks/without_vnni.py and benchmarks/families.py write; the rest is of
# benchmarks/against_peers.py.
WITHOUT_VNNI, EVERY_FAMILY = "without-vnni", "every-family"
# Every third of the embedded test photos is measured; the heads of the families were fitted to the others.
MEASURED = range(0, 372, 3)
# The photos on which the float reference is held against the original model.
COMPARED = 4
# Artifacts take turns in blocks of so many timed inferences.
BLOCKS, RUNS = 12, 5


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


def write_section(
    mark: str, results: list[dict[str, Any]], lines: list[str], page: Path = PAGE, heading: str | None = None
) -> None:
    """Write lines between their marks in a page, below the processors on which the results were measured.

    Args:
        mark: The name in the marks.
        results: What was measured, each with its processor.
        lines: The lines.
        page: The page.
        heading: A heading to begin with, if the section has one of its own.
    """
    start, end = marks(mark)
    processors = "; ".join(sorted({one["processor"] for one in results if "processor" in one}))
    before, _, rest = page.read_text().partition(start)
    above = [] if heading is None else [f"## {heading}", ""]
    text = [before + start, "", *above, f"Measured on {processors}.", "", *lines, "", end]
    page.write_text("\n".join(text) + rest.partition(end)[2])


def section(mark: str, page: Path) -> str:
    """Return a section of a page with its marks, which another script has written."""
    start, end = marks(mark)
    return f"{start}{page.read_text().partition(start)[2].partition(end)[0]}{end}\n"


def marks(mark: str) -> tuple[str, str]:
    """Return the marks before and behind a section."""
    return f"<!-- {mark} -->", f"<!-- /{mark} -->"
