"""ai-edge-litert, the successor of tflite-runtime."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from xedge.runtimes import Contents, Session, Settings, _interpreter
from xedge.runtimes._interpreter import InterpreterSession
from xedge.types import FloatArray, Tensor


def open_session(artifact: Path, settings: Settings) -> Session:
    """Load a .tflite file."""
    version = importlib.metadata.version("ai-edge-litert")
    return InterpreterSession(Interpreter, "ai-edge-litert", version, artifact, settings)


def read_tensors(artifact: Path, photo: Tensor) -> dict[str, FloatArray]:
    """Return every tensor of one inference by name, as real values, NHWC."""
    return _interpreter.read_tensors(Interpreter, OpResolverType, artifact, photo)


def companions(artifact: Path) -> tuple[str, ...]:
    """Return nothing: a .tflite file is whole."""
    del artifact
    return ()


def contents(artifact: Path) -> Contents:
    """Return what a .tflite file holds."""
    return _interpreter.contents(Interpreter, artifact)
