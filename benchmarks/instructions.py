"""Count the instructions of one inference on the processors of a Pi 4 and a Pi 5: a cost that noise does not touch.

Under QEMU with its instruction-counting plugin, in one thread, by ai-edge-litert's aarch64 wheel: the difference of a
run with more inferences and one with fewer, so that imports and loading do not count. Instructions are no time: memory
and the width of vectors are not seen. As root on x86-64 Debian, some 10 minutes for two full-size models:

    python benchmarks/instructions.py OURS.tflite PEERS.tflite...
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
# A photo's values do not change what is executed; zeros might.
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
    """Run a script that makes something once and prints where it is."""
    return Path(subprocess.run([EMULATED / script], stdout=subprocess.PIPE, text=True, check=True).stdout.strip())


def packages(system: Path) -> Path:
    """Unpack the wheels where the emulated Python finds them, and return the folder."""
    site = system / "root" / "opt" / "counting"
    if not site.exists():
        for wheel in (system / "wheels").glob("*.whl"):
            if not wheel.name.startswith(("onnxruntime", "openvino")):
                zipfile.ZipFile(wheel).extractall(site)
    return site


def instructions(qemu: Path, root: Path, core: str, model: Path, inferences: int) -> int:
    """Return how many instructions the whole program executes."""
    python = root / "usr" / "bin" / "python3.11"
    program = [python, "-c", PROGRAM, model.resolve(), str(inferences)]
    # Of the emulated program alone: its Python must not take this environment's settings.
    given = ["-E", "PYTHONPATH=/opt/counting", "-E", "PYTHONHASHSEED=0", "-U", "PYTHONHOME,VIRTUAL_ENV"]
    command = [qemu / "qemu-aarch64", "-cpu", core, "-L", root, *given]
    command += ["-plugin", f"{qemu / 'libinsn.so'},inline=on", "-d", "plugin", *program]
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = re.search(r"total insns: (\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        raise SystemExit(f"{model} on {core}: ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return int(found.group(1))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.tflite")
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
