"""A target and its runtime, in one module of another package: ONNX files that are compressed with gzip."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from xedge.converters import Form, Target
from xedge.converters.onnx import TARGET as ONNX
from xedge.runtimes import Runtime, Session, Settings, Wheel

if TYPE_CHECKING:
    from xedge.graph.ir import Graph
    from xedge.quantization.plan import Plan
    from xedge.types import FloatArray, Tensor


def convert(graph: Graph, form: Form, plan: Plan | None = None) -> Mapping[str, bytes]:
    """Return the .packed file."""
    TARGET.check(form)
    return {".packed": gzip.compress(ONNX.convert(graph, form, plan)[".onnx"], mtime=0)}


TARGET = Target(
    name="packed",
    title="Packed ONNX",
    suffix=".packed",
    aliases=("onnx.gz",),
    by_name_only=True,
    layout=ONNX.layout,
    precisions=ONNX.precisions,
    ends=ONNX.ends,
    batches=True,
    rules=ONNX.rules,
    convert=convert,
)
RUNTIME = Runtime(
    name="packed",
    package="onnxruntime",
    import_name="onnxruntime",
    session=__name__,
    suffixes=(".packed",),
    wheel=Wheel(probe="onnxruntime", glibc=(2, 27)),
)


def open_session(artifact: Path, settings: Settings) -> Session:
    """Unpack a .packed file and load it."""
    from xedge.runtimes.onnxruntime.session import OnnxSession

    with tempfile.TemporaryDirectory() as folder:
        return OnnxSession(_unpacked(artifact, folder), settings)


def read_tensors(artifact: Path, photo: Tensor) -> dict[str, FloatArray]:
    """Return every tensor of one inference by name, as real values, NHWC."""
    from xedge.runtimes.onnxruntime import session

    with tempfile.TemporaryDirectory() as folder:
        return session.read_tensors(_unpacked(artifact, folder), photo)


def _unpacked(artifact: Path, folder: str) -> Path:
    file = Path(folder) / "model.onnx"
    file.write_bytes(gzip.decompress(artifact.read_bytes()))
    return file
