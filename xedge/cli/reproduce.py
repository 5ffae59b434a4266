"""``xedge reproduce``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from xedge.api.reproduce import reproduce
from xedge.cli.console import Console, percent
from xedge.cli.options import chosen
from xedge.conversion.options import ReproduceOptions
from xedge.errors import CheckError
from xedge.inspection.reproduction import Constants, Drift, Reproduction


def main(options: argparse.Namespace) -> int:
    """Make a bundle again; the exit code says whether its bytes are the same."""
    console = Console(options.json, options.quiet)
    asked = chosen(options, ReproduceOptions)
    found = reproduce(**asked, report=console.stage, progress=console.progress)
    console.result(found, text(found))
    return 0 if found.same else CheckError.exit_code


def text(found: Reproduction) -> str:
    """Return what is the same and what drifted, as a person reads it."""
    lines = [f"{'PASSED' if found.same else 'FAILED'}     {found.bundle}: {_files(found)}"]
    lines += [f"drifted    {one.what}: {_short(one, one.before)} -> {_short(one, one.now)}" for one in found.drifts]
    if not found.same and not found.drifts:
        lines.append(
            "drifted    nothing that the manifest holds: xedge or a library has another source under the same version, "
            "or a library does not write the same bytes twice"
        )
    if not found.same:
        lines += _how_far(found)
    return "\n".join(lines)


def _short(drift: Drift, value: str) -> str:
    """Return a value as it fits a line: of a sha256 the beginning tells two apart, the document has all of it."""
    return value[:12] if "sha256" in drift.what else value


def _files(found: Reproduction) -> str:
    count = len(found.same_files) + len(found.changed_files)
    if found.same:
        return f"the same bytes in all {count} files"
    return f"{len(found.changed_files)} of {count} files have other bytes: {', '.join(found.changed_files)}"


def _how_far(found: Reproduction) -> Iterator[str]:
    if found.constants is not None:
        yield from _constants(found.constants)
    if found.output_difference is not None:
        yield f"outputs    probabilities of the self-test differ by {found.output_difference:.2g} at most"
    else:
        yield "outputs    not compared: the photos of the self-test are others"
    if found.top1 is not None:
        yield f"accuracy   top-1 {percent(found.top1[0])} -> {percent(found.top1[1])}"


def _constants(found: Constants) -> Iterator[str]:
    yield f"tensors    {found.tensors} constants; {found.unmatched} of one artifact alone, by name, shape and type"
    steps = ", ".join(f"{most} in {kind}" for kind, most in found.largest_steps.items())
    yield f"integers   {found.changed_integers} of {found.integers} differ" + (f", by at most {steps}" if steps else "")
    yield (
        f"floats     {found.changed_floats} of {found.floats} (scales among them) differ, by "
        f"{100 * found.largest_ratio:.2g} % of the largest of their tensor at most"
    )
