"""The runtimes that execute artifacts on a device, behind one small protocol."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol

from xedge.errors import MissingRuntimeError, UsageError
from xedge.types import FloatArray, Tensor

Role = Literal["integer", "float", "conversion"]


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What a runtime really does with an artifact.

    Args:
        runtime, version: the package.
        threads: that were set.
        provider: the processor or backend that was really obtained.
        delegate: the accelerator that took part of the graph, or None.
        operators: in the artifact.
        delegated: of those, taken by the delegate; None if the runtime does not tell.
        partitions: pieces that the delegate took; None if the runtime does not tell.
        options: what else was set.
    """

    runtime: str
    version: str
    threads: int
    provider: str = "cpu"
    delegate: str | None = None
    operators: int | None = None
    delegated: int | None = None
    partitions: int | None = None
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an artifact is to be run.

    Args:
        threads: for one inference.
        provider: a processor or backend of the runtime; None takes its CPU.
        exact: compute float32 in float32 where the runtime would prefer something narrower.
        few: only a few photos follow; spare memory rather than time.
        integers: the artifact is quantized, for accelerators that have to be told.
        engines: a folder where what an accelerator compiles may be kept; None keeps nothing.
    """

    threads: int
    provider: str | None = None
    exact: bool = False
    few: bool = False
    integers: bool = False
    engines: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation as a runtime executes it.

    Args:
        kind: the runtime's name for it.
        precision: in which it computes.
        role: whether it computes in integers or in float, or only converts between them.
        product: whether it is a convolution or a matrix product, which is where the time goes.
        multiply_accumulates: of a product, for one photo; None where the runtime tells no shapes.
    """

    kind: str
    precision: str
    role: Role
    product: bool
    multiply_accumulates: int | None = None


class Session(Protocol):
    """An artifact that is loaded and ready."""

    def run(self, photo: Tensor) -> Tensor:
        """Return the output (1, classes) for an input (1, H, W, C), both in the artifact's types."""

    def input_shape(self) -> tuple[int, ...]:
        """Return the input's shape, batch included."""

    def execution(self) -> Execution:
        """Return what the runtime really does."""

    def operations(self) -> list[Operation]:
        """Return the operations that are really executed; constants that are unpacked once are none."""

    def times(self, photo: Tensor) -> dict[str, float]:
        """Return milliseconds of each executed operation, by its name; empty where the runtime does not tell."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A runtime that xedge knows; its module is imported only when it is used."""

    name: str
    package: str
    import_name: str
    module: str
    targets: tuple[str, ...]
    providers: tuple[str, ...] = ("cpu",)

    def open(self, artifact: Path, settings: Settings) -> Session:
        """Load an artifact.

        Raises:
            UsageError: the runtime knows no such provider.
            MissingRuntimeError: the package cannot be imported, or was built without the provider.
            BundleError: the runtime does not take the artifact.
        """
        if settings.provider is not None and settings.provider not in self.providers:
            raise UsageError(f"--provider {settings.provider}: {self.package} has {', '.join(self.providers)}")
        opener: Callable[[Path, Settings], Session] = self.load().open_session
        return opener(artifact, settings)

    def tensors(self, artifact: Path, photo: Tensor) -> dict[str, FloatArray]:
        """Return the tensors of one inference by name, as real values, NHWC.

        Raises:
            MissingRuntimeError: a package that is needed for looking inside cannot be imported.
        """
        reader: Callable[[Path, Tensor], dict[str, FloatArray]] = self.load().read_tensors
        return reader(artifact, photo)

    def load(self) -> ModuleType:
        """Import the runtime.

        Raises:
            MissingRuntimeError: the package cannot be imported.
        """
        try:
            return importlib.import_module(self.module)
        except ImportError as error:
            raise MissingRuntimeError(
                f"{self.package} cannot be imported ({error}); install it: pip install 'xedge[{self.name}]'"
            ) from error


RUNTIMES = (
    Runtime(
        name="litert",
        package="ai-edge-litert",
        import_name="ai_edge_litert",
        module="xedge.runtimes.litert",
        targets=("tflite",),
    ),
    Runtime(
        name="tflite",
        package="tflite-runtime",
        import_name="tflite_runtime",
        module="xedge.runtimes.tflite_runtime",
        targets=("tflite",),
    ),
    Runtime(
        name="onnxruntime",
        package="onnxruntime",
        import_name="onnxruntime",
        module="xedge.runtimes.onnxruntime",
        targets=("onnx", "tensorrt"),
        providers=("cpu", "cuda", "tensorrt"),
    ),
    Runtime(
        name="openvino",
        package="openvino",
        import_name="openvino",
        module="xedge.runtimes.openvino",
        targets=("openvino",),
        providers=("cpu", "gpu", "npu"),
    ),
)


def choose_runtime(target: str, name: str | None = None) -> Runtime:
    """Return the named runtime, or the first installed one for a target.

    Raises:
        UsageError: there is no such runtime, or it does not run this target.
        MissingRuntimeError: none for the target is installed.
    """
    fitting = [runtime for runtime in RUNTIMES if target in runtime.targets]
    if name is not None:
        named = [runtime for runtime in fitting if runtime.name == name]
        if not named:
            known = ", ".join(runtime.name for runtime in fitting)
            raise UsageError(f"--runtime {name}: does not run {target} artifacts; {known} do")
        return named[0]
    for runtime in fitting:
        if importlib.util.find_spec(runtime.import_name) is not None:
            return runtime
    wanted = " or ".join(f"pip install 'xedge[{runtime.name}]'" for runtime in fitting)
    raise MissingRuntimeError(f"no runtime for {target} artifacts is installed; {wanted}")


__all__ = ["RUNTIMES", "Execution", "Operation", "Role", "Runtime", "Session", "Settings", "Tensor", "choose_runtime"]
