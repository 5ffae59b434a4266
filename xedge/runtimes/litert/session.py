"""ai-edge-litert, the successor of tflite-runtime."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from xedge.runtimes import Contents, Session, Settings, TimedOperation, _interpreter
from xedge.runtimes._interpreter import InterpreterSession, operation_of, partitioned
from xedge.runtimes.litert.matching import placed
from xedge.runtimes.litert.profiling import kernel_times_apart
from xedge.types import FloatArray, Tensor

# The number of inferences over which a kernel's time is the mean.
PROFILED = 20
# The kernels of the interpreter itself that share their work among threads; the others run on one.
SHARED_WORK = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL")


class LitertSession(InterpreterSession):
    """An interpreter whose operators can be timed."""

    def timed(self, photo: Tensor) -> list[TimedOperation]:
        """Return the operators with the mean times of their kernels, each under the name of the tensor that it makes.

        Nothing is told where LiteRT has no profiler, or where XNNPACK's kernels cannot be matched with the operators.
        """
        output = np.dtype(self._interpreter.get_output_details()[0]["dtype"]).name
        told = kernel_times_apart(self._artifact, self._threads, photo, output, PROFILED)
        own, partitions = partitioned(self._interpreter._get_ops_details())
        places = None if told is None else placed([op["op_name"] for op in own], partitions, told.kernels)
        if told is None or places is None:
            return []
        tensors = {t["index"]: t for t in self._interpreter.get_tensor_details()}
        timed = []
        for place, kernel in zip(places, told.kernels, strict=True):
            operation = operation_of(own[place], tensors)
            if operation is not None:
                alone = not kernel.delegated and operation.kind not in SHARED_WORK
                timed.append(
                    TimedOperation(
                        name=tensors[int(own[place]["outputs"][0])]["name"],
                        ms=kernel.ms,
                        kernel=kernel.kernel,
                        operation=operation,
                        threads=1 if alone else self._threads,
                        delegated=kernel.delegated if partitions else None,
                    )
                )
        return timed


def open_session(artifact: Path, settings: Settings) -> Session:
    """Load a .tflite file."""
    version = importlib.metadata.version("ai-edge-litert")
    return LitertSession(Interpreter, "ai-edge-litert", version, artifact, settings)


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
