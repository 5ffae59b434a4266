#!/usr/bin/env python3
"""Hold `xedge run`'s median against `litert-benchmark`'s, for the same artifact and threads.

    python benchmarks/latency_against_litert.py BUNDLE [--threads 2] [--rounds 5]

Both are started in turn, so that a drift of the machine falls on both; the median over rounds of the ratio of their
medians is printed. Run it on a quiet machine: the exit code is 1 when the ratio is off by more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median


def xedge_median_ms(bundle: Path, threads: int, runs: int) -> float:
    """Return the p50 of one `xedge run`."""
    command = [sys.executable, "-m", "xedge", "run", bundle, "--threads", str(threads), "--runs", str(runs), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["latency"]["p50_ms"])


def litert_median_ms(artifact: Path, threads: int, runs: int) -> float:
    """Return the median of one `litert-benchmark` run."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        subprocess.run(
            [
                str(Path(sys.executable).with_name("litert-benchmark")),
                *(f"--model={artifact}", f"--num_threads={threads}", f"--num_runs={runs}", "--warmup_runs=10"),
                f"--result_json={result}",
            ],
            capture_output=True,
            check=True,
        )
        return float(json.loads(result.read_text())["latency"]["median_ms"])


def main() -> int:
    """Print each round and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    artifact = next(options.bundle.glob("*.tflite"))
    ratios = []
    for _ in range(options.rounds):
        ours = xedge_median_ms(options.bundle, options.threads, options.runs)
        theirs = litert_median_ms(artifact, options.threads, options.runs)
        ratios.append(ours / theirs)
        print(f"xedge run {ours:.2f} ms   litert-benchmark {theirs:.2f} ms   ratio {ratios[-1]:.3f}", flush=True)
    print(f"median ratio {median(ratios):.3f}")
    return 0 if abs(median(ratios) - 1) <= 0.05 else 1


if __name__ == "__main__":
    sys.exit(main())
