#!/usr/bin/env python3
"""Measure what int8 answers on a processor without VNNI, and write the table in docs/peers.md.

    PYTHONPATH=. python benchmarks/without_vnni.py FOLDER

The artifacts are those of the compact default, made by xedge and by other tools, with and without what the tools have
for such processors. Each answers every third of the embedded test photos, on this processor and on an emulated one that
has AVX2 and no VNNI (``tests/emulation.py``). Artifacts and answers are kept in FOLDER. The script
takes a quarter of an hour on one core. An emulator tells nothing of latencies.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.emulation import CORE, emulated
from xedge.runtimes import Settings, choose_runtime
from xedge.types import FloatArray

# What only ``main`` needs is imported there: under the emulator, where this file is run too, imports are slow.

PAGE = Path(__file__).resolve().parent.parent / "docs" / "peers.md"
SIZE = 128
# The recipes of other tools, and what they have for processors without VNNI.
PEERS = {"ort_minmax": "reduce_range", "ort_moving_average": "reduce_range", "nncf": "overflow_fix"}
ABOUT = """    PYTHONPATH=. python benchmarks/without_vnni.py FOLDER

This section was written by the command above. Without VNNI, products of uint8 and int8 are added in pairs in 16 bits,
and what does not fit is cut off ([how xedge avoids this](quantization.md)). The other tools have options for such
processors, which take one bit from every weight; both ways are shown. Each artifact, of the compact default, answered
{photos} test photos on the processor named above and on an emulated one, QEMU's {core}, which has AVX2 and no VNNI.
LiteRT's kernels add in 32 bits on every processor, so that TFLite is not in the table.
"""
HEADER = """| target | int8 artifact made by | agreement with VNNI, % | tv, % | agreement without VNNI, % | tv, % |
|---|---|---|---|---|---|"""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """An artifact that is measured.

    Args:
        target: Its target.
        title: Who made it, for the table.
        path: Its path.
        layout: The layout of its input.
    """

    target: str
    title: str
    path: Path
    layout: str


def main() -> int:
    """Make the artifacts that are missing, let them answer, and write the table; or let one answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder that keeps artifacts and answers")
    parser.add_argument("--answer", nargs=3, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        answer(*options.answer)
        return 0
    from against_peers import processor  # noqa: PLC0415
    from family_figures import MEASURED, WITHOUT_VNNI, figures, write_section  # noqa: PLC0415

    from xedge.models.compact import embedded  # noqa: PLC0415
    from xedge.photos.preprocess import scheme  # noqa: PLC0415

    options.folder.mkdir(parents=True, exist_ok=True)
    files, preprocessing = embedded.test_photos().files, scheme("tf", SIZE, SIZE, 3)
    photos = np.stack([preprocessing.photo(files[at]) for at in MEASURED])
    np.save(options.folder / "NHWC.npy", photos)
    np.save(options.folder / "NCHW.npy", photos.transpose(0, 3, 1, 2))
    reference, *measured = artifacts(options.folder)
    expected = answers(reference, options.folder, vnni=True)
    rows = [ABOUT.format(photos=len(photos), core=CORE), HEADER]
    for one in measured:
        found = [figures(answers(one, options.folder, vnni=vnni), expected) for vnni in (True, False)]
        cells = [f"{figure['agreement']:.1f} | {figure['tv']:.2f}" for figure in found]
        rows.append(f"| {one.target} | {one.title} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    write_section(WITHOUT_VNNI, [{"processor": processor()[0]}], rows, PAGE, "Processors without VNNI")
    return 0


def artifacts(folder: Path) -> list[Artifact]:
    """Return the float reference and the int8 artifacts, after making those that are missing."""
    import recipes  # noqa: PLC0415

    from xedge.converters import find_target  # noqa: PLC0415
    from xedge.models.compact import embedded  # noqa: PLC0415

    ours = folder / "xedge"
    if not ours.exists():
        python("-m", "xedge", "convert", "--target", "onnx,openvino", "--precision", "fp32,int8", "--output", ours)
    made = []
    for target, precision in (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "int8")):
        found = find_target(target)
        (path,) = (ours / f"{target}_{precision}").glob(f"*{found.suffix}")
        title = "xedge" if precision == "int8" else "float"
        made.append(Artifact(target=target, title=title, path=path, layout=found.layout))
    for vnni in (True, False):
        job = recipes.Job(
            network=str(embedded.MODEL),
            folder=str(folder / ("default" if vnni else "for_others")),
            preprocess="tf",
            size=SIZE,
            calibration=str(embedded.ROOT / "calibration"),
            count=embedded.CALIBRATION_PHOTOS,
            vnni=vnni,
        )
        Path(job.folder).mkdir(exist_ok=True)
        for name, option in PEERS.items():
            recipe = recipes.RECIPES[name]
            for step in (f"float_{recipe.target}", name):
                if not job.path(step).exists():
                    python(*recipes.command(step, job))
            title = recipe.title if vnni else f"{recipe.title}, `{option}`"
            made.append(Artifact(target=recipe.target, title=title, path=job.path(name), layout="NHWC"))
    return made[:1] + sorted(made[1:], key=lambda one: one.target)


def answers(one: Artifact, folder: Path, *, vnni: bool) -> FloatArray:
    """Return the probabilities (N, classes) of an artifact, on this processor or on one without VNNI."""
    out = folder / f"{one.title}, {one.target}, {vnni}.npy"
    if not out.exists():
        run = python if vnni else emulated
        run(__file__, folder, "--answer", one.path, folder / f"{one.layout}.npy", out)
    found: FloatArray = np.load(out)
    return found


def answer(artifact: Path, photos: Path, out: Path) -> None:
    """Write the probabilities (N, classes) that an artifact gives for photos.

    Args:
        artifact: The path of the artifact.
        photos: The .npy file of the photos (N, H, W, C), or (N, C, H, W) if the artifact takes them so.
        out: The .npy file to write.
    """
    session = choose_runtime(artifact).open(artifact, Settings(threads=1, exact=True))
    np.save(out, np.concatenate([session.run(np.ascontiguousarray(one[None])) for one in np.load(photos)]))


def python(*arguments: object) -> None:
    """Run this Python with arguments. A command that fails ends the benchmark."""
    subprocess.run([sys.executable, *map(str, arguments)], check=True)


if __name__ == "__main__":
    sys.exit(main())
