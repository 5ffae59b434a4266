"""The script of all checks: its exit status is that of the checks, and it leaves nothing running.

The tools that it calls are replaced by scripts that end as told: what is tested is the script around them.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import until

RUN = Path(__file__).parent.parent / ".ci" / "run"
TOOLS = ("apt-get", "lint-imports", "mypy", "pip", "python", "ruff", "sphinx-build")


def tool(folder: Path, name: str, *lines: str) -> None:
    path = folder / name
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)


def checks(
    folder: Path, slow: str = "exit 0", emulated: str = "exit 0", building: str = "exit 0"
) -> subprocess.CompletedProcess[str]:
    """Run .ci/run in which the slow and the emulated tests, and what makes a system for these, are lines of shell."""
    tools = folder / "tools"
    tools.mkdir()
    for name in TOOLS:
        tool(tools, name, "exit 0")
    tool(tools, "python3", '[ "$2" != venv ] || { mkdir -p "$3/bin" && : >"$3/bin/activate"; }')
    tool(tools, "setsid", building)
    tool(tools, "pytest", 'case "$*" in', f"*emulated*) {emulated} ;;", f"*slow*) {slow} ;;", "esac")
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "TMPDIR": str(folder)}
    return subprocess.run(["bash", RUN], env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_all_passed_is_zero_and_nothing_is_left(tmp_path: Path) -> None:
    result = checks(tmp_path, emulated="echo the emulated ones; exit 0")
    assert (result.returncode, result.stdout) == (0, "the emulated ones\n"), result.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["tools"]


@pytest.mark.parametrize("which", ["slow", "emulated"])
def test_a_failure_is_the_exit_status(tmp_path: Path, which: str) -> None:
    result = checks(tmp_path, **{which: f"echo {which} failed; exit 5"})
    assert result.returncode == 5
    assert f"{which} failed" in result.stdout


@pytest.mark.skipif(os.geteuid() != 0 or platform.machine() != "x86_64", reason="made as root on x86-64 alone")
def test_a_failure_ends_the_making_of_the_emulated_system(tmp_path: Path) -> None:
    process = tmp_path / "process"
    building = f"echo $$ >{process}.new; mv {process}.new {process}; exec {shutil.which('setsid')} sleep 600"
    waits = f"for i in $(seq 600); do [ ! -e {process} ] || exit 1; sleep 0.1; done"
    assert checks(tmp_path, slow=waits, building=building).returncode == 1
    until(lambda: not Path("/proc", process.read_text().strip()).exists())


def test_a_failure_ends_what_runs_beside_it(tmp_path: Path) -> None:
    process = tmp_path / "process"
    waits = f"for i in $(seq 600); do [ ! -e {process} ] || exit 1; sleep 0.1; done"
    result = checks(
        tmp_path, slow=waits, emulated=f"echo $$ >{process}.new; mv {process}.new {process}; exec sleep 600"
    )
    assert result.returncode == 1
    until(lambda: not Path("/proc", process.read_text().strip()).exists())


def test_what_a_slow_machine_has_no_time_for_is_skipped_with_a_reason() -> None:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "slow", "tests/test_campaign.py"]
    environment = os.environ | {"XEDGE_TESTS_START": "0"}
    done = subprocess.run(command, cwd=RUN.parents[1], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "SKIPPED [7]" in done.stdout
    assert "run pytest -m further" in done.stdout
    assert "SKIPPED [2]" in done.stdout
    assert "run pytest -m slow" in done.stdout
    assert "9 skipped" in done.stdout
