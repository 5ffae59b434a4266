"""TensorFlow's own converter to TFLite, for models that the reference graph cannot hold.

It runs in a process of its own, because TensorFlow takes over a gigabyte of memory and its Keras backend excludes
others. The other targets' libraries start from what it prepares.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from xedge.converters import Form
from xedge.errors import InputError, MissingRuntimeError, UnsupportedError, parameter
from xedge.types import FloatArray
from xedge.vocabulary import Precision

WAY = "TensorFlow's converter"
QUANTIZER = "litert-quantizer"
LAYOUT = "NHWC"
SAVED_MODEL = "saved_model"
FAILED, NO_TENSORFLOW = 3, 4


def prepare(
    source: Path, folder: Path, precisions: Iterable[Precision], *, saved_model: bool = False, allow_code: bool = False
) -> None:
    """Write ``fp32.tflite``, and the other precisions except int8, into a folder.

    Args:
        source: A Keras file or a SavedModel folder.
        folder: The folder to write to, which exists.
        precisions: The precisions that will be asked for. int8 is left out here, because ``convert`` makes it of fp32.
        saved_model: Also write the model as a SavedModel.
        allow_code: Let the file bring code of its own.

    Raises:
        InputError: The file brings code that was not allowed.
        UnsupportedError: The converter does not take the model.
        MissingRuntimeError: TensorFlow is not installed.
    """
    wanted = ["fp32", *(p for p in precisions if p not in ("fp32", "int8")), *([SAVED_MODEL] if saved_model else [])]
    command = [sys.executable, "-m", "xedge.converters.tflite.library", str(source), str(folder), *wanted]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["XEDGE_ALLOW_CODE"] = "1" if allow_code else ""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:300]
    if done.returncode == NO_TENSORFLOW:
        raise MissingRuntimeError(f"{source}: needs TensorFlow's converter ({reason}); pip install 'xedge[host]'")
    if "Lambda" in reason or "unsafe" in reason or "safe_mode" in reason:
        raise InputError(
            f"{source}: brings code of its own, which is not run; if you trust it, give {parameter('allow_code')}"
        )
    raise UnsupportedError(f"{source}: TensorFlow's converter does not take it ({reason})")


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
    source, folder, precisions = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    try:
        import tensorflow as tf  # noqa: PLC0415 - this is the child
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return NO_TENSORFLOW
    try:
        for precision in precisions:
            if precision == SAVED_MODEL:
                _save(source, folder / SAVED_MODEL)
                continue
            converter = _converter(tf, source)
            if precision != "fp32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if precision == "fp16":
                converter.target_spec.supported_types = [tf.float16]
            (folder / f"{precision}.tflite").write_bytes(converter.convert())
    except Exception as error:  # whatever TensorFlow raises, the parent process tells the user in one line
        sys.stderr.write(f"\n{' '.join(str(error).split())[:1000]}\n")
        return FAILED
    return 0


def _converter(tf: Any, source: Path) -> Any:
    lite = tf.lite.TFLiteConverter
    if source.is_dir():
        return lite.from_saved_model(str(source))
    return lite.from_keras_model(_keras_model(source))


def _keras_model(source: Path) -> Any:
    import keras  # noqa: PLC0415

    safe = not os.environ.get("XEDGE_ALLOW_CODE")
    return keras.models.load_model(source, compile=False, safe_mode=safe)


def _save(source: Path, folder: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, folder)
    else:
        _keras_model(source).export(str(folder), verbose=False)


if __name__ == "__main__":
    sys.exit(_main())
