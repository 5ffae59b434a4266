"""The time of each kernel in an inference, from the profiler that LiteRT's C library has and its Python package hides.

The functions and structures are those of ``litert/c`` in the sources of LiteRT 2.3. A newer version may have others,
with which a call would crash, so this module is run in a process of its own.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from ctypes import c_bool, c_char_p, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xedge.native_log import native_log
from xedge.processes import python_module, reason, run_python
from xedge.types import Tensor

log = logging.getLogger(__name__)
LIBRARY = "libLiteRt.so"
# Longer than twenty inferences of a large network on a small board.
LONGEST_S = 300.0
# Before this version, some of the functions took other arguments.
OLDEST = (2, 3)
# LiteRT's numbers for types of elements, for a way to lock a buffer, for the CPU, and for kinds of events.
ELEMENTS = {"float32": 1, "uint8": 3, "int8": 9}
WRITE, CPU, OPERATOR, DELEGATE_OPERATOR = 1, 1, 2, 8
KERNELS = (OPERATOR, DELEGATE_OPERATOR)
INVOKE = (b"Invoke", 1)
# The text of an option is left to Python, which made it.
KEEP = ctypes.CFUNCTYPE(None, c_void_p)(lambda _: None)
FUNCTIONS = ("LiteRtCompiledModelGetProfiler", "LiteRtStartProfiler", "LiteRtGetProfilerEvents")
WARM_UP = 5


class _Memory(ctypes.Structure):
    _fields_ = (("allocated", c_size_t), ("in_use", c_size_t), ("footprint", c_size_t))


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", c_char_p),
        ("kind", c_int),
        ("start_us", c_uint64),
        ("elapsed_us", c_uint64),
        ("memory_before", _Memory),
        ("memory_after", _Memory),
        ("index", c_uint64),
        ("more", c_uint64),
        ("source", c_int),
    )


class _Layout(ctypes.Structure):
    _fields_ = (("rank", c_uint32), ("dimensions", c_int32 * 8), ("strides", c_uint32 * 8))


class _TensorType(ctypes.Structure):
    _fields_ = (("element", c_int), ("layout", _Layout))


@dataclass(frozen=True, kw_only=True)
class KernelTime:
    """One kernel in an inference.

    Args:
        kernel: The runtime's name for the kernel.
        index: The operator's index in the file; of a kernel of XNNPACK, the kernel's index in its partition.
        delegated: Whether it is a kernel of XNNPACK.
        ms: The mean time in milliseconds.
    """

    kernel: str
    index: int
    delegated: bool
    ms: float


@dataclass(frozen=True, kw_only=True)
class KernelTimes:
    """The kernels of an inference in the order of execution.

    Args:
        kernels: The kernels.
        whole_ms: The mean time in milliseconds that the interpreter took for the same inferences.
    """

    kernels: tuple[KernelTime, ...]
    whole_ms: float


@dataclass(frozen=True)
class _Library:
    """LiteRT's C functions, whose statuses become exceptions."""

    functions: Any

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.functions, f"LiteRt{name}")(*arguments)
        if status != 0:
            raise RuntimeError(f"LiteRt{name} answers with status {status}")

    def made(self, name: str, *arguments: Any) -> c_void_p:
        """Return the handle that a function stores where its last argument points."""
        handle = c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    def owned(self, stack: ExitStack, name: str, *arguments: Any, kind: str) -> c_void_p:
        """Return a handle that is destroyed with the stack."""
        handle = self.made(name, *arguments)
        destroy = getattr(self.functions, f"LiteRtDestroy{kind}")
        destroy.restype = None
        stack.callback(destroy, handle)
        return handle


def kernel_times_apart(artifact: Path, threads: int, photo: Tensor, output: str, inferences: int) -> KernelTimes | None:
    """Return the mean times of an inference's kernels, measured in a process of its own; None if they cannot be told.

    Args:
        artifact: The .tflite file.
        threads: The number of threads for one inference.
        photo: The input (1, H, W, C) in the artifact's type.
        output: The NumPy name of the output's type.
        inferences: The number of inferences over which times are means.
    """
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        np.save(Path(scratch) / "photo.npy", photo)
        words = (str(artifact.resolve()), str(threads), str(Path(scratch) / "photo.npy"), output, str(inferences))
        done = run_python(python_module(__name__, *words), LONGEST_S)
    if done.returncode:
        log.debug("no times of kernels: %s", reason(done))
        return None
    told = json.loads(done.stdout.splitlines()[-1])
    if told is None:
        return None
    return KernelTimes(kernels=tuple(KernelTime(**one) for one in told["kernels"]), whole_ms=told["whole_ms"])


def main() -> int:
    """Measure with the arguments of ``kernel_times_apart``, and print what was found as JSON."""
    artifact, threads, photo, output, inferences = sys.argv[1:]
    found = importlib.util.find_spec("ai_edge_litert")
    places = list(found.submodule_search_locations or ()) if found is not None else []
    version = importlib.metadata.version("ai-edge-litert")
    told = kernel_times(Path(places[0]), version, Path(artifact), int(threads), np.load(photo), output, int(inferences))
    print(json.dumps(None if told is None else asdict(told)))
    return 0


