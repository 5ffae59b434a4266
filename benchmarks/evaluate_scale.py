#!/usr/bin/env python3
"""Measure what `xedge evaluate` costs beside a bare loop, what a second worker brings, and how memory grows.

    python benchmarks/evaluate_scale.py BUNDLE PHOTOS [--count 50000] [--rounds 3] [--round-count 5000]

PHOTOS is a folder of labelled photos in class folders. They are repeated under other names, by a folder of links with a
CSV file of their classes, until there are as many as asked for. In each round, a bare loop (read, decode, classify; one
process, one thread), an evaluation with one worker and one with two workers take the same photos one after another.
Then two workers evaluate all of COUNT photos. The program prints photos per second, their ratios, the share of the time
for which workers were busy, and the peak memory of the client and of the workers for both numbers of photos. It also
prints the processor time for each photo, of the loop and of all processes of an evaluation together, which other
programs on the machine disturb less: that of an evaluation is what COUNT photos take beyond those of a round with two
workers. Run it on an idle machine with at least two cores. The exit code is 1 if an evaluation with one worker takes
more than 5 % longer than the loop for each photo, if two workers are less than 1.8 times as fast as one, or if a
process takes more than 5 % more memory for COUNT photos than for those of a round.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from xedge.bundle.reading import open_bundle
from xedge.measuring.starting import RunOptions
from xedge.photos.sets import PhotoFolder, read_folder
from xedge.runtimes.classifier import open_bundle_classifier

LARGEST_OVERHEAD, LEAST_SPEEDUP, LARGEST_GROWTH = 0.05, 1.8, 0.05
MEMORY_EVERY_S = 0.2


def repeated(photos: PhotoFolder, count: int, folder: Path) -> list[str]:
    """Make a folder of links to photos, as many as asked for, and a CSV file of their classes.

    Returns:
        The options of ``xedge evaluate`` that name both.
    """
    links, lines = folder / f"photos_{count}", ["file,label"]
    links.mkdir(parents=True)
    for number in range(count):
        # Photos of all classes, however few there are: those of a folder come class by class.
        index = number * len(photos.files) // count if count < len(photos.files) else number % len(photos.files)
        file = photos.files[index].resolve()
        name = f"{number:06}{file.suffix}"
        (links / name).symlink_to(file)
        lines.append(f"{name},{photos.classes[photos.truth[index]]}")
    truth = folder / f"truth_{count}.csv"
    truth.write_text("\n".join(lines) + "\n")
    return ["--data", str(links), "--truth", str(truth)]


def loop(bundle: Path, folder: Path) -> tuple[float, float]:
    """Return the photos per second of a bare loop over a folder in this process, and its processor seconds a photo."""
    one = open_bundle(bundle)
    classifier, _ = open_bundle_classifier(one, RunOptions(threads=1).settings(one))
    files = read_folder(folder).files
    start, processor = time.perf_counter(), time.process_time()
    for file in files:
        classifier.classify(one.manifest.preprocessing.pixels(file)).argmax()
    return len(files) / (time.perf_counter() - start), (time.process_time() - processor) / len(files)


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What an evaluation took.

    Args:
        per_second: The photos per second from the first chunk that was sent to the last part that was written.
        busy: The share of that time for which workers computed, 0 to 1.
        client_bytes: The peak memory of the client.
        worker_bytes: The peak memory of the largest worker.
        processor_s: The processor time of all processes together, from their start to their end.
    """

    per_second: float
    busy: float
    client_bytes: int
    worker_bytes: int
    processor_s: float


def evaluate(bundle: Path, data: list[str], workers: int) -> Evaluated:
    """Evaluate in a process of its own, as a user does."""
    with tempfile.TemporaryDirectory() as output:
        arguments = ["evaluate", str(bundle), *data, "--output", output, "--workers", str(workers)]
        with subprocess.Popen(
            [sys.executable, "-m", "xedge", *arguments], stdout=subprocess.PIPE, text=True
        ) as running:
            peaks = Peaks(running.pid)
            said, _ = running.communicate()
            peaks.ended.set()
            peaks.join()
    found = re.search(r"([\d.]+) photos/s, workers busy (\d+) %", said)
    if found is None:
        raise SystemExit(f"xedge evaluate said nothing of its speed:\n{said}")
    return Evaluated(
        per_second=float(found[1]),
        busy=int(found[2]) / 100,
        client_bytes=peaks.of.pop(running.pid),
        worker_bytes=max(peaks.of.values()),
        processor_s=sum(peaks.ticks.values()) / os.sysconf("SC_CLK_TCK"),
    )


