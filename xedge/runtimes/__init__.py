"""The runtimes that execute artifacts on a device, behind one small protocol."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy.typing as npt

from xedge.errors import MissingRuntimeError, UsageError

Tensor = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What a runtime really does with an artifact.

    Args:
        runtime, version: the package.
        threads: that were set.
        delegate: the accelerator that took part of the graph, or None.
        operators: in the artifact.
        delegated: of those, taken by the delegate; None if the runtime does not tell.
        partitions: pieces that the delegate took; None if the runtime does not tell.
        options: what else was set.
    """

    runtime: str
    version: str
    threads: int
    delegate: str | None = None
    operators: int | None = None
    delegated: int | None = None
    partitions: int | None = None
    options: dict[str, str] = field(default_factory=dict)


class Session(Protocol):
    """An artifact that is loaded and ready."""

    def run(self, photo: Tensor) -> Tensor:
        """Return the output (1, classes) for an input (1, H, W, C), both in the artifact's types."""

    def input_shape(self) -> tuple[int, ...]:
        """Return the input's shape, batch included."""

    def execution(self) -> Execution:
        """Return what the runtime really does."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A runtime that xedge knows; its module is imported only when it is used."""

    name: str
    package: str
    import_name: str
    module: str
    targets: tuple[str, ...]

    def open(self, artifact: Path, threads: int) -> Session:
        """Load an artifact.

        Raises:
            MissingRuntimeError: the package cannot be imported.
            BundleError: the runtime does not take the artifact.
        """
        opener: Callable[[Path, int], Session] = self.load().open_session
        return opener(artifact, threads)

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


__all__ = ["RUNTIMES", "Execution", "Runtime", "Session", "Tensor", "choose_runtime"]
