"""Artifacts with one fault each, as other tools make them, and what ``xedge explain`` has to say of each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from xedge.types import FloatArray

SIDE, CHANNELS, CLASSES = 64, 64, 10


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A fault, and what has to be found.

    Args:
        make: A function that writes the artifact into a folder and returns its file.
        kind: The kind of cause.
        words: A pattern for what is said of it: its words and its reason.
        options: What the bundle is run with.
    """

    make: Callable[[Path], Path]
    kind: str
    words: str
    options: dict[str, Any] = field(default_factory=dict)


def photos(count: int) -> Iterator[FloatArray]:
    """Yield photos (1, H, W, C) of noise from -1 to 1, which calibrate as well as others where only time matters."""
    noise = np.random.default_rng(0)
    for _ in range(count):
        yield noise.uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)


def network(body: Callable[[Any], Any]) -> Any:
    """Return a Keras classifier with something between its first convolution and its head."""
    import keras

    photo = keras.Input((SIDE, SIDE, 3), batch_size=1)
    x = keras.layers.Conv2D(CHANNELS, 3, strides=2, padding="same", activation="relu")(photo)
    x = keras.layers.GlobalAveragePooling2D()(body(x))
    return keras.Model(photo, keras.layers.Dense(CLASSES, activation="softmax")(x))


def conv(x: Any, **options: Any) -> Any:
    """Return a convolution of a tensor in Keras."""
    import keras

    return keras.layers.Conv2D(CHANNELS, **{"kernel_size": 1, "padding": "same", **options})(x)


def tflite(body: Callable[[Any], Any], *, precision: str = "int8", per_tensor: bool = False) -> Callable[[Path], Path]:
    """Return a function that writes a network by TensorFlow's converter."""

    def make(folder: Path) -> Path:
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_keras_model(network(body))
        if precision != "fp32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "int8":
            converter.representative_dataset = lambda: ([photo] for photo in photos(4))
        converter._experimental_disable_per_channel = per_tensor
        path = folder / "planted.tflite"
        with warnings.catch_warnings():
            # The converter warns of every model whose ends are float while its inside is not.
            warnings.filterwarnings("ignore", "Statistics for quantized inputs", UserWarning)
            path.write_bytes(converter.convert())
        return path

    return make


def alone_relus(x: Any) -> Any:
    """ReLUs behind sums that others read too."""
    import keras

    for _ in range(4):
        summed = keras.layers.Add()([x, conv(x)])
        x = keras.layers.Add()([summed, conv(keras.layers.ReLU()(summed))])
    return x


def plain(x: Any) -> Any:
    """Usual convolutions."""
    for _ in range(3):
        x = conv(x, kernel_size=3, activation="relu")
    return x


def depthwise(x: Any) -> Any:
    """Depthwise convolutions, and others."""
    import keras

    for _ in range(3):
        x = conv(keras.layers.DepthwiseConv2D(5, padding="same")(x), activation="relu")
    return x


def running_sums(x: Any) -> Any:
    """An operation without an integer kernel."""
    import keras

    for _ in range(3):
        x = conv(keras.ops.cumsum(conv(x), axis=1))
    return x


def logarithms(x: Any) -> Any:
    """An activation that XNNPACK lacks."""
    import keras

    for _ in range(3):
        x = conv(keras.layers.Activation(keras.ops.log)(keras.layers.ReLU()(conv(x)) + 1.0))
    return x


