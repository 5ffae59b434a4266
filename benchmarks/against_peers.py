#!/usr/bin/env python3
"""Make the artifacts of xedge and of other tools, measure all of them in one run, and write the comparison.

    XEDGE_SHARED=DIR python benchmarks/against_peers.py FOLDER

The artifacts are kept in FOLDER; those that are already there are not made again. The script takes about 20 minutes on
two idle cores, and the other tools need 6 GB of memory to make their ONNX artifacts. It writes the figures and the
versions to docs/peers.json and the tables to docs/peers.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from family_figures import EVERY_FAMILY, WITHOUT_VNNI, section

from xedge.converters import find_target, target_names
from xedge.vocabulary import PRECISIONS

TARGETS = target_names("all")
DOCS = Path(__file__).resolve().parent.parent / "docs"
SUFFIXES = {name: find_target(name).suffix for name in TARGETS}
# The files of other tools that each target is compared with, and their names in the tables.
PEERS = {
    "tflite": {
        "float_tflite.tflite": "TFLiteConverter fp32",
        "litert_quantizer_int8.tflite": "litert-quantizer int8",
        "tfliteconverter_int8.tflite": "TFLiteConverter int8",
    },
    "onnx": {
        "float_onnx.onnx": "tf2onnx fp32",
        "ort_u8s8_moving_average.onnx": "ONNX Runtime uint8, moving average",
        "ort_s8s8_minmax.onnx": "ONNX Runtime int8, min-max",
    },
    "openvino": {"float_openvino.xml": "Keras export fp32", "nncf_int8.xml": "NNCF int8"},
}
BEST_INT8 = {
    "tflite": "litert_quantizer_int8.tflite",
    "onnx": "ort_u8s8_moving_average.onnx",
    "openvino": "nncf_int8.xml",
}
INTRODUCTION = """# Comparison with other tools

