#!/usr/bin/env python3
"""The recipes of other tools that make a float or an int8 artifact of a Keras model, one process for each artifact.

``benchmarks/families.py`` starts this file and measures the time and the memory of the process:

    python benchmarks/recipes.py NAME '{"network": "MODEL.keras", "folder": "DIR", "calibration": "PHOTOS", ...}'

The artifact is written to the folder as NAME with the suffix of its target.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xedge.converters import find_target
from xedge.photos.calibration import read_calibration
from xedge.photos.preprocess import scheme
from xedge.types import FloatArray

# ONNX Runtime's histograms keep every tensor of all photos, unless it is told to take so many photos at a time.
STRIDE = 10
OPSET = 17


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a recipe makes an artifact of.

    Args:
        network: The path of the Keras model.
        folder: The folder of artifacts.
        preprocess: The name of the preprocessing scheme.
        size: The height and width of photos.
        calibration: The folder that calibration photos are drawn from.
        count: The number of calibration photos.
        vnni: Whether the processor multiplies int8 without overflow, so that the weights may have all eight bits.
    """

    network: str
    folder: str
    preprocess: str
    size: int
    calibration: str
    count: int
    vnni: bool

    def photos(self) -> Iterator[FloatArray]:
        """Return the calibration photos (1, H, W, C), which are those that ``xedge convert`` draws."""
        shape = (self.size, self.size, 3)
        preprocessing = scheme(self.preprocess, *shape)
        drawn = read_calibration(Path(self.calibration), self.count, 0, shape)
        return (photo[None] for photo in drawn.inputs(preprocessing))

    def path(self, name: str) -> Path:
        """Return the path of the artifact that a recipe makes."""
        return Path(self.folder) / f"{name}{find_target(target_of(name)).suffix}"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How another tool makes an artifact.

    Args:
        target: The target of the artifact.
        title: The name in tables.
        settings: What is set otherwise than by default, for the page.
        make: The function that makes the artifact; it is told the job and the path to write.
        of_float: Whether the recipe begins with the float artifact of the target.
    """

    target: str
    title: str
    settings: str
    make: Callable[[Job, Path], None]
    of_float: bool = True


def target_of(name: str) -> str:
    """Return the target of a recipe, or of a float artifact, which is named ``float_`` and its target."""
    return RECIPES[name].target if name in RECIPES else name.removeprefix("float_")


def command(name: str, job: Job) -> list[str]:
    """Return the arguments with which Python makes an artifact."""
    return [__file__, name, json.dumps(asdict(job))]


def loaded(job: Job) -> Any:
    """Return the Keras model for inference, on TensorFlow."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # They import keras, whose backend is chosen first, and most recipes need no Keras.
    from xedge.sources import Source  # noqa: PLC0415
    from xedge.sources.keras import SOURCE  # noqa: PLC0415
    from xedge.sources.keras.file import load_keras  # noqa: PLC0415
    from xedge.sources.keras.inference import for_inference  # noqa: PLC0415

    file = Path(job.network)
    return for_inference(load_keras(Source(name=file.stem, path=file, kind=SOURCE), allow_code=False))


def float_tflite(job: Job, out: Path) -> None:
    """Write the float artifact of TensorFlow's converter."""
    with tempfile.TemporaryDirectory() as scratch:
        out.write_bytes(_tensorflow_converter(job, scratch).convert())


def tensorflow_int8(job: Job, out: Path) -> None:
    """Write the full int8 artifact of TensorFlow's converter, with float input and output."""
    import tensorflow as tf  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as scratch:
        converter = _tensorflow_converter(job, scratch)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([photo] for photo in job.photos())
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        out.write_bytes(converter.convert())


def _tensorflow_converter(job: Job, scratch: str) -> Any:
    model = loaded(job)
    import tensorflow as tf  # noqa: PLC0415

    model.export(scratch, verbose=False)
    return tf.lite.TFLiteConverter.from_saved_model(scratch)


