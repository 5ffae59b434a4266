"""A SavedModel on TensorFlow, for libraries' converters: the process that loads, exports and asks it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from xedge.errors import UnsuitableModelError, parameter
from xedge.sources._freezing import freeze
from xedge.sources._tensorflow import answer
from xedge.sources.saved_model.acting import refuse_acting
from xedge.types import FloatArray

SIGNATURE = "serving_default"


class _Signature:
    """A signature of a SavedModel that takes one photo and gives one output.

    Args:
        path: The SavedModel's folder.
        size: The height and width of photos for a model that takes any size; None takes its own.

    Raises:
        UnsuitableModelError: There is no such signature.
    """

    def __init__(self, path: Path, size: tuple[int, int] | None) -> None:
        import tensorflow as tf  # noqa: PLC0415 - this is the process for it

        self._tensorflow, self._path = tf, path
        self._loaded = tf.saved_model.load(str(path))  # the signature does not keep the variables alive
        self._function = self._chosen()
        inputs, outputs = self._function.structured_input_signature[1], self._function.structured_outputs
        if (len(inputs), len(outputs)) != (1, 1):
            raise UnsuitableModelError(
                f"{path} has the inputs {', '.join(sorted(inputs))} and the outputs {', '.join(sorted(outputs))}; "
                "xedge takes models with one photo as the input and one output, so save a model with only these"
            )
        ((self._input, spec),) = inputs.items()
        (self._output,) = outputs
        self._dtype = spec.dtype
        self.takes_integers = bool(spec.dtype.is_integer)
        self.shape = self._photo_shape(spec, size)

    def _chosen(self) -> Any:
        signatures = self._loaded.signatures
        if SIGNATURE in signatures:
            return signatures[SIGNATURE]
        if len(signatures) == 1:
            return next(iter(signatures.values()))
        raise UnsuitableModelError(
            f"{self._path} has no signature {SIGNATURE!r}, which says what it takes; save it with model.export, or "
            "give the .keras file"
        )

    def _photo_shape(self, spec: Any, size: tuple[int, int] | None) -> tuple[int, int, int]:
        sizes = spec.shape.as_list() if spec.shape.rank is not None else []
        if size is not None:
            if len(sizes) == 4 and sizes[1:3] in ([None, None], [*size]):
                sizes[1:3] = size
            else:
                raise UnsuitableModelError(f"{self._path} takes {tuple(sizes)}, not photos of {size[0]}x{size[1]}")
        if len(sizes) != 4 or None in sizes[1:] or sizes[0] not in (None, 1):
            raise UnsuitableModelError(
                f"{self._path} takes {tuple(sizes)}, not one photo of a fixed (height, width, channels); choose its "
                f"size with {parameter('size')}, such as 224x224, or save it with one"
            )
        return sizes[1], sizes[2], sizes[3]

    def _refuse_chance(self) -> None:
        graph = self._function.graph.as_graph_def()
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        chance = next((node.op for node in nodes if node.op.startswith(("Random", "StatelessRandom"))), None)
        if chance is not None:
            raise UnsuitableModelError(
                f"{self._path} acts at random ({chance}), which no artifact should; export "
                "keras.Model(inputs, model(inputs, training=False)) instead, or give the .keras file"
            )

    def _serve(self, photo: Any) -> Any:
        tf = self._tensorflow
        given = tf.cast(tf.round(photo), self._dtype) if self.takes_integers else tf.cast(photo, self._dtype)
        return tf.cast(self._function(**{self._input: given})[self._output], tf.float32)

    def export(self, folder: Path) -> None:
        """Write a SavedModel with float32 ends, unless it acts at random."""
        self._refuse_chance()
        tf, module = self._tensorflow, self._tensorflow.Module()
        module.loaded = self._loaded
        module.serve = tf.function(self._serve, input_signature=[tf.TensorSpec((1, *self.shape), tf.float32, "photo")])
        tf.saved_model.save(module, str(folder), signatures=module.serve)

    def freeze(self, folder: Path) -> None:
        """Write its operations."""
        freeze(self._serve, self.shape, folder)

    def output(self, photo: FloatArray) -> FloatArray:
        """Return the output (1, classes) for a photo (1, H, W, C)."""
        return np.asarray(self._serve(self._tensorflow.constant(photo)), np.float32)


def _load(path: Path, size: tuple[int, int] | None, allow_code: bool) -> _Signature:
    if not allow_code:
        refuse_acting(path)
    return _Signature(path, size)


if __name__ == "__main__":
    sys.exit(answer(_load))
