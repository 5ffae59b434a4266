"""Tell what one inference costs on the processors of Raspberry Pis: instructions, cycles, and bytes from memory.

    python benchmarks/instructions.py OURS.tflite PEERS.tflite...        # or .onnx files, or ncnn's .param files

The program runs ai-edge-litert's, ONNX Runtime's or ncnn's aarch64 wheel in QEMU with the plugin
``tests/emulated/costs.c``, which counts one inference after another one has warmed the caches. ncnn's wheel has to be
put beside the others by hand. None of the figures is a time, none comes from a board, and noise does not affect them:

- M insn: million instructions in one thread.
- M cycles: these instructions in llvm-mca's model of the processor's pipeline, in which every access to memory finds
  its value in the nearest cache. Neoverse N1 stands in for Cortex-A76.
- 4 threads: the cycles that stay on one thread, and a quarter of the others. Those that stay on one thread are in
  blocks that a second thread does not run either.
- MB: what passes between memory and simulated caches of the sizes that the boards have, without prefetching.

The program needs root on an x86-64 Debian and its package llvm-19. It takes about two minutes for each full-size model
and processor.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EMULATED = Path(__file__).resolve().parent.parent / "tests" / "emulated"


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A processor of a board.

    Args:
        board: The board.
        emulated: Its name in QEMU.
        pipeline: The name of the model of its pipeline in LLVM.
        caches: The sizes of its first and its last cache with their ways, as the plugin takes them.
    """

    board: str
    emulated: str
    pipeline: str
    caches: tuple[str, str]


PROCESSORS = (
    Processor(board="Pi 3", emulated="cortex-a53", pipeline="cortex-a53", caches=("32768:4", "524288:16")),
    Processor(board="Pi 4", emulated="cortex-a72", pipeline="cortex-a72", caches=("32768:2", "1048576:16")),
    Processor(board="Pi 5", emulated="cortex-a76", pipeline="neoverse-n1", caches=("65536:4", "2097152:16")),
)
# What the emulated Python opens an artifact with: its input's shape and type, and a function that runs it once.
RUNNER = """
import numpy as np
def opened(model, threads):
    if model.endswith(".onnx"):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        start = session.get_inputs()[0]
        kind = np.float32 if start.type == "tensor(float)" else np.uint8
        return start.shape, kind, lambda photo: session.run(None, {start.name: photo})[0]
    if model.endswith(".param"):
        import ncnn
        net = ncnn.Net()
        net.opt.num_threads = threads
        if net.load_param(model) or net.load_model(model.removesuffix("param") + "bin"):
            raise SystemExit(f"{model} cannot be loaded")
        with open(model) as file:
            start = next(line.split() for line in file if line.startswith("Input"))
        sizes = dict(one.split("=") for one in start[5:])
        def run(photo):
            extractor = net.create_extractor()
            extractor.input(net.input_names()[0], ncnn.Mat(photo))
            return np.array(extractor.extract(net.output_names()[0])[1])[None]
        return [int(sizes[axis]) for axis in "210"], np.float32, run
    from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(model, num_threads=threads)
    interpreter.allocate_tensors()
    start, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    def run(photo):
        interpreter.set_tensor(start["index"], photo)
        interpreter.invoke()
        return interpreter.get_tensor(end["index"])
    return start["shape"], start["dtype"], run
"""
# The pixels are random, because the values of a photo do not change what is executed, but zeros might.
PROGRAM = (
    RUNNER
    + """
import os, sys
from contextlib import suppress
def mark(number):
    with suppress(OSError):
        os.getpgid(number)
shape, kind, run = opened(sys.argv[1], int(sys.argv[2]))
photo = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
tensor = (photo / np.float32(127.5) - 1 if kind == np.float32 else photo.view(kind)).astype(kind)
mark(1)
run(tensor)
mark(2)
run(tensor)
mark(3)
"""
)
# Blocks are given to llvm-mca until so much of all instructions is covered; the rest takes as many cycles on average.
COVERED = 0.995
ITERATIONS = 100
# A block runs on several threads if the second thread runs at least this share of it.
SHARED = 0.02
INSTRUCTION = 8  # the hexadecimal digits of an instruction


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one inference costs on a processor.

    Args:
        instructions: The number of instructions.
        cycles: The number of cycles.
        on_one_thread: The cycles that more threads do not divide.
        memory_bytes: The bytes that pass between the caches and memory.
    """

    instructions: float
    cycles: float
    on_one_thread: float
    memory_bytes: float

    @property
    def of_four_threads(self) -> float:
        """The cycles with four threads."""
        return self.on_one_thread + (self.cycles - self.on_one_thread) / 4


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What the plugin counted.

    Args:
        memory_bytes: The bytes that passed between the caches and memory.
        first: How often each block ran on the first thread, by its instructions in hexadecimal digits.
        others: The same for the other threads.
    """

    memory_bytes: int
    first: Counter[str]
    others: Counter[str]


