"""The command lines with which TensorRT's own tool makes an engine of an .onnx file on the device."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from xedge.bundle.manifest import Manifest
from xedge.vocabulary import Precision

# Up to version 10, options tell the builder which narrower types it may use; what is not int8 may be half. In version
# 11 every network is strongly typed, and these options are gone.
NARROWED: dict[str, dict[Precision, str]] = {
    "8": {"fp16": " --fp16", "int8": " --int8 --fp16"},
    "10": {"fp16": " --stronglyTyped", "int8": " --int8 --fp16"},
    "11": {},
}
MOST_PHOTOS = 16


def trtexec(artifact: str, precision: Precision, shape: tuple[int, ...], name: str) -> dict[str, str]:
    """Return the command line for each major version of TensorRT.

    Args:
        artifact: The path of the .onnx file.
        precision: The precision of the artifact.
        shape: The shape of the artifact's input; a batch of -1 becomes a profile of 1 to 16 photos.
        name: The name of the artifact's input.
    """
    profile = ""
    if shape[0] == -1:
        photo = "x".join(map(str, shape[1:]))
        counts = (("min", 1), ("opt", 1), ("max", MOST_PHOTOS))
        profile = "".join(f" --{kind}Shapes={name}:{photos}x{photo}" for kind, photos in counts)
    engine = artifact.removesuffix(".onnx") + ".engine"
    line = f"trtexec {shlex.quote(f'--onnx={artifact}')} {shlex.quote(f'--saveEngine={engine}')}{profile}"
    return {version: line + narrowed.get(precision, "") for version, narrowed in NARROWED.items()}


def next_steps(path: Path, manifest: Manifest) -> Sequence[str]:
    """Return the lines that tell how an engine is made of a bundle on the device."""
    lines = trtexec(str(path / manifest.artifact), manifest.precision, manifest.input.shape, manifest.input.name)
    word = {version: f"TensorRT {version}" for version in lines}
    return ["On the Jetson:", *(f"  {word[version]:<12} {line}" for version, line in lines.items())]
