"""The runtimes that execute artifacts on a device, behind one small protocol.

A runtime's folder declares it (``RUNTIME`` in ``__init__.py``, which imports nothing heavy) and holds the module that
imports its package. Other packages add runtimes by the entry-point group ``xedge.runtimes``.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from xedge.errors import (
    BundleError,
    MissingRuntimeError,
    ResourceError,
    UnsupportedError,
    UsageError,
    XedgeError,
    brief,
    parameter,
)
from xedge.native_log import native_log
from xedge.plugins import parts
from xedge.vocabulary import Precision, ScaleKind

if TYPE_CHECKING:
    from xedge.types import FloatArray, Tensor

Role = Literal["integer", "float", "conversion"]


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What a runtime really does with an artifact.

    Args:
        runtime: The runtime's package.
        version: The package's version.
        threads: The number of threads that was set.
        provider: The processor or backend that was really obtained.
        delegate: The accelerator that took part of the graph; None if there is none.
        operators: The number of operators in the artifact; None if the runtime does not tell.
        delegated: How many of those the delegate took; None if the runtime does not tell.
        partitions: The number of pieces that the delegate took; None if the runtime does not tell.
        options: What else was set.
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

    @property
    def described(self) -> str:
        """The runtime with its version, its provider and the number of threads, as text."""
        return f"{self.runtime} {self.version} on {self.provider}, {self.threads} threads"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an artifact is to be run.

    Args:
        threads: The number of threads for one inference.
        provider: A processor or backend of the runtime; None takes its CPU.
        exact: Compute float32 in float32 where the runtime would prefer something narrower.
        few: Only a few photos follow, so spare memory rather than time.
        integers: The artifact is quantized, which some accelerators have to be told.
        engines: A folder in which what an accelerator compiles may be kept; None keeps nothing.
        shape: The shape of the input, where the artifact leaves some of its sizes open; None leaves them open.
        output: The name of the output to give, where the artifact has several; None takes the first one.
    """

    threads: int
    provider: str | None = None
    exact: bool = False
    few: bool = False
    integers: bool = False
    engines: Path | None = None
    shape: tuple[int, ...] | None = None
    output: str | None = None

    def shape_for(self, found: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape to give an input of which an artifact leaves sizes open.

        Args:
            found: The shape of the input, -1 where it is open.

        Returns:
            The shape; None if nothing is open, or if what is asked for leaves it open too or does not fit.
        """
        wanted = self.shape
        if wanted is None or -1 not in found or -1 in wanted or len(wanted) != len(found):
            return None
        return wanted if all(a in (-1, b) for a, b in zip(found, wanted, strict=True)) else None


@dataclass(frozen=True, kw_only=True)
class End:
    """An input or output of an artifact, as its file describes it.

    Args:
        name: The name of the tensor, as the runtime knows it.
        shape: The shape, batch included; -1 where it is open.
        dtype: NumPy's name of the type of the elements, such as ``float32``.
        scale: The scale of integers that stand for real values; None if the file tells none.
        zero_point: The integer that stands for zero; None if the file tells none.
        labels: The text of a file of labels inside the artifact, one label on each line; None if there is none.
        normalization: The means and the deviations of pixels, one for all channels or one for each: the input is
            (pixel - mean) / deviation. None if the file tells none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None
    labels: str | None = None
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None = None


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What an artifact's file holds.

    Args:
        inputs: The inputs.
        outputs: The outputs.
        weights: The number of weights of convolutions and matrix products by the precision in which they compute:
            ``int8`` if their inputs have integers of fixed ranges, ``dynamic`` if only the weights are integers.
    """

    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    weights: Mapping[Precision, int]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation as a runtime executes it.

    Args:
        kind: The runtime's name for the operation.
        precision: The precision in which it computes.
        role: Whether it computes in integers or in float, or only converts between them.
        product: Whether it is a convolution or a matrix product with weights, which is where the time goes; a product
            of two tensors, as attention has it, is none.
        multiply_accumulates: The multiply-accumulates of a product, for one photo; None where the runtime does not tell
            shapes.
        rank: The largest number of dimensions of its tensors; None where the runtime does not tell shapes.
        weights: Whether the integer weights of a product have one scale, or one for each channel of the result, or one
            for each group of inputs of a channel; None for float weights, and where the runtime does not tell.
    """

    kind: str
    precision: str
    role: Role
    product: bool
    multiply_accumulates: int | None = None
    rank: int | None = None
    weights: ScaleKind | None = None


@dataclass(frozen=True, kw_only=True)
class TimedOperation:
    """The time of one operation, or of one of the kernels that make it up.

    Args:
        name: The runtime's name for it; in an artifact of the reference graph, it begins with the name of a node.
        ms: The time of an inference that it takes, in milliseconds.
        kernel: The runtime's name for the code that computes it.
        operation: What it computes, and how.
        threads: The number of threads that can share the work.
        delegated: Whether an accelerator or delegate took it; None where there is none.
    """

    name: str
    ms: float
    kernel: str
    operation: Operation
    threads: int
    delegated: bool | None = None


class Session(Protocol):
    """An artifact that is loaded and ready."""

    def run(self, photo: Tensor) -> Tensor:
        """Return the output (1, classes) for an input (1, H, W, C), both in the artifact's types."""

    def input_shape(self) -> tuple[int, ...]:
        """Return the input's shape, batch included."""

    def execution(self) -> Execution:
        """Return what the runtime really does."""

    def operations(self) -> list[Operation]:
        """Return the operations that are really executed; constants that are unpacked once do not count."""

    def timed(self, photo: Tensor) -> list[TimedOperation]:
        """Return the executed operations with their times; empty where the runtime does not tell."""


class _Guarded:
    """A session whose answers about a damaged artifact are xedge's errors; ``run`` is the session's own, for its time.

    Args:
        session: The session.
        artifact: The artifact, for messages.
        words: What did not work, for messages.
    """

    def __init__(self, session: Session, artifact: Path, words: str) -> None:
        self._session, self._artifact, self._words = session, artifact, words
        self.run = session.run

    def input_shape(self) -> tuple[int, ...]:
        """Return the input's shape, batch included."""
        with _refusals(self._artifact, self._words):
            return self._session.input_shape()

    def execution(self) -> Execution:
        """Return what the runtime really does."""
        with _refusals(self._artifact, self._words):
            return self._session.execution()

    def operations(self) -> list[Operation]:
        """Return the operations that are really executed; constants that are unpacked once do not count."""
        with _refusals(self._artifact, self._words):
            return self._session.operations()

    def timed(self, photo: Tensor) -> list[TimedOperation]:
        """Return the executed operations with their times; empty where the runtime does not tell."""
        with _refusals(self._artifact, self._words):
            return self._session.timed(photo)


@contextmanager
def _refusals(artifact: Path, words: str) -> Iterator[None]:
    """Turn what a runtime raises for a damaged artifact, which has no common base, into xedge's errors."""
    try:
        yield
    except (XedgeError, MemoryError):
        raise
    except Exception as error:
        raise refusal(artifact, words, error) from error


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """What is known of a runtime's wheels, as found in November 2026 by importing them where a tag is wrong.

    Args:
        probe: The module whose import shows that the runtime works.
        glibc: The version of the C library that the wheel really needs, whatever its tag says.
        oldest_python: The minor version of the oldest Python 3 with wheels.
        newest_python: The minor version of the newest Python 3 with wheels.
        machines: The architectures with wheels.
        numpy_1: Whether the wheel was built for NumPy 1.
    """

    probe: str
    glibc: tuple[int, int]
    oldest_python: int = 10
    newest_python: int = 14
    machines: tuple[str, ...] = ("x86_64", "aarch64")
    numpy_1: bool = False


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A runtime that xedge knows.

    Args:
        name: The name as users type it, which is also that of xedge's extra.
        package: The package's name on the package index.
        import_name: The package's name in Python.
        session: The module with ``open_session`` and ``read_tensors``, imported only when it is used. If it also has
            ``companions`` and ``contents``, artifacts of others can be wrapped.
        suffixes: The suffixes of the artifacts that the runtime opens.
        wheel: What is known of the package's wheels.
        rank: The runtime's place in lists and among those that open the same artifacts; smaller numbers come first.
        providers: The processors and backends that it can be asked for.
    """

    name: str
    package: str
    import_name: str
    session: str
    suffixes: tuple[str, ...]
    wheel: Wheel
    rank: int = 100
    providers: tuple[str, ...] = ("cpu",)

    def open(self, artifact: Path, settings: Settings) -> Session:
        """Load an artifact.

        Raises:
            UsageError: The runtime knows no such provider.
            MissingRuntimeError: The package cannot be imported, or it does not have the provider.
            BundleError: The runtime does not take the artifact.
        """
        if settings.provider is not None and settings.provider not in self.providers:
            raise UsageError(
                f"{parameter('provider')} {settings.provider}: {self.package} has {', '.join(self.providers)}"
            )
        opener: Callable[[Path, Settings], Session] = self.load().open_session
        # OpenVINO asks its readers of every format what a damaged file is, and these print what they think of it.
        with _refusals(artifact, f"{self.package} does not load it"), native_log():
            session = opener(artifact, settings)
        return _Guarded(session, artifact, f"{self.package} cannot describe it")

    def tensors(self, artifact: Path, photo: Tensor) -> dict[str, FloatArray]:
        """Return the tensors of one inference by name, as real values, NHWC.

        Raises:
            MissingRuntimeError: A package that is needed for looking inside cannot be imported.
        """
        reader: Callable[[Path, Tensor], dict[str, FloatArray]] = self.load().read_tensors
        with _refusals(artifact, f"{self.package} cannot look inside"):
            return reader(artifact, photo)

    def companions(self, artifact: Path) -> tuple[str, ...]:
        """Return the names of the other files that an artifact consists of, relative to its folder.

        Raises:
            UnsupportedError: The runtime cannot tell.
            BundleError: The artifact is damaged, or one of the names leads out of its folder.
            InputError: One of the files is missing.
        """
        finder: Callable[[Path], tuple[str, ...]] = self._describing("companions")
        with _refusals(artifact, "cannot be read"), native_log():
            return finder(artifact)

    def constants(self, artifact: Path) -> dict[str, Tensor]:
        """Return the constants of an artifact by name: weights, biases and scales, integers as they are stored.

        Raises:
            UnsupportedError: The runtime cannot tell.
            BundleError: The artifact is damaged.
        """
        reader: Callable[[Path], dict[str, Tensor]] = self._describing("constants")
        with _refusals(artifact, "cannot be read"), native_log():
            return reader(artifact)

    def contents(self, artifact: Path) -> Contents:
        """Return what an artifact's file holds.

        Raises:
            UnsupportedError: The runtime cannot tell.
            BundleError: The artifact is damaged.
        """
        reader: Callable[[Path], Contents] = self._describing("contents")
        with _refusals(artifact, "cannot be read"), native_log():
            return reader(artifact)

    def _describing(self, name: str) -> Callable[[Path], Any]:
        function: Callable[[Path], Any] | None = getattr(self.load(), name, None)
        if function is None:
            raise UnsupportedError(f"the runtime {self.name} cannot tell what a file of others holds")
        return function

    def load(self) -> ModuleType:
        """Import the runtime.

        Raises:
            MissingRuntimeError: The package cannot be imported.
        """
        try:
            return importlib.import_module(self.session)
        except ImportError as error:
            raise MissingRuntimeError(
                f"{self.package} cannot be imported ({error}); install it: pip install 'xedge[{self.name}]'"
            ) from error


def chosen_output(artifact: Path, names: Sequence[str], settings: Settings) -> int:
    """Return the index of the output that a session gives.

    Args:
        artifact: The artifact, for messages.
        names: The names of the artifact's outputs.
        settings: How the artifact is run, which names an output.

    Raises:
        BundleError: There are several outputs, and none has this name.
    """
    if len(names) == 1 or settings.output is None:
        return 0
    if settings.output not in names:
        raise BundleError(f"{artifact}: has no output {settings.output!r} among its {len(names)}; wrap it again")
    return names.index(settings.output)


def refusal(artifact: Path | str, words: str, error: Exception) -> XedgeError:
    """Return the error for what a runtime raised, which may be that the system has no more memory.

    Args:
        artifact: The artifact.
        words: What did not work.
        error: What the runtime raised.
    """
    if re.search(r"bad.?alloc|cannot allocate|failed to allocate|out of memory", str(error), re.IGNORECASE):
        return ResourceError(
            f"{artifact}: out of memory ({brief(error)}); close other programs, or use a smaller model"
        )
    return BundleError(f"{artifact}: {words} ({brief(error)}); convert again, or copy it again")


def runtimes() -> tuple[Runtime, ...]:
    """Return all runtimes, xedge's own and those that other packages add, in the order of their ranks."""
    return parts("xedge.runtimes", "RUNTIME", "xedge.runtimes")


def fitting_runtimes(suffix: str) -> tuple[Runtime, ...]:
    """Return the runtimes that open artifacts with a suffix, the preferred one first.

    Raises:
        UnsupportedError: There is none.
    """
    found = tuple(runtime for runtime in runtimes() if suffix in runtime.suffixes)
    if not found:
        known = ", ".join(dict.fromkeys(known for runtime in runtimes() for known in runtime.suffixes))
        raise UnsupportedError(f"no runtime opens {suffix or 'such'} files; there are runtimes for {known}")
    return found


def first_runtime(suffix: str) -> Runtime:
    """Return the preferred runtime for artifacts with a suffix, installed here or not; errors as above."""
    return fitting_runtimes(suffix)[0]


def choose_runtime(artifact: Path, name: str | None = None) -> Runtime:
    """Return the runtime with a name, or the first installed one that opens an artifact.

    Args:
        artifact: The artifact's file, whose suffix says which runtimes open it.
        name: The runtime's name; None takes the first one that is installed.

    Raises:
        UsageError: There is no runtime of this name that opens the artifact.
        UnsupportedError: No runtime opens such an artifact.
        MissingRuntimeError: No runtime that opens the artifact is installed.
    """
    fitting = fitting_runtimes(artifact.suffix)
    if name is not None:
        named = [runtime for runtime in fitting if runtime.name == name]
        if not named:
            known = ", ".join(runtime.name for runtime in fitting)
            raise UsageError(f"{parameter('runtime')} {name} does not open {artifact.suffix} files; {known} can")
        return named[0]
    for runtime in fitting:
        if importlib.util.find_spec(runtime.import_name) is not None:
            return runtime
    wanted = " or ".join(f"pip install 'xedge[{runtime.name}]'" for runtime in fitting)
    raise MissingRuntimeError(f"no runtime for {artifact.suffix} files is installed; {wanted}")