def built(script: str) -> Path:
    """Run a script that makes a folder if it does not exist yet, and return the path that the script prints."""
    return Path(subprocess.run([EMULATED / script], stdout=subprocess.PIPE, text=True, check=True).stdout.strip())


def packages(system: Path) -> Path:
    """Unpack the wheels in a folder where the emulated Python finds them, and return that folder."""
    site = system / "root" / "opt" / "counting"
    for wheel in (system / "wheels").glob("*.whl"):
        name, version, *_ = wheel.name.split("-")
        if name != "openvino" and not (site / f"{name}-{version}.dist-info").exists():
            zipfile.ZipFile(wheel).extractall(site)
    return site


@dataclass(frozen=True, kw_only=True)
class Emulator:
    """QEMU with its plugin, and the system whose programs it runs.

    Args:
        qemu: The folder with QEMU and the plugin.
        root: The root folder of the system.
    """

    qemu: Path
    root: Path

    def counted(self, processor: Processor, model: Path, threads: int) -> Counted:
        """Return what the plugin counts of one inference; only in one thread are the caches simulated."""
        python = self.root / "usr" / "bin" / "python3.11"
        # These settings are for the emulated program only. Its Python must not use those of this environment.
        given = ["-E", "PYTHONPATH=/opt/counting", "-E", "PYTHONHASHSEED=0", "-U", "PYTHONHOME,VIRTUAL_ENV"]
        first, last = processor.caches
        sizes = f",l1={first},l2={last}" if threads == 1 else ""
        with tempfile.NamedTemporaryFile(suffix=".txt") as out:
            command: list[str | Path] = [
                self.qemu / "qemu-aarch64",
                "-cpu",
                processor.emulated,
                "-L",
                self.root,
                *given,
            ]
            command += ["-plugin", f"{self.qemu / 'libcosts.so'},out={out.name}{sizes}", "-d", "plugin"]
            command += [python, "-c", PROGRAM, model.resolve(), str(threads)]
            environment = {"PATH": os.environ["PATH"]}
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            lines = Path(out.name).read_text().splitlines()
        if done.returncode != 0 or not lines:
            raise SystemExit(
                f"{model} on {processor.emulated}: ended with {done.returncode}: {done.stderr.strip()[-400:]}"
            )
        runs: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        for line in lines[1:]:
            code, *counts = line.split()
            for one, count in zip(runs, counts, strict=True):
                one[code] += int(count)
        return Counted(memory_bytes=int(lines[0]), first=runs[0], others=runs[1])


def cost(emulator: Emulator, processor: Processor, model: Path) -> Cost:
    """Return what one inference costs."""
    alone, two = emulator.counted(processor, model, 1), emulator.counted(processor, model, 2)
    each = cycles_of_blocks(processor, _most(alone.first))
    known = sum(_length(code) * alone.first[code] for code in each)
    everything = sum(_length(code) * runs for code, runs in alone.first.items())
    cycles = Counter({code: each[code] * alone.first[code] for code in each})
    spread = {code for code in each if two.others[code] >= SHARED * (two.first[code] + two.others[code])}
    scale = everything / known
    return Cost(
        instructions=everything,
        cycles=sum(cycles.values()) * scale,
        on_one_thread=sum(count for code, count in cycles.items() if code not in spread) * scale,
        memory_bytes=alone.memory_bytes,
    )


