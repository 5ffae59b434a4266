#!/usr/bin/env python3
"""Measure the size of the device side and the overhead of `xedge run` over the runtime's own benchmark tool.

    python benchmarks/overhead.py BUNDLE [--threads 2] [--rounds 5]

The program installs the wheel of this checkout with its litert extra in a new environment, and prints the size and the
packages of that environment. In each round it times the same artifact with `xedge run` and with `litert-benchmark`, one
after the other, so that both are affected if the machine changes its pace. It prints the medians over the rounds. Run
it on an idle machine. The exit code is 1 if the median latency of `xedge run` is more than 2 % higher than that of
`litert-benchmark`, or if its peak memory is more than 10 % higher.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from xedge.remote.wheel import write_wheel

LARGEST_TIME, LARGEST_MEMORY = 0.02, 0.10
# The packages that every environment has before anything is installed.
OWN = ("pip", "setuptools", "wheel")


def environment(folder: Path) -> Path:
    """Install the device side in a new environment, print its size, and return its Python.

    Args:
        folder: The folder in which the environment is made.
    """
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    wheel = write_wheel(folder)
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[litert]"], check=True, capture_output=True)
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    names = sorted(one["name"] for one in json.loads(listed.stdout) if one["name"] not in OWN)
    site = next((folder / "lib").glob("python*/site-packages"))
    sizes = {entry.name: size(entry) for entry in site.iterdir() if not entry.name.startswith(OWN)}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:5]
    print(f"installed: {sum(sizes.values()) / 1e6:.0f} MB in {len(names)} packages: {', '.join(names)}")
    print("largest:   " + ", ".join(f"{name} {sizes[name] / 1e6:.1f} MB" for name in largest))
    return python


def size(entry: Path) -> int:
    """Return the size of a file or folder in bytes, without compiled Python files."""
    files = entry.rglob("*") if entry.is_dir() else [entry]
    return sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc")


def peak_bytes(command: Sequence[object]) -> tuple[int, str]:
    """Run a program, and return its peak memory in bytes and what it printed."""
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen([str(part) for part in command], stdout=out, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"{command[0]} ended with {os.waitstatus_to_exitcode(status)}")
        out.seek(0)
        return used.ru_maxrss * 1024, out.read()


def seconds(command: Sequence[object]) -> float:
    """Return the median time in seconds that a program takes, over five runs."""
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([str(part) for part in command], check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return median(taken)


def main() -> int:
    """Print what is installed, the figures of each round, and the median ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a bundle for TFLite")
    parser.add_argument("--threads", type=int, default=2, help="the number of threads for one inference (2)")
    parser.add_argument("--rounds", type=int, default=5, help="the number of rounds (5)")
    parser.add_argument("--runs", type=int, default=100, help="the number of inferences timed in a round (100)")
    options = parser.parse_args()
    artifact = next(options.bundle.glob("*.tflite"))
    times, memories, starts = [], [], []
    with tempfile.TemporaryDirectory(prefix="xedge-") as folder:
        python = environment(Path(folder))
        bare = seconds([python, "-c", "pass"])
        for words in ("xedge", "xedge.cli.main", "xedge.measuring.run", "ai_edge_litert.interpreter"):
            print(
                f"import {words}: {1000 * (seconds([python, '-c', f'import {words}']) - bare):.0f} ms over Python alone"
            )
        ours = [python, "-m", "xedge", "run", options.bundle, "--threads", options.threads, "--runs", options.runs]
        theirs = [python.with_name("litert-benchmark"), f"--model={artifact}", f"--num_threads={options.threads}"]
        for _ in range(options.rounds):
            result = Path(folder) / "result.json"
            memory, printed = peak_bytes([*ours, "--limit", 1, "--json"])
            report = json.loads(printed)
            bare_memory, _ = peak_bytes([*theirs, f"--num_runs={options.runs}", f"--result_json={result}"])
            theirs_ms = float(json.loads(result.read_text())["latency"]["median_ms"])
            times.append(report["latency"]["p50_ms"] / theirs_ms)
            memories.append(memory / bare_memory)
            starts.append(report["phases"]["start_to_first_result_ms"])
            print(
                f"xedge run {report['latency']['p50_ms']:.2f} ms {memory / 1e6:.0f} MB   "
                f"litert-benchmark {theirs_ms:.2f} ms {bare_memory / 1e6:.0f} MB   "
                f"ratios {times[-1]:.3f} {memories[-1]:.3f}",
                flush=True,
            )
    print(f"median ratios: time {median(times):.3f}, peak memory {median(memories):.3f}")
    print(f"start to first result: {median(starts):.0f} ms")
    return 0 if median(times) - 1 <= LARGEST_TIME and median(memories) - 1 <= LARGEST_MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
