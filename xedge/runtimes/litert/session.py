"""ai-edge-litert, the successor of tflite-runtime."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from xedge.runtimes import Contents, Session, Settings, _interpreter
from xedge.runtimes._interpreter import InterpreterSession
from xedge.runtimes.litert.matching import match
from xedge.runtimes.litert.profiling import kernel_times_apart
from xedge.types import FloatArray, Tensor

# The number of inferences over which a kernel's time is the mean.
PROFILED = 20


class LitertSession(InterpreterSession):
    """An interpreter whose operators can be timed."""

    def times(self, photo: Tensor) -> dict[str, float]:
        """Return the mean milliseconds of each operator, by the name of the tensor that it makes.

        Nothing is told where LiteRT has no profiler, where XNNPACK takes the operators in several pieces, and where
        its kernels cannot be matched with the operators.
        """
        operators = self._interpreter._get_ops_details()
        own = [op for op in operators if op["op_name"] != "DELEGATE"]
        if self.execution().delegated != len(own):
            return {}
        output = np.dtype(self._interpreter.get_output_details()[0]["dtype"]).name
        told = kernel_times_apart(self._artifact, self._threads, photo, output, PROFILED)
        if told is None or not all(kernel.delegated for kernel in told.kernels):
            return {}
        names = {t["index"]: t["name"] for t in self._interpreter.get_tensor_details()}
        places = match([op["op_name"] for op in own], [kernel.kernel for kernel in told.kernels])
        times: dict[str, float] = {}
        for place, kernel in zip(places or (), told.kernels if places else (), strict=True):
            name = names[int(own[place]["outputs"][0])]
            times[name] = times.get(name, 0.0) + kernel.ms
        return times


def open_session(artifact: Path, settings: Settings) -> Session:
    """Load a .tflite file."""
    version = importlib.metadata.version("ai-edge-litert")
    return LitertSession(Interpreter, "ai-edge-litert", version, artifact, settings)


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
