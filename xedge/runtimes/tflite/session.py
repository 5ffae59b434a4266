"""tflite-runtime, for the systems that ai-edge-litert has no wheel for; it needs NumPy 1."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np

from xedge.errors import MissingRuntimeError
from xedge.runtimes import Contents, Session, Settings, _interpreter
from xedge.runtimes._interpreter import InterpreterSession
from xedge.types import FloatArray, Tensor

if int(np.__version__.split(".")[0]) >= 2:
    # Its extension was built against NumPy 1 and dies in ways that name neither; its metadata does not say so.
    raise MissingRuntimeError(
        f"tflite-runtime works with NumPy 1 only and NumPy {np.__version__} is installed; pip install 'numpy<2'"
    )

from tflite_runtime.interpreter import Interpreter, OpResolverType


def open_session(artifact: Path, settings: Settings) -> Session:
    """Load a .tflite file."""
    version = importlib.metadata.version("tflite-runtime")
    return InterpreterSession(Interpreter, "tflite-runtime", version, artifact, settings)


def read_tensors(artifact: Path, photo: Tensor) -> dict[str, FloatArray]:
    """Return every tensor of one inference by name, as real values, NHWC."""
    return _interpreter.read_tensors(Interpreter, OpResolverType, artifact, photo)


def constants(artifact: Path) -> dict[str, Tensor]:
    """Return the constants of a .tflite file, and the scales of its tensors."""
    return _interpreter.constants(Interpreter, OpResolverType, artifact)


def companions(artifact: Path) -> tuple[str, ...]:
    """Return nothing: a .tflite file is whole."""
    del artifact
    return ()


def contents(artifact: Path) -> Contents:
    """Return what a .tflite file holds."""
    return _interpreter.contents(Interpreter, artifact)