def many_dimensions(x: Any) -> Any:
    """A convolution over five dimensions."""
    import keras

    split = keras.ops.reshape(x, (1, SIDE // 4, 2, SIDE // 2, CHANNELS))
    split = keras.layers.Conv3D(CHANNELS, (3, 1, 3), padding="same")(split)
    return conv(keras.ops.reshape(split, (1, SIDE // 2, SIDE // 2, CHANNELS)))


def strided_pools(x: Any) -> Any:
    """Poolings whose stride is larger than their window."""
    import keras

    return conv(keras.layers.Add()([keras.layers.MaxPooling2D(n, strides=5, padding="same")(x) for n in (2, 3, 4)]))


def softmaxes(x: Any) -> Any:
    """Softmaxes of integers between convolutions."""
    import keras

    for _ in range(2):
        x = conv(keras.layers.Softmax()(conv(x)))
    return x


def embedded(target: str, precision: str = "int8") -> Callable[[Path], Path]:
    """Return a function that converts the embedded default; its bundle is explained as it is."""

    def make(folder: Path) -> Path:
        from xedge import convert

        options: dict[str, Any] = {"target": target, "precision": precision, "calibration_count": 10}
        (made,) = convert(**options, output=folder / "bundle")
        return made.path

    return make


def onnx_file(nodes: Sequence[tuple[str, dict[str, Any]]], path: Path) -> Path:
    """Write an ONNX file: a first convolution, operators one after another, and a head."""
    noise = np.random.default_rng(0)
    made: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    name, channels = "photo", 3

    def add(kind: str, inputs: list[str], attributes: dict[str, Any]) -> str:
        output = f"{kind}_{len(made)}"
        made.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def weights(shape: tuple[int, ...]) -> str:
        label = f"weights_{len(constants)}"
        values = noise.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        constants.append(numpy_helper.from_array(values.astype(np.float32), label))
        return label

    for kind, attributes in [("Conv", {"strides": [2, 2]}), *nodes]:
        inputs = [name]
        given = dict(attributes)
        if kind == "Conv":
            size = given.pop("size", 1)
            inputs.append(weights((CHANNELS, channels, size, size)))
            given["pads"], channels = [size // 2] * 4, CHANNELS
        name = add(kind, inputs, given)
    name = add("Conv", [add("GlobalAveragePool", [name], {}), weights((CLASSES, CHANNELS, 1, 1))], {})
    name = add("Softmax", [add("Flatten", [name], {})], {})
    graph = helper.make_graph(
        made,
        "planted",
        [helper.make_tensor_value_info("photo", TensorProto.FLOAT, (1, 3, SIDE, SIDE))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, CLASSES))],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


Nodes = Sequence[tuple[str, dict[str, Any]]]
CONVS: Nodes = [("Conv", {"size": 3}), ("Relu", {})] * 4
SWAPPED: Nodes = [("Conv", {}), ("Transpose", {"perm": [0, 1, 3, 2]})] * 4
SINES: Nodes = [("Conv", {}), ("Sin", {})] * 3


def onnx_int8(nodes: Sequence[tuple[str, dict[str, Any]]], **options: Any) -> Callable[[Path], Path]:
    """Return a function that quantizes a network by ONNX Runtime."""

    def make(folder: Path) -> Path:
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                self.photos = photos(4)

            def get_next(self) -> dict[str, FloatArray] | None:
                photo = next(self.photos, None)
                return None if photo is None else {"photo": photo.transpose(0, 3, 1, 2)}

        source, path = onnx_file(nodes, folder / "float.onnx"), folder / "planted.onnx"
        quantize_static(str(source), str(path), Reader(), weight_type=QuantType.QInt8, **options)
        return path

    return make


def onnx_dynamic(folder: Path) -> Path:
    """Quantize a network by ONNX Runtime with ranges of each photo."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = folder / "planted.onnx"
    quantize_dynamic(str(onnx_file(CONVS, folder / "float.onnx")), str(path), weight_type=QuantType.QUInt8)
    return path


def openvino_file(
    nodes: Sequence[tuple[str, dict[str, Any]]], *, quantized: bool = True, ignored: Sequence[str] = ()
) -> Callable[[Path], Path]:
    """Return a function that quantizes a network by NNCF."""

    def make(folder: Path) -> Path:
        import nncf
        import openvino

        model = openvino.Core().read_model(onnx_file(nodes, folder / "float.onnx"))
        if quantized:
            inputs = [photo.transpose(0, 3, 1, 2) for photo in photos(4)]
            scope = nncf.IgnoredScope(names=list(ignored)) if ignored else None
            model = nncf.quantize(model, nncf.Dataset(inputs), subset_size=4, ignored_scope=scope)
        path = folder / "planted.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        return path

    return make


# Two of the five convolutions of a network of CONVS, by the names that they have there.
SOME = ("Conv_3", "Conv_5")
FAULTS = {
    "tflite: stand-alone ReLU": Planted(
        make=tflite(alone_relus), kind="outside the delegate", words="RELU in float only"
    ),
    "tflite: weights with one scale": Planted(
        make=tflite(plain, per_tensor=True), kind="weights with one scale", words="quantized per tensor"
    ),
    "tflite: depthwise with ranges of each photo": Planted(
        make=tflite(depthwise, precision="dynamic"), kind="outside the delegate", words="no depthwise convolution with"
    ),
    "tflite: float island": Planted(
        make=tflite(running_sums), kind="outside the delegate", words="CUMSUM float32.*no CUMSUM"
    ),
    "tflite: an operator that XNNPACK lacks": Planted(
        make=tflite(logarithms), kind="outside the delegate", words="no LOG at all"
    ),
    "tflite: wrong rank": Planted(make=tflite(many_dimensions), kind="outside the delegate", words="CONV_3D"),
    "tflite: unsupported stride": Planted(
        make=tflite(strided_pools), kind="outside the delegate", words="MAX_POOL_2D in general; the stride"
    ),
    "tflite: softmax of integers": Planted(
        make=tflite(softmaxes), kind="outside the delegate", words="SOFTMAX in float only"
    ),
    "tflite: not quantized": Planted(make=tflite(plain, precision="fp32"), kind="not quantized", words="fp32"),
    "tflite: one thread": Planted(make=embedded("tflite"), kind="idle cores", words="1 of", options={"threads": 1}),
    "tflite: too many threads": Planted(
        make=embedded("tflite"), kind="too many threads", words="64 threads", options={"threads": 64}
    ),
    "onnx: products in float": Planted(
        make=onnx_int8(CONVS, nodes_to_exclude=list(SOME)), kind="computed in float", words="left out"
    ),
    "onnx: float island": Planted(
        make=onnx_int8(SINES, op_types_to_quantize=["Conv", "MatMul"]), kind="computed in float", words="Sin"
    ),
    "onnx: transpositions": Planted(make=onnx_int8(SWAPPED), kind="moving values", words="order of a tensor's values"),
    "onnx: conversions": Planted(make=onnx_dynamic, kind="conversions", words="only convert"),
    "onnx: not quantized": Planted(
        make=lambda folder: onnx_file(CONVS, folder / "planted.onnx"), kind="not quantized", words="fp32"
    ),
    "onnx: one thread": Planted(make=embedded("onnx"), kind="idle cores", words="1 of", options={"threads": 1}),
    "openvino: products in float": Planted(
        make=openvino_file(CONVS, ignored=SOME), kind="computed in float", words="left out"
    ),
    "openvino: float island": Planted(make=openvino_file(SINES), kind="computed in float", words="in float between"),
    "openvino: too many threads": Planted(
        make=embedded("openvino"), kind="too many threads", words="64 threads", options={"threads": 64}
    ),
    "openvino: not quantized": Planted(make=openvino_file(CONVS, quantized=False), kind="not quantized", words="fp32"),
    "openvino: one thread": Planted(make=embedded("openvino"), kind="idle cores", words="1 of", options={"threads": 1}),
}
HEALTHY = {target: embedded(target) for target in ("tflite", "onnx", "openvino")}
