"""What ai-edge-litert and tflite-runtime have in common: the Interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xedge.errors import BundleError
from xedge.native_log import native_log
from xedge.runtimes import Execution, Tensor


class InterpreterSession:
    """A TFLite interpreter with its tensors allocated.

    Args:
        interpreter_class: the runtime's ``Interpreter``.
        runtime, version: what to report.
        artifact: the .tflite file.
        threads: the number of threads; the interpreter's own default is 1.
    """

    def __init__(self, interpreter_class: Any, runtime: str, version: str, artifact: Path, threads: int) -> None:
        try:
            with native_log():
                self._interpreter = interpreter_class(model_path=str(artifact), num_threads=threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{artifact}: {runtime} {version} does not load it ({_first_line(error)})") from error
        self._input: int = self._interpreter.get_input_details()[0]["index"]
        self._output: int = self._interpreter.get_output_details()[0]["index"]
        self._runtime, self._version, self._threads = runtime, version, threads

    def run(self, photo: Tensor) -> Tensor:
        """Return the output (1, classes) for an input (1, H, W, C)."""
        self._interpreter.set_tensor(self._input, photo)
        self._interpreter.invoke()
        output: Tensor = self._interpreter.get_tensor(self._output)
        return output

    def input_shape(self) -> tuple[int, ...]:
        """Return the input's shape, batch included."""
        return tuple(int(size) for size in self._interpreter.get_input_details()[0]["shape"])

    def execution(self) -> Execution:
        """Return the delegate's share, as far as the interpreter tells."""
        operators, partitions, delegated = _delegation(self._interpreter)
        return Execution(
            runtime=self._runtime,
            version=self._version,
            threads=self._threads,
            delegate="XNNPACK" if partitions else None,
            operators=operators,
            delegated=delegated,
            partitions=partitions,
        )


def _delegation(interpreter: Any) -> tuple[int | None, int | None, int | None]:
    """Return operators in the artifact, partitions and delegated operators.

    A delegate's kernel is listed behind the artifact's own operators, once per partition. What is delegated is found
    by its tensors: an operator outside every partition still makes a tensor that somebody reads.
    """
    details = getattr(interpreter, "_get_ops_details", None)
    if details is None:
        return None, None, None
    operators = details()
    own = [op for op in operators if op["op_name"] != "DELEGATE"]
    kernels = [op for op in operators if op["op_name"] == "DELEGATE"]
    delegated = _covered(own, kernels)
    return len(own), len(kernels), delegated


def _covered(own: list[Any], kernels: list[Any]) -> int:
    """Count the operators between each kernel's inputs and outputs."""
    maker = {int(tensor): index for index, op in enumerate(own) for tensor in op["outputs"]}
    covered: set[int] = set()
    for kernel in kernels:
        inputs = {int(tensor) for tensor in kernel["inputs"]}
        pending = [int(tensor) for tensor in kernel["outputs"]]
        while pending:
            index = maker.get(pending.pop())
            if index is None or index in covered:
                continue
            covered.add(index)
            pending += [int(t) for t in own[index]["inputs"] if int(t) not in inputs]
    return len(covered)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
