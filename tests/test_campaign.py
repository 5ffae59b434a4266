"""The campaign of hostile cases (``tests/campaign``): a quick slice, and the whole in the slow part."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaign import rule
from tests.campaign.cases import KINDS
from tests.campaign.material import made
from tests.campaign.rule import Outcome
from tests.conftest import Once

ROOT = Path(__file__).parent.parent
SEED = 2
QUICK, QUICK_PARTS = 120, 2
# The quick part has the first cases, the slow part all of them.
WHOLE, WHOLE_PARTS = 2500, 8


@pytest.fixture(scope="session")
def material(once: Once) -> Path:
    """What the cases begin with."""
    return once("material", made)


def _run(module: str, *words: object) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("part", range(1, QUICK_PARTS + 1))
def test_first_cases_keep_the_rule(part: int, material: Path) -> None:
    slow = ("models", "networks", "arrays", "labels", "interrupted", "disks")
    kinds = [name for name in KINDS if name not in slow]
    arguments = ("--cases", QUICK, "--seed", SEED, "--part", f"{part}/{QUICK_PARTS}", "--material", material)
    _run("tests.campaign", *arguments, "--kinds", *kinds)


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", [1, *(pytest.param(part, marks=pytest.mark.further) for part in range(2, WHOLE_PARTS + 1))]
)
def test_all_cases_keep_the_rule(part: int, material: Path) -> None:
    arguments = ("--cases", WHOLE, "--seed", SEED, "--part", f"{part}/{WHOLE_PARTS}", "--material", material)
    _run("tests.campaign", *arguments)


@pytest.mark.slow
def test_a_bundle_is_whole_whichever_system_call_of_its_replacement_is_the_last(material: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace: apt-get install strace")
    _run("tests.campaign.kill_points", material)


GOOD = Outcome(code=3, out=b"", err=b"xedge: error: nothing: no such bundle\n")
BROKEN = {
    "hang": Outcome(code=None, out=b"", err=b""),
    "ended by signal": Outcome(code=-signal.SIGSEGV, out=b"", err=b""),
    "control character in output": Outcome(code=0, out=b"a\x1b[31mb", err=b""),
    "traceback in error output": Outcome(code=3, out=b"", err=b"Traceback (most recent call last):\n"),
    "is not documented": Outcome(code=99, out=b"", err=b""),
    "a fault of its own": Outcome(code=1, out=b"", err=b"xedge: error: a fault of xedge's own\n"),
    "0 lines of error": Outcome(code=3, out=b"", err=b""),
    "2 lines of error": Outcome(code=3, out=b"", err=b"xedge: error: a\nxedge: error: b\n"),
    "an error with exit code 0": Outcome(code=0, out=b"", err=b"xedge: error: a\n"),
    "changed files outside": Outcome(code=0, out=b"", err=b"", changed=("a",)),
    "ran code": Outcome(code=0, out=b"", err=b"", ran=True),
    "lost": Outcome(code=0, out=b"", err=b"", lost="a bundle"),
    "is not utf-8": Outcome(code=0, out=b"\xff", err=b""),
}


@pytest.mark.parametrize(("words", "outcome"), BROKEN.items(), ids=BROKEN)
def test_the_rule_sees_what_breaks_it(words: str, outcome: Outcome) -> None:
    assert words in str(rule.broken(outcome))
    assert rule.broken(GOOD) is None


def test_the_page_about_it_lists_the_kinds() -> None:
    whole = sum(kind.share for kind in KINDS.values())
    page = (ROOT / "docs" / "safety.md").read_text()
    for kind in KINDS.values():
        words = str(kind.make.__doc__).strip().splitlines()[0]
        assert f"| `{kind.name}` | {round(1000 * kind.share / whole)} | {words} |" in page
    assert f"--cases {WHOLE} --seed {SEED} " in page
