"""TensorFlow's own converter to TFLite, for models that the reference graph cannot hold.

It runs in a process of its own, because TensorFlow takes over a gigabyte of memory. Like the other targets' libraries
it starts from a SavedModel of the model's inference.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

from xedge.converters import Form
from xedge.errors import MissingRuntimeError, UnsupportedError
from xedge.processes import python_module, reason, run_python
from xedge.types import FloatArray
from xedge.vocabulary import Precision

WAY = "TensorFlow's converter"
QUANTIZER = "litert-quantizer"
LAYOUT = "NHWC"
SAVED_MODEL = "saved_model"


def prepare(source: object, folder: Path, precisions: Iterable[Precision]) -> None:
    """Write ``fp32.tflite``, and the other precisions except int8, into the folder that holds ``saved_model``.

    Args:
        source: The model, for messages.
        folder: The folder.
        precisions: The precisions that will be asked for. int8 is left out here, because ``convert`` makes it of fp32.

    Raises:
        UnsupportedError: The converter does not take the model.
    """
    wanted = ["fp32", *(p for p in precisions if p not in ("fp32", "int8"))]
    done = run_python(python_module("xedge.converters.tflite.library", str(folder), *wanted), TF_CPP_MIN_LOG_LEVEL="3")
    if done.returncode:
        raise UnsupportedError(f"{source}: {WAY} does not take it ({reason(done)[:300]})")


def convert(folder: Path, form: Form, photos: Callable[[], Iterable[FloatArray]]) -> dict[str, bytes]:
    """Return the artifact of what ``prepare`` left in a folder.

    Args:
        folder: The folder with ``fp32.tflite``.
        form: The form of the artifact; its input and output are float.
        photos: A function that gives preprocessed calibration photos (H, W, C), for int8.
    """
    if form.precision == "int8":
        return {".tflite": _quantized(folder / "fp32.tflite", photos())}
    return {".tflite": (folder / f"{form.precision}.tflite").read_bytes()}


def _quantized(float_file: Path, photos: Iterable[FloatArray]) -> bytes:
    """Return an int8 .tflite with float input and output, made by litert-quantizer's static int8 recipe."""
    if find_spec("litert_quantizer") is None:
        raise MissingRuntimeError(f"int8 on TensorFlow's own way needs {QUANTIZER}; pip install 'xedge[library]'")
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - only this way needs them
    from litert_quantizer import qtyping, quantizer, recipe  # noqa: PLC0415
    from litert_quantizer.algorithm_manager import AlgorithmName  # noqa: PLC0415

    ((key, signature),) = Interpreter(str(float_file)).get_signature_list().items()
    worker = quantizer.Quantizer(str(float_file))
    worker.load_quantization_recipe(recipe.static_wi8_ai8())
    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        worker.update_quantization_recipe(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    samples = [{signature["inputs"][0]: photo[None]} for photo in photos]
    # The library prints progress and a summary, which would end up in the middle of a JSON document.
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ranges = worker.calibrate({key: samples})
        return bytes(worker.quantize(ranges).quantized_model)


def _main() -> int:
    import tensorflow as tf  # noqa: PLC0415 - this is the child

    folder, precisions = Path(sys.argv[1]), sys.argv[2:]
    try:
        for precision in precisions:
            converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / SAVED_MODEL))
            if precision != "fp32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if precision == "fp16":
                converter.target_spec.supported_types = [tf.float16]
            (folder / f"{precision}.tflite").write_bytes(converter.convert())
    except Exception as error:  # whatever TensorFlow raises, the parent process tells the user in one line
        sys.stderr.write(f"\n{' '.join(str(error).split())[:1000]}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