class Peaks(threading.Thread):
    """The peak memory of a process and of all below it, looked at until it ends.

    Args:
        pid: The number of the process.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.of, self.ended = pid, dict[int, int](), threading.Event()
        self.ticks: dict[int, int] = {}
        self.start()

    def run(self) -> None:
        """Look at the processes now and then."""
        while not self.ended.wait(MEMORY_EVERY_S):
            for pid in (self.pid, *below(self.pid)):
                peak = re.search(r"VmHWM:\s+(\d+) kB", text(Path(f"/proc/{pid}/status")))
                if peak is not None:
                    self.of[pid] = int(peak[1]) * 1024
                    fields = text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
                    self.ticks[pid] = int(fields[11]) + int(fields[12]) if fields else self.ticks.get(pid, 0)


def below(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that these have."""
    children = [int(one) for one in text(Path(f"/proc/{pid}/task/{pid}/children")).split()]
    for task in Path(f"/proc/{pid}/task").glob("*"):
        children += [int(one) for one in text(task / "children").split() if int(one) not in children]
    return children + [one for child in children for one in below(child)]


def text(file: Path) -> str:
    """Return the text of one of the kernel's files; of a process that has ended, none."""
    try:
        return file.read_text()
    except OSError:
        return ""


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--round-count", type=int, default=5_000)
    parser.add_argument("--loop", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop:
        print(*loop(options.bundle, options.photos))
        return 0
    photos = read_folder(options.photos)
    with tempfile.TemporaryDirectory() as scratch:
        few = repeated(photos, options.round_count, Path(scratch) / "few")
        rounds = [one_round(options.bundle, few, number) for number in range(1, options.rounds + 1)]
        many = evaluate(options.bundle, repeated(photos, options.count, Path(scratch) / "many"), 2)
    return judged(rounds, many, options)


Round = tuple[float, float, Evaluated, Evaluated]


def one_round(bundle: Path, data: list[str], number: int) -> Round:
    """Take the same photos in a bare loop, with one worker and with two."""
    command = [sys.executable, __file__, str(bundle), data[1], "--loop"]
    # As Dask sets it for its workers.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    bare, processor_s = map(float, said.split())
    one, two = (evaluate(bundle, data, workers) for workers in (1, 2))
    print(
        f"round {number}: loop {bare:.1f} photos/s, one worker {one.per_second:.1f} ({bare / one.per_second - 1:+.1%} "
        f"time, busy {one.busy:.0%}), two {two.per_second:.1f} ({two.per_second / one.per_second:.2f} times one, "
        f"busy {two.busy:.0%})",
        flush=True,
    )
    return bare, processor_s, one, two


def judged(rounds: list[Round], many: Evaluated, options: argparse.Namespace) -> int:
    """Print the medians over the rounds and the memory; return the exit code."""
    overhead = median(bare / one.per_second - 1 for bare, _, one, _ in rounds)
    speedup = median(two.per_second / one.per_second for _, _, one, two in rounds)
    last = rounds[-1][3]
    growth = {
        "client": many.client_bytes / last.client_bytes - 1,
        "largest worker": many.worker_bytes / last.worker_bytes - 1,
    }
    print(f"one worker takes {overhead:+.1%} time of the loop; two workers are {speedup:.2f} times as fast as one")
    alone = median(seconds for _, seconds, _, _ in rounds)
    few_s = median(two.processor_s for _, _, _, two in rounds)
    together = (many.processor_s - few_s) / (options.count - options.round_count)
    print(
        f"processor time for each photo: loop {1000 * alone:.2f} ms, evaluation {1000 * together:.2f} ms in all its "
        f"processes ({together / alone - 1:+.1%})"
    )
    print(f"{options.count} photos on two workers: {many.per_second:.1f} photos/s, busy {many.busy:.0%}")
    for name, few_bytes, many_bytes in (
        ("client", last.client_bytes, many.client_bytes),
        ("largest worker", last.worker_bytes, many.worker_bytes),
    ):
        print(
            f"peak memory of the {name}: {few_bytes / 1e6:.0f} MB for {options.round_count} photos, "
            f"{many_bytes / 1e6:.0f} MB for {options.count} ({growth[name]:+.1%})"
        )
    good = overhead <= LARGEST_OVERHEAD and speedup >= LEAST_SPEEDUP and max(growth.values()) <= LARGEST_GROWTH
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