This page has a section on each of three comparisons: the full-size Xception with latencies, the compact default on
[processors without VNNI](#processors-without-vnni), and [every family](#every-family) of networks. Agreement is the
share of photos with the same first class as float, and total variation (tv) the mean total variation distance between
the probabilities of the artifact and those of float.

What artifacts for TFLite cost on the processors of Raspberry Pis [was counted
too](raspberry-pi.md#what-an-inference-costs), and so was [a file of ncnn](raspberry-pi.md#ncnn).
"""
ABOUT = """## The full-size Xception

    XEDGE_SHARED=DIR python benchmarks/against_peers.py FOLDER

This section was written by the command above. It shows the full-size Xception (84 MB in Keras), calibrated on 100
photos. Agreement and tv were measured on the 713 photos of the test and validation splits, and top-1 on the 372 photos
of the test split. All artifacts were measured in one run with interleaved timings. The last two columns give the ratio
of the latency to that of the best int8 artifact of another tool for the same target, which is set in bold.
"""
HEADER = "| artifact | top-1, % | agreement, % | tv, % | MB | ms, 1 thread | ms, 2 threads |"
HEADER += " ratio, 1 thread | ratio, 2 threads |"
PACKAGES = (
    *("xedge", "ai-edge-litert", "litert-quantizer", "tensorflow-cpu", "tensorflow", "keras", "onnx", "onnxruntime"),
    *("tf2onnx", "openvino", "nncf", "numpy"),
)


def main() -> int:
    """Make the artifacts that are missing, measure all of them, and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder that keeps the artifacts")
    parser.add_argument("--blocks", type=int, default=8, help="the number of interleaved blocks of five inferences (8)")
    parser.add_argument("--measured", type=Path, help="use this JSON file of an earlier run instead of measuring")
    options = parser.parse_args()
    rows = json.loads((options.measured or measured(options.folder, options.blocks)).read_text())
    found = {"processor": processor()[0], "versions": versions(), "rows": [named(row) for row in rows]}
    (DOCS / "peers.json").write_text(json.dumps(found, indent=1) + "\n")
    page = DOCS / "peers.md"
    others = [section(mark, page) for mark in (WITHOUT_VNNI, EVERY_FAMILY)]
    page.write_text("\n".join([INTRODUCTION, markdown(found), *others]))
    return 0


def measured(folder: Path, blocks: int) -> Path:
    """Make the artifacts that are missing, measure all of them, and return the path of the JSON file."""
    shared = Path(os.environ["XEDGE_SHARED"])
    model, train = shared / "data" / "xception_clothing.keras", shared / "data" / "clothing" / "train"
    peers, ours, result = folder / "peers", folder / "xedge", folder / "measured.json"
    if not (peers / BEST_INT8["openvino"]).exists():
        python(shared / "peers" / "make.py", model, peers)
    if not (ours / "openvino_int8").exists():
        converted = ("--target", "all", "--precision", "all", "--calibration", train, "--output", ours)
        python("-m", "xedge", "convert", model, *converted)
    artifacts = [
        next((ours / f"{target}_{precision}").glob(f"*{SUFFIXES[target]}"))
        for target in TARGETS
        for precision in PRECISIONS
    ]
    artifacts += [peers / name for names in PEERS.values() for name in names]
    settings = ("--threads", 1, 2, "--blocks", blocks, "--json", result)
    python(shared / "peers" / "measure.py", "--reference", peers / "float_onnx.onnx", *artifacts, *settings)
    return result


def python(*arguments: object) -> None:
    """Run this Python with arguments. A command that fails ends the benchmark."""
    subprocess.run([sys.executable, *map(str, arguments)], check=True)


def named(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its target and its name in the table instead of a path on this machine."""
    path = Path(row["artifact"])
    for target, names in PEERS.items():
        if path.name in names:
            return {**row, "artifact": names[path.name], "target": target, "file": path.name}
    target = next(name for name, suffix in SUFFIXES.items() if suffix == path.suffix)
    precision = path.stem.rsplit("_", 1)[-1]
    return {**row, "artifact": f"xedge {precision}", "target": target, "file": path.name}


def versions() -> dict[str, str]:
    """Return the versions of Python and of all packages that were used."""
    installed = {
        found.metadata["Name"].lower().replace("_", "-"): found.version for found in importlib.metadata.distributions()
    }
    return {"python": platform.python_version(), **{name: installed[name] for name in PACKAGES if name in installed}}


def processor() -> tuple[str, str]:
    """Return the processor's name with the extensions that int8 and bf16 kernels use, and its kind."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    telling = ("avx2", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    has = [flag for flag in telling if flag in flags]
    return f"{name}, {os.cpu_count()} cores, {' '.join(has)}", "vnni" if any("vnni" in flag for flag in has) else "none"


def markdown(found: dict[str, Any]) -> str:
    """Return the tables of what was measured, one for each target."""
    tools = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    parts = [ABOUT, f"Measured on {found['processor']}. {tools}.\n"]
    for target in TARGETS:
        rows = [row for row in found["rows"] if row["target"] == target]
        base = next(row for row in rows if row["file"] == BEST_INT8[target])["median_ms"]
        parts.append(f"### {target}\n")
        parts.append(HEADER)
        parts.append("|---|---|---|---|---|---|---|---|---|")
        parts.extend(line(row, base, bold=row["file"] == BEST_INT8[target]) for row in rows)
        parts.append("")
    return "\n".join(parts)


def line(row: dict[str, Any], base: dict[str, float], *, bold: bool) -> str:
    """Return one row of a table.

    Args:
        row: The measured figures of one artifact.
        base: The median latency of the best int8 artifact of another tool, by number of threads.
        bold: Whether the artifact is that one.
    """
    ms = row["median_ms"]
    cells = [
        f"**{row['artifact']}**" if bold else row["artifact"],
        f"{100 * row['top1_test']:.2f}",
        f"{100 * row['agreement']:.2f}",
        f"{row['tv_percent']:.2f}",
        f"{row['size_mb']:.2f}",
        *(f"{ms[threads]:.1f}" for threads in ("1", "2")),
        *(f"{ms[threads] / base[threads]:.2f}" for threads in ("1", "2")),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
