"""An operation in one module of another package: its Keras layer, its node, its reader and its writers.

ONNX has a form of its own for it here; OpenVINO and TFLite make it of its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import keras

from xedge.graph.ir import Activation, Multiply, Node
from xedge.graph.writing import writes
from xedge.sources.keras.reading import reads
from xedge.types import Shape

if TYPE_CHECKING:
    from xedge.graph.onnx import OnnxWriter
    from xedge.sources.keras.layers import LayerBuilder


@keras.saving.register_keras_serializable(package="squared_relu")
class SquaredReLU(keras.layers.Layer):  # type: ignore[misc]
    """max(x, 0)^2; So et al., "Primer: Searching for Efficient Transformers for Language Modeling", 2021."""

    def call(self, x: Any) -> Any:
        """Return the activation of a tensor."""
        return keras.ops.square(keras.ops.relu(x))


@dataclass(frozen=True, kw_only=True, eq=False)
class SquaredRelu(Node):
    """max(x, 0)^2, channel by channel. It computes in float: there is no int8 kernel for it."""

    keeps_channels: ClassVar[bool] = True

    @property
    def is_never_negative(self) -> bool:
        """A square is never negative."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the input's shape."""
        return inputs[0]

    def parts(self, inputs: Sequence[Shape]) -> tuple[Node, ...]:
        """Return a ReLU and the product with itself."""
        rectified = f"{self.name}#rectified"
        return (
            Activation(name=rectified, inputs=self.inputs, kind="relu"),
            Multiply(name=self.name, inputs=(rectified, rectified)),
        )


@reads("SquaredReLU", package="squared_relu")
def _read(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return builder.add(SquaredRelu(name=name, inputs=(inputs[0],)))


@writes("onnx", SquaredRelu)
def _write(writer: OnnxWriter, node: SquaredRelu, inputs: list[str], output: str) -> None:
    rectified = writer.emit("Relu", inputs, f"{node.name}#rectified")
    writer.emit("Mul", [rectified, rectified], output)
