"""A Keras model on TensorFlow, for libraries' converters: the process that loads, exports and asks it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from xedge.sources import Source
from xedge.sources._freezing import freeze
from xedge.sources._tensorflow import answer
from xedge.sources.keras import SOURCE
from xedge.types import FloatArray


class _Inference:
    """A Keras model in inference."""

    def __init__(self, model: Any, *, takes_integers: bool) -> None:
        self._model, self.takes_integers = model, takes_integers

    def export(self, folder: Path) -> None:
        """Write it as a SavedModel."""
        self._model.export(str(folder), verbose=False)

    def freeze(self, folder: Path) -> None:
        """Write its operations."""
        height, width, channels = self._model.inputs[0].shape[1:]
        freeze(lambda photo: self._model(photo, training=False), (height, width, channels), folder)

    def output(self, photo: FloatArray) -> FloatArray:
        """Return its output (1, classes) for a photo (1, H, W, C)."""
        return np.asarray(self._model(photo, training=False), np.float32)


def _load(path: Path, size: tuple[int, int] | None, allow_code: bool) -> _Inference:
    # They import keras, whose backend the parent process has chosen.
    from xedge.sources.keras.file import load_keras  # noqa: PLC0415
    from xedge.sources.keras.inference import at_size, for_inference, takes_integers  # noqa: PLC0415

    model = load_keras(Source(name=path.stem, path=path, kind=SOURCE), allow_code=allow_code)
    model = at_size(model, size) if size is not None else model
    return _Inference(for_inference(model), takes_integers=takes_integers(model))


if __name__ == "__main__":
    sys.exit(answer(_load))
