"""ai-edge-litert, the successor of tflite-runtime."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter

from xedge.runtimes import Session
from xedge.runtimes._interpreter import InterpreterSession


def open_session(artifact: Path, threads: int) -> Session:
    """Load a .tflite file."""
    version = importlib.metadata.version("ai-edge-litert")
    return InterpreterSession(Interpreter, "ai-edge-litert", version, artifact, threads)
