"""What is published: one version in all places, and a wheel and a source distribution that the checkers pass."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

from xedge._version import __version__

ROOT = Path(__file__).resolve().parent.parent
LARGEST_WHEEL_BYTES = 10_000_000


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    heading = re.search(r"^## (\S+) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading is not None
    assert heading.groups() == (__version__, str(citation["date-released"]))


@pytest.mark.installs
def test_what_is_published_is_built_and_passes_the_checkers(tmp_path: Path) -> None:
    """The script is what the release workflow runs."""
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]["build"]["steps"]
    assert any(".ci/package dist" in step.get("run", "") for step in steps)
    done = subprocess.run([ROOT / ".ci" / "package", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    wheel = next(tmp_path.glob("*.whl"))
    assert wheel.name.startswith(f"xedge-{__version__}-")
    assert wheel.stat().st_size < LARGEST_WHEEL_BYTES
    metadata = zipfile.ZipFile(wheel).read(f"xedge-{__version__}.dist-info/METADATA").decode()
    assert "Classifier: Programming Language :: Python :: 3.14" in metadata
    assert not re.search(r"^Requires-Dist: tensorflow.*extra == 'host'", metadata, re.MULTILINE)
