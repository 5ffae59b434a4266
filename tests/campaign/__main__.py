"""Run the campaign: ``python -m tests.campaign --cases 2500 --seed 1``.

A case is made of the seed and its number alone, so that ``--only NUMBER`` repeats it. The exit status is 1 if a case
breaks the rule.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from tests.campaign import rule
from tests.campaign.cases import KINDS, Kind, Place, Trial
from tests.campaign.material import Material, made
from tests.campaign.running import IMPORTED, run

# Modules that lie in every working folder; whichever of them is imported leaves a sign.
POISON = (
    *("numpy", "PIL", "json", "re", "typing", "zipfile", "pathlib", "dataclasses", "logging", "subprocess", "socket"),
    *("runpy", "site", "sitecustomize", "usercustomize", "encodings", "xedge", "keras", "tensorflow", "onnx", "h5py"),
    *(
        "onnxruntime",
        "openvino",
        "ai_edge_litert",
        "tflite_runtime",
        "matplotlib",
        "jinja2",
        "flatbuffers",
        "ml_dtypes",
    ),
    *("ctypes", "tempfile", "random", "hashlib", "signal", "shutil", "importlib", "argparse", "warnings", "google"),
)
SIGN = "this code was run"


def main() -> int:
    """Run the cases that are asked for and say which of them break the rule."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--cases", type=int, default=2500, help="how many cases to run")
    parser.add_argument("--seed", type=int, default=1, help="the seed of all cases")
    parser.add_argument("--part", default="1/1", help="run only this part of the cases, such as 2/4")
    parser.add_argument("--only", type=int, help="run only the case with this number, and show what it wrote")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help="run only cases of these kinds")
    parser.add_argument("--material", type=Path, help="the folder that keeps what the cases begin with")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        material = made((options.material or Path(scratch) / "material").resolve())
        for module in IMPORTED:
            importlib.import_module(module)
        if options.only is not None:
            return _show(options.only, options.seed, Path(scratch), material)
        numbers = [number for number in range(options.cases) if number % parts == part - 1]
        return _all(numbers, options.seed, set(options.kinds), Path(scratch), material)


def _all(numbers: list[int], seed: int, kinds: set[str], scratch: Path, material: Material) -> int:
    counts: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    start = time.monotonic()
    for number in numbers:
        kind = kind_of(number, seed)
        if kind.name not in kinds:
            continue
        counts[kind.name] += 1
        words, wrong, _ = one(number, seed, scratch / str(number), material)
        if wrong is not None:
            failed[kind.name] += 1
            print(f"{number} {kind.name}: {wrong}: {words}", flush=True)
        shutil.rmtree(scratch / str(number), ignore_errors=True)
    for name, count in counts.items():
        print(f"{name:<20} {count:>5} cases, {failed[name]} broken")
    seconds = time.monotonic() - start
    print(f"{sum(counts.values())} cases of seed {seed} in {seconds:.0f} s, {sum(failed.values())} broken")
    return 1 if failed else 0


def _show(number: int, seed: int, scratch: Path, material: Material) -> int:
    words, wrong, outcome = one(number, seed, scratch / "case", material)
    print(f"{kind_of(number, seed).name}: {words}\nexit code {outcome.code}: {wrong or 'keeps the rule'}")
    print(outcome.out.decode("utf-8", "backslashreplace"), outcome.err.decode("utf-8", "backslashreplace"), sep="\n")
    return 0 if wrong is None else 1


def kind_of(number: int, seed: int) -> Kind:
    """Return the kind of a case."""
    draw = random.Random(f"{seed} {number} kind")
    return draw.choices(list(KINDS.values()), [kind.share for kind in KINDS.values()])[0]


def one(number: int, seed: int, folder: Path, material: Material) -> tuple[str, str | None, rule.Outcome]:
    """Run a case in a folder; return the command, how it breaks the rule (None if it does not), and what it did."""
    work, logs, around = folder / "around" / "work", folder / "logs", folder / "around"
    for path in (work, logs / "home", around / "beside"):
        path.mkdir(parents=True)
    (around / "beside" / "precious.txt").write_text("precious")
    for name in POISON:
        (work / f"{name}.py").write_text(f"open({str(logs / 'ran')!r}, 'a').write({SIGN!r})\n")
    trial: Trial = kind_of(number, seed).make(Place(work=work, material=material), random.Random(f"{seed} {number}"))
    before = _outside(around, material)
    outcome = run(trial.call, work, logs)
    changed = sorted(set(before.items()) ^ set(_outside(around, material).items()))
    outcome = replace(outcome, changed=tuple(dict.fromkeys(name for name, _ in changed)), ran=(logs / "ran").exists())
    wrong = rule.broken(outcome, signals=trial.signals, encoding=trial.encoding, silent=_silent(trial))
    return " ".join(map(repr, trial.call.words)), wrong or trial.check(outcome), outcome


def _silent(trial: Trial) -> bool:
    """Whether nothing can be written to standard error."""
    return 2 in trial.call.closed or trial.call.limits.get(resource.RLIMIT_FSIZE) == 0


def _outside(around: Path, material: Material) -> dict[str, tuple[int, int]]:
    found = {name: state for name, state in rule.snapshot(around).items() if name.split("/")[0] != "work"}
    return found | {f"material/{name}": state for name, state in rule.snapshot(material.root).items()}


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
