"""Artifacts as other tools make them: of the embedded default by their own converters, and small ones by hand.

python -m tests.others FOLDER       # writes those of the embedded default; the tools warn of much

"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from xedge.models.compact import embedded
from xedge.types import FloatArray, Tensor


def photos(count: int) -> Iterator[FloatArray]:
    """Yield calibration photos (1, 128, 128, 3) from -1 to 1, as every one of these tools is given them."""
    files = sorted((embedded.ROOT / "calibration").glob("*/*.jpg"))
    for file in files[:: len(files) // count][:count]:
        yield np.asarray(Image.open(file).convert("RGB").resize((128, 128)), np.float32)[None] / 127.5 - 1


def make_tflite(folder: Path) -> None:
    """Write the embedded default by TensorFlow's converter in each of its forms."""
    import keras
    import tensorflow as tf

    model = keras.models.load_model(embedded.MODEL, compile=False)

    def written(name: str, **settings: Any) -> None:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        for key, value in settings.items():
            setattr(converter, key, value)
        if "inference_input_type" in settings:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if name == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        (folder / f"{name}.tflite").write_bytes(converter.convert())

    optimized = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    calibrated = {**optimized, "representative_dataset": lambda: ([one] for one in photos(20))}
    written("fp32")
    written("fp16", **optimized)
    written("dynamic", **optimized)
    written("int8", **calibrated)
    for name in ("int8", "uint8"):
        kind = getattr(tf, name)
        written(f"int8_{name}", **calibrated, inference_input_type=kind, inference_output_type=kind)


