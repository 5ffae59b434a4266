"""Count the instructions that one inference executes on the processors of a Raspberry Pi 4 and 5.

    python benchmarks/instructions.py OURS.tflite PEERS.tflite...

Unlike a timing, this count is not affected by noise. The program runs ai-edge-litert's aarch64 wheel in one thread in
QEMU with its instruction-counting plugin. It subtracts the count of a run with fewer inferences from that of a run with
more, so that imports and loading are left out. The number of instructions does not determine the time, because it takes
neither the memory nor the width of the vector units into account. The program needs root on an x86-64 Debian, and takes
some 10 minutes for two full-size models.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import zipfile
from pathlib import Path

EMULATED = Path(__file__).resolve().parent.parent / "tests" / "emulated"
CORES = ("cortex-a72", "cortex-a76")
FEW, MORE = 1, 3
# The pixels are random, because the values of a photo do not change what is executed, but zeros might.
PROGRAM = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
start = interpreter.get_input_details()[0]
photo = np.random.default_rng(0).integers(0, 256, start["shape"]).astype(np.uint8)
tensor = photo / np.float32(127.5) - 1 if start["dtype"] == np.float32 else photo.view(start["dtype"])
interpreter.set_tensor(start["index"], tensor.astype(start["dtype"]))
for _ in range(int(sys.argv[2])):
    interpreter.invoke()
"""


def built(script: str) -> Path:
    """Run a script that makes a folder if it does not exist yet, and return the path that the script prints."""
    return Path(subprocess.run([EMULATED / script], stdout=subprocess.PIPE, text=True, check=True).stdout.strip())


def packages(system: Path) -> Path:
    """Unpack the wheels in a folder where the emulated Python finds them, and return that folder."""
    site = system / "root" / "opt" / "counting"
    if not site.exists():
        for wheel in (system / "wheels").glob("*.whl"):
            if not wheel.name.startswith(("onnxruntime", "openvino")):
                zipfile.ZipFile(wheel).extractall(site)
    return site


def instructions(qemu: Path, root: Path, core: str, model: Path, inferences: int) -> int:
    """Return the number of instructions that the whole program executes.

    Args:
        qemu: The folder with QEMU and its plugin.
        root: The root folder of the emulated system.
        core: The name of the processor that QEMU emulates.
        model: The TFLite artifact.
        inferences: The number of inferences.
    """
    python = root / "usr" / "bin" / "python3.11"
    program: list[str | Path] = [python, "-c", PROGRAM, model.resolve(), str(inferences)]
    # These settings are for the emulated program only. Its Python must not use those of this environment.
    given = ["-E", "PYTHONPATH=/opt/counting", "-E", "PYTHONHASHSEED=0", "-U", "PYTHONHOME,VIRTUAL_ENV"]
    command: list[str | Path] = [qemu / "qemu-aarch64", "-cpu", core, "-L", root, *given]
    command += ["-plugin", f"{qemu / 'libinsn.so'},inline=on", "-d", "plugin", *program]
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = re.search(r"total insns: (\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        raise SystemExit(f"{model} on {core}: ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return int(found.group(1))


def main() -> None:
    """Print a table with one row for each artifact."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.tflite", help="the artifacts to count")
    models = parser.parse_args().models
    system, qemu = built("build"), built("build-counting")
    root = system / "root"
    packages(system)
    print("| artifact | " + " | ".join(f"{core}, million" for core in CORES) + " |")
    print("|---|" + "--:|" * len(CORES))
    first: dict[str, float] = {}
    for model in models:
        cells = []
        for core in CORES:
            few, more = (instructions(qemu, root, core, model, count) for count in (FEW, MORE))
            each = (more - few) / (MORE - FEW)
            ratio = first.setdefault(core, each) / each
            cells.append(f"{each / 1e6:.0f} (first / this: {ratio:.2f})")
        print(f"| {model.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