def litert_static(job: Job, out: Path) -> None:
    """Write the artifact of litert-quantizer with fixed ranges, and with float input and output."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415
    from litert_quantizer import qtyping, quantizer, recipe  # noqa: PLC0415
    from litert_quantizer.algorithm_manager import AlgorithmName  # noqa: PLC0415

    file = str(job.path("float_tflite"))
    ((key, signature),) = Interpreter(file).get_signature_list().items()
    worker = quantizer.Quantizer(file)
    worker.load_quantization_recipe(recipe.static_wi8_ai8())
    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        worker.update_quantization_recipe(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    ranges = worker.calibrate({key: [{signature["inputs"][0]: photo} for photo in job.photos()]})
    out.write_bytes(bytes(worker.quantize(ranges).quantized_model))


def litert_dynamic(job: Job, out: Path) -> None:
    """Write the artifact of litert-quantizer with int8 weights and activations that are quantized as they come."""
    from litert_quantizer import quantizer, recipe  # noqa: PLC0415

    worker = quantizer.Quantizer(str(job.path("float_tflite")))
    worker.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    out.write_bytes(bytes(worker.quantize().quantized_model))


def float_onnx(job: Job, out: Path) -> None:
    """Write the float artifact of tf2onnx."""
    model = loaded(job)
    import tensorflow as tf  # noqa: PLC0415
    import tf2onnx  # noqa: PLC0415

    spec = [tf.TensorSpec((1, job.size, job.size, 3), tf.float32, name="input")]
    function = tf.function(lambda photo: model(photo, training=False), input_signature=spec)
    tf2onnx.convert.from_function(function, spec, opset=OPSET, output_path=str(out))


def onnxruntime_recipe(method: str, options: dict[str, Any]) -> Callable[[Job, Path], None]:
    """Return the function that writes ONNX Runtime's int8 artifact.

    Args:
        method: The name of the calibration method.
        options: The quantizer's extra options.
    """

    def make(job: Job, out: Path) -> None:
        import onnx  # noqa: PLC0415
        from onnxruntime import quantization  # noqa: PLC0415
        from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

        with tempfile.TemporaryDirectory() as scratch:
            prepared = Path(scratch) / "prepared.onnx"
            quant_pre_process(str(job.path("float_onnx")), str(prepared), skip_symbolic_shape=True)
            name = onnx.load(prepared).graph.input[0].name
            quantization.quantize_static(
                str(prepared),
                str(out),
                _reader(name, list(job.photos())),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                reduce_range=not job.vnni,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod[method],
                extra_options=options,
            )

    return make


def _reader(name: str, photos: list[FloatArray]) -> Any:
    """Return photos in the form in which ONNX Runtime's quantizer asks for them, which it checks the class of."""
    from onnxruntime.quantization import CalibrationDataReader  # noqa: PLC0415

    class Reader(CalibrationDataReader):  # type: ignore[misc] # the package has no types
        def __init__(self) -> None:
            self._left = iter(photos)

        def __len__(self) -> int:
            return len(photos)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._left = iter(photos[start_index:end_index])

        def get_next(self) -> dict[str, FloatArray] | None:
            photo = next(self._left, None)
            return None if photo is None else {name: photo}

    return Reader()


def float_openvino(job: Job, out: Path) -> None:
    """Write the float artifact of OpenVINO's converter."""
    model = loaded(job)
    import openvino as ov  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as scratch:
        model.export(scratch, verbose=False)
        converted = ov.convert_model(scratch)
    converted.reshape([1, job.size, job.size, 3])
    ov.save_model(converted, out, compress_to_fp16=False)


def nncf_recipe(mixed: bool) -> Callable[[Job, Path], None]:
    """Return the function that writes NNCF's int8 artifact.

    Args:
        mixed: Whether it is the preset MIXED with accurate bias correction, and not the default.
    """

    def make(job: Job, out: Path) -> None:
        import nncf  # noqa: PLC0415
        import openvino as ov  # noqa: PLC0415

        photos = list(job.photos())
        changed = {"preset": nncf.QuantizationPreset.MIXED, "fast_bias_correction": False} if mixed else {}
        if not job.vnni:
            advanced = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
            changed["advanced_parameters"] = advanced
        model = ov.Core().read_model(job.path("float_openvino"))
        ov.save_model(nncf.quantize(model, nncf.Dataset(photos), subset_size=len(photos), **changed), out)

    return make


FLOATS = {"float_tflite": float_tflite, "float_onnx": float_onnx, "float_openvino": float_openvino}
RECIPES = {
    "litert_static": Recipe(
        target="tflite",
        title="litert-quantizer, static",
        settings="`static_wi8_ai8`, input and output in float",
        make=litert_static,
    ),
    "litert_dynamic": Recipe(
        target="tflite",
        title="litert-quantizer, dynamic",
        settings="`dynamic_wi8_afp32`, which needs no calibration photos",
        make=litert_dynamic,
    ),
    "tensorflow_int8": Recipe(
        target="tflite",
        title="TFLiteConverter, full int8",
        settings="`TFLITE_BUILTINS_INT8`, input and output in float",
        make=tensorflow_int8,
        of_float=False,
    ),
    "ort_minmax": Recipe(
        target="onnx",
        title="ONNX Runtime, MinMax",
        settings="`quantize_static` with `CalibrationMethod.MinMax`",
        make=onnxruntime_recipe("MinMax", {}),
    ),
    "ort_moving_average": Recipe(
        target="onnx",
        title="ONNX Runtime, moving average",
        settings="MinMax with `CalibMovingAverage`",
        make=onnxruntime_recipe("MinMax", {"CalibMovingAverage": True}),
    ),
    "ort_percentile": Recipe(
        target="onnx",
        title="ONNX Runtime, Percentile",
        settings="`CalibrationMethod.Percentile` at its 99.999 %",
        make=onnxruntime_recipe("Percentile", {"CalibStridedMinMax": STRIDE}),
    ),
    "ort_entropy": Recipe(
        target="onnx",
        title="ONNX Runtime, Entropy",
        settings="`CalibrationMethod.Entropy`",
        make=onnxruntime_recipe("Entropy", {"CalibStridedMinMax": STRIDE}),
    ),
    "nncf": Recipe(
        target="openvino",
        title="NNCF, default",
        settings="`nncf.quantize` with its preset PERFORMANCE and fast bias correction",
        make=nncf_recipe(mixed=False),
    ),
    "nncf_mixed": Recipe(
        target="openvino",
        title="NNCF, MIXED",
        settings="the preset MIXED and `fast_bias_correction=False`",
        make=nncf_recipe(mixed=True),
    ),
}


def main() -> int:
    """Make one artifact."""
    name, job = sys.argv[1], Job(**json.loads(sys.argv[2]))
    np.random.seed(0)  # noqa: NPY002 - NumPy's old generator is that of the libraries
    make = FLOATS[name] if name in FLOATS else RECIPES[name].make
    make(job, job.path(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