def kernel_times(
    package: Path, version: str, artifact: Path, threads: int, photo: Tensor, output: str, inferences: int
) -> KernelTimes | None:
    """Return the mean times of an inference's kernels; None if the installed package has no such profiler.

    Args:
        package: The folder of the package ``ai_edge_litert``.
        version: The package's version.
        artifact: The .tflite file.
        threads: The number of threads for one inference.
        photo: The input (1, H, W, C) in the artifact's type.
        output: The NumPy name of the output's type.
        inferences: The number of inferences over which times are means.
    """
    library = _library(package, version)
    if library is None or str(photo.dtype) not in ELEMENTS or output not in ELEMENTS:
        return None
    with native_log(), ExitStack() as stack:
        try:
            model, run = _prepared(library, stack, artifact, threads, photo, ELEMENTS[output])
            profiler = library.made("CompiledModelGetProfiler", model)
            for _ in range(WARM_UP):
                run()
            library.call("StartProfiler", profiler)
            for _ in range(inferences):
                run()
            library.call("StopProfiler", profiler)
            # The texts of events belong to the profiler, which goes with the model.
            events = _events(library, profiler)
            kernels = _means([event for event in events if event.kind in KERNELS], inferences)
        except RuntimeError:
            return None
        whole_us = sum(event.elapsed_us for event in events if (event.tag, event.kind) == INVOKE)
        return KernelTimes(kernels=kernels, whole_ms=whole_us / inferences / 1000) if kernels and whole_us else None


def _library(package: Path, version: str) -> _Library | None:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST or not (package / LIBRARY).is_file():
        return None
    try:
        functions = ctypes.CDLL(str(package / LIBRARY))
    except OSError:
        return None
    return _Library(functions) if all(hasattr(functions, name) for name in FUNCTIONS) else None


def _prepared(
    library: _Library, stack: ExitStack, artifact: Path, threads: int, photo: Tensor, output: int
) -> tuple[c_void_p, Any]:
    """Return a compiled model with a profiler, and a function that runs it once."""
    environment = library.owned(stack, "CreateEnvironment", 0, None, kind="Environment")
    model = library.owned(stack, "CreateModelFromFile", environment, str(artifact).encode(), kind="Model")
    options = library.owned(stack, "CreateOptions", kind="Options")
    library.call("SetOptionsHardwareAccelerators", options, CPU)
    kept = [
        _set(library, options, b"runtime_options_string", b"enable_profiling = true\n"),
        _set(library, options, b"xnnpack", f"num_threads = {threads}\n".encode()),
    ]
    stack.callback(kept.clear)
    compiled = library.owned(stack, "CreateCompiledModel", environment, model, options, kind="CompiledModel")
    first, layouts = c_size_t(0), (_Layout(), _Layout())
    library.call("GetCompiledModelInputTensorLayout", compiled, first, first, ctypes.byref(layouts[0]))
    library.call(
        "GetCompiledModelOutputTensorLayouts", compiled, first, c_size_t(1), ctypes.byref(layouts[1]), c_bool(False)
    )
    buffers = []
    for side, element, layout in zip(("Input", "Output"), (ELEMENTS[str(photo.dtype)], output), layouts, strict=True):
        needs = library.made(f"GetCompiledModel{side}BufferRequirements", compiled, first, first)
        kind = ctypes.byref(_TensorType(element, layout))
        create = "CreateManagedTensorBufferFromRequirements"
        buffers.append(library.owned(stack, create, environment, kind, needs, kind="TensorBuffer"))
    _fill(library, buffers[0], photo)
    given, taken = (c_void_p * 1)(buffers[0]), (c_void_p * 1)(buffers[1])

    def run() -> None:
        library.call("RunCompiledModel", compiled, first, c_size_t(1), given, c_size_t(1), taken)

    return compiled, run


def _set(library: _Library, options: c_void_p, name: bytes, text: bytes) -> Any:
    """Set options that are written as TOML; what is returned has to outlive them."""
    payload = ctypes.create_string_buffer(text)
    opaque = library.made("CreateOpaqueOptions", name, ctypes.cast(payload, c_void_p), KEEP)
    library.call("AddOpaqueOptions", options, opaque)
    return payload


def _fill(library: _Library, buffer: c_void_p, photo: Tensor) -> None:
    values, size = np.ascontiguousarray(photo), c_size_t()
    library.call("GetTensorBufferSize", buffer, ctypes.byref(size))
    if size.value < values.nbytes:
        raise RuntimeError("the input is larger than its buffer")
    address = c_void_p()
    library.call("LockTensorBuffer", buffer, ctypes.byref(address), WRITE)
    ctypes.memmove(address, values.ctypes.data, values.nbytes)
    library.call("UnlockTensorBuffer", buffer)


def _events(library: _Library, profiler: c_void_p) -> Sequence[_Event]:
    count = c_int()
    library.call("GetNumProfilerEvents", profiler, ctypes.byref(count))
    events = (_Event * count.value)()
    library.call("GetProfilerEvents", profiler, count, events)
    return list(events)


def _means(events: Sequence[_Event], inferences: int) -> tuple[KernelTime, ...]:
    """Return the mean time of each kernel; nothing unless all inferences ran the same kernels in the same order."""
    each, rest = divmod(len(events), inferences)
    if rest or not each:
        return ()
    kernels = []
    for place in range(each):
        same = events[place::each]
        told = {(event.tag, event.kind, event.index) for event in same}
        if len(told) != 1:
            return ()
        tag, kind, index = told.pop()
        ms = sum(event.elapsed_us for event in same) / inferences / 1000
        kernels.append(KernelTime(kernel=tag.decode(), index=index, delegated=kind == DELEGATE_OPERATOR, ms=ms))
    return tuple(kernels)


if __name__ == "__main__":
    sys.exit(main())
