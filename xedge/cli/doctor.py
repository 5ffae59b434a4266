"""``xedge doctor``."""

from __future__ import annotations

import argparse
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

from xedge.cli import last_error
from xedge.cli.console import Console, fields
from xedge.doctor.examination import Examination, Finding, examine, examine_bundle
from xedge.doctor.place import Place
from xedge.errors import CheckError, InputError

MARKS = {"ok": "ok", "warning": "WARNING", "problem": "PROBLEM", "unknown": "-"}


def main(options: argparse.Namespace) -> int:
    """Say whether this machine can run bundles, and what to do if not."""
    console = Console(options.json, options.quiet)
    place = Place()
    examination = examine(place)
    if options.bundle is not None:
        if not options.bundle.exists():
            raise InputError(f"{options.bundle}: no such bundle")
        console.progress(f"running {options.bundle}")
        findings = (*examination.findings, examine_bundle(place, options.bundle))
        examination = replace(examination, findings=findings)
    console.result(examination, issue(examination, place) if options.report else text(examination))
    return 0 if examination.healthy else CheckError.exit_code


def text(examination: Examination) -> str:
    """Return the findings as a table, and then what to do."""
    rows = [(one.name, f"{MARKS[one.status]:<7}  {one.found}") for one in examination.findings]
    todo = [f"  {one.name}: {one.advice}" for one in examination.findings if one.advice is not None]
    parts = [fields(rows)]
    if todo:
        parts.append("\n".join(["What to do:", *todo]))
    parts.append(_summary(examination.findings))
    return "\n\n".join(parts)


def findings_text(doctor: Any) -> str:
    """Return what another machine's doctor would mend, from its JSON document."""
    found = [one for one in doctor["findings"] if one["status"] in ("problem", "warning")]
    lines = [f"  {one['status']}: {one['name']}: {one['found']}" for one in found]
    return "\n".join(["doctor: nothing to mend" if not lines else "doctor:", *lines])


PACKAGES = ("numpy", "pillow", "ai-edge-litert", "tflite-runtime", "onnxruntime", "openvino", "keras", "tensorflow-cpu")


def issue(examination: Examination, place: Place) -> str:
    """Return what belongs into an issue, in Markdown, the home folder's name left out."""
    found = [(name, place.installed(name)) for name in ("xedge", *PACKAGES)]
    versions = [f"- {name} {version}" for name, version in found if version is not None]
    error = last_error.read()
    parts = [
        "### What I did, what I expected, what happened\n\n(please fill in)",
        "### Machine\n\n```\n" + text(examination) + "\n```",
        "### Versions\n\n" + "\n".join([f"- {platform.platform()}", *versions]),
        "### Last fault\n\n" + ("none was kept" if error is None else f"```\n{error.rstrip()}\n```"),
    ]
    return "\n\n".join(parts).replace(str(Path.home()), "~")


def _summary(findings: tuple[Finding, ...]) -> str:
    problems = sum(one.status == "problem" for one in findings)
    return (
        "This machine can run bundles." if not problems else f"{problems} problem{'s' if problems != 1 else ''} found."
    )