def _length(code: str) -> int:
    return len(code) // INSTRUCTION


def _most(runs: Mapping[str, int]) -> list[str]:
    """Return the blocks with the most instructions, until ``COVERED`` of all instructions is covered."""
    weights = {code: _length(code) * count for code, count in runs.items()}
    wanted = COVERED * sum(weights.values())
    chosen: list[str] = []
    for code in sorted(weights, key=lambda code: -weights[code]):
        if wanted <= 0:
            break
        chosen.append(code)
        wanted -= weights[code]
    return chosen


def cycles_of_blocks(processor: Processor, codes: Collection[str]) -> dict[str, float]:
    """Return the cycles that a run of each block takes when it is repeated; the model may lack some blocks."""
    texts = dict(zip(codes, _disassembled(codes), strict=True))
    regions = [f"# LLVM-MCA-BEGIN {number}\n{text}\n# LLVM-MCA-END" for number, text in enumerate(texts.values())]
    command = ["llvm-mca-19", "-mtriple=aarch64", f"-mcpu={processor.pipeline}", "-mattr=+all", "--json"]
    command += [f"--iterations={ITERATIONS}", "--skip-unsupported-instructions=any"]
    done = subprocess.run(command, input="\n".join(regions), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["CodeRegions"]
    names = list(texts)
    return {names[int(one["Name"])]: one["SummaryView"]["TotalCycles"] / ITERATIONS for one in found}


def _disassembled(codes: Iterable[str]) -> list[str]:
    """Return the assembler text of each block."""
    lines, ends = [], []
    for code in codes:
        bytes_of_each = (code[start : start + INSTRUCTION] for start in range(0, len(code), INSTRUCTION))
        lines += [" ".join(f"0x{one[i : i + 2]}" for i in range(0, INSTRUCTION, 2)) for one in bytes_of_each]
        ends.append(len(lines))
    command = ["llvm-mc-19", "--disassemble", "--triple=aarch64", "-mattr=+all"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True)
    texts = [line for line in done.stdout.splitlines() if line.strip() and not re.match(r"\s*\.", line)]
    if len(texts) != len(lines):
        raise SystemExit(f"llvm-mc made {len(texts)} lines of {len(lines)} instructions")
    return ["\n".join(texts[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def main() -> None:
    """Print a table with one row for each artifact and processor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="the artifacts to count")
    parser.add_argument("--on", nargs="+", metavar="PROCESSOR", help="the processors; all without it")
    options = parser.parse_args()
    system, qemu = built("build"), built("build-counting")
    packages(system)
    emulator = Emulator(qemu=qemu, root=system / "root")
    chosen = [one for one in PROCESSORS if options.on is None or one.emulated in options.on]
    print(
        "| processor | artifact | M insn | M cycles | 4 threads | MB | this / first: insn | cycles | 4 threads | MB |"
    )
    print("|---|---|" + "--:|" * 8)
    for processor in chosen:
        costs = [cost(emulator, processor, options.models[0])]
        print(_row(processor, options.models[0], costs), flush=True)
        for model in options.models[1:]:
            costs.append(cost(emulator, processor, model))
            print(_row(processor, model, costs), flush=True)


def _row(processor: Processor, model: Path, costs: Sequence[Cost]) -> str:
    """Return the row of the last artifact beside the first one."""
    this, first = _figures(costs[-1]), _figures(costs[0])
    cells = [f"{value:.0f}" for value in this]
    cells += [f"{value / other:.2f}" for value, other in zip(this, first, strict=True)]
    return f"| {processor.emulated} ({processor.board}) | {model.name} | {' | '.join(cells)} |"


def _figures(one: Cost) -> tuple[float, ...]:
    million = (one.instructions, one.cycles, one.of_four_threads, one.memory_bytes)
    return tuple(figure / 1e6 for figure in million)


if __name__ == "__main__":
    main()