def make_onnx(folder: Path) -> None:
    """Write the embedded default by tf2onnx, with a symbolic batch, and quantize it by ONNX Runtime."""
    import keras
    import tensorflow as tf
    import tf2onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = keras.models.load_model(embedded.MODEL, compile=False)
    spec = [tf.TensorSpec((None, 128, 128, 3), tf.float32, name="photo")]
    function = tf.function(lambda x: model(x, training=False), input_signature=spec)
    tf2onnx.convert.from_function(function, spec, opset=17, output_path=str(folder / "fp32.onnx"))
    quant_pre_process(str(folder / "fp32.onnx"), str(folder / "ready.onnx"), skip_symbolic_shape=True)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.photos = photos(20)

        def get_next(self) -> dict[str, FloatArray] | None:
            photo = next(self.photos, None)
            return None if photo is None else {"photo": photo}

    quantize_static(
        str(folder / "ready.onnx"),
        str(folder / "int8.onnx"),
        Reader(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    quantize_dynamic(str(folder / "ready.onnx"), str(folder / "dynamic.onnx"), weight_type=QuantType.QUInt8)


def make_openvino(folder: Path) -> None:
    """Write the embedded default by Keras' export, and quantize it by NNCF."""
    import keras
    import nncf
    import openvino

    keras.models.load_model(embedded.MODEL, compile=False).export(
        str(folder / "fp32.xml"), format="openvino", verbose=False
    )
    model = openvino.Core().read_model(folder / "fp32.xml")
    # Without this, products overflow on processors without VNNI.
    advanced = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
    dataset = nncf.Dataset(list(photos(20)))
    quantized = nncf.quantize(model, dataset, subset_size=20, advanced_parameters=advanced)
    openvino.save_model(quantized, folder / "int8.xml")
    openvino.save_model(nncf.compress_weights(openvino.Core().read_model(folder / "fp32.xml")), folder / "dynamic.xml")


Sizes = Sequence[int | str]


def averaging(
    path: Path,
    shape: Sizes = (1, 3, 16, 16),
    *,
    classes: int = 4,
    dtype: int = TensorProto.FLOAT,
    output: Sizes | None = None,
    bias: Sequence[float] | None = None,
    last: str = "Softmax",
    outputs: Sequence[str] = ("scores",),
) -> FloatArray:
    """Write an .onnx file that convolves a photo, channels first, and takes the mean; return its kernel.

    Args:
        path: The file.
        shape: The shape of the input.
        classes: The number of classes.
        dtype: The type of the input.
        output: The shape that the output is given; None leaves (1, classes).
        bias: The bias of the classes.
        last: The last operator.
        outputs: The names of the outputs, which are all the same.
    """
    kernel = np.random.default_rng(0).normal(size=(classes, 3, 1, 1)).astype(np.float32)
    stored = numpy_helper.from_array(kernel, "kernel")
    initial = [stored, numpy_helper.from_array(np.array(bias or [0.0] * classes, np.float32), "bias")]
    nodes = [
        helper.make_node("Cast", ["photo"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["real", "kernel", "bias"], ["convolved"]),
        helper.make_node("GlobalAveragePool", ["convolved"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node(last, ["flat"], ["answer"]),
    ]
    if output is not None:
        initial.append(numpy_helper.from_array(np.array(output, np.int64), "shape"))
    for name in outputs:
        shaped = ["answer"] if output is None else ["answer", "shape"]
        nodes.append(helper.make_node("Identity" if output is None else "Reshape", shaped, [name]))
    graph = helper.make_graph(
        nodes,
        "averaging",
        [helper.make_tensor_value_info("photo", dtype, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, output) for name in outputs],
        initial,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return kernel


def with_metadata(
    model: Path, path: Path, *, mean: Sequence[float], deviation: Sequence[float], labels: bytes | None
) -> None:
    """Write a .tflite file with metadata, as tflite-support writes it: mean and deviation, and a file of labels."""
    from tensorflow.lite.python import schema_py_generated as schema

    content = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model.read_bytes(), 0))
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(_metadata(mean, deviation, labelled=labels is not None), np.uint8)
    content.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = "TFLITE_METADATA", len(content.buffers) - 1
    content.metadata = [*(content.metadata or []), entry]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(content.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    if labels is not None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("labels.txt", labels)


def _metadata(mean: Sequence[float], deviation: Sequence[float], *, labelled: bool) -> bytes:
    """Return a ModelMetadata of metadata_schema.fbs: one subgraph with an input, which is normalized, and an output."""
    b = flatbuffers.Builder(1024)

    def floats(values: Sequence[float]) -> int:
        return int(b.CreateNumpyVector(np.asarray(values, np.float32)))

    def table(**fields: Any) -> int:
        """Make a table of fields by their numbers: offsets are integers, bytes are pairs of a kind and a number."""
        b.StartObject(12)
        for name, value in fields.items():
            number = int(name.removeprefix("f"))
            if isinstance(value, tuple):
                b.PrependUint8Slot(number, value[1], 0)
            else:
                b.PrependUOffsetTRelativeSlot(number, value, 0)
        return int(b.EndObject())

    def vector(*offsets: int) -> int:
        b.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            b.PrependUOffsetTRelative(offset)
        return int(b.EndVector())

    options = table(f0=floats(mean), f1=floats(deviation))
    step = table(f0=("byte", 1), f1=options)
    source = table(f4=vector(step))
    result = table()
    if labelled:
        result = table(f6=vector(table(f0=b.CreateString("labels.txt"), f2=("byte", 2))))
    graph = table(f2=vector(source), f3=vector(result))
    b.Finish(table(f3=vector(graph)), b"M001")
    return bytes(b.Output())


def answered_by_tflite(path: Path, photo: Tensor) -> FloatArray:
    """Return what the interpreter answers to a photo (H, W, C) of real values, quantized as TFLite's guide says."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = source["quantization"]
    if scale:
        bounds = np.iinfo(source["dtype"])
        photo = np.clip(np.floor(photo.astype(np.float64) / scale + zero + 0.501), bounds.min, bounds.max)
    interpreter.set_tensor(source["index"], photo[None].astype(source["dtype"]))
    interpreter.invoke()
    answer = interpreter.get_tensor(result["index"])[0].astype(np.float32)
    scale, zero = result["quantization"]
    real: FloatArray = (answer - zero) * np.float32(scale) if scale else answer
    return real


if __name__ == "__main__":
    for make in (make_tflite, make_onnx, make_openvino):
        make(Path(sys.argv[1]))
