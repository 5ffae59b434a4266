"""The model as Keras itself computes it, in float32 even where the processor would prefer something narrower."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from xedge.memory import give_memory_back
from xedge.sources.keras.inference import for_inference
from xedge.types import FloatArray


class Original:
    """A Keras model that can be asked for outputs after the model itself was released.

    With the OpenVINO backend the model is exported once and compiled only while it is asked. Keras' own ``predict``
    takes no precision and computes in bfloat16 where the processor has it, which is not exact enough for a reference.

    Args:
        model: The loaded Keras model.
        scratch: A folder that exists as long as this object is used.
    """

    def __init__(self, model: Any, scratch: Path) -> None:
        self._model = for_inference(model)
        self._file: Path | None = None
        if keras.backend.backend() == "openvino":
            file = scratch / "keras.xml"
            self._model.export(str(file), format="openvino", verbose=False)
            self._model, self._file = None, file

    def output(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return outputs (N, classes) for preprocessed photos (H, W, C)."""
        if self._file is None:
            # predict makes a data set of each call, which takes longer than a small model does.
            return np.concatenate([np.asarray(self._model.predict_on_batch(photo[None])) for photo in photos])
        import openvino  # noqa: PLC0415 - with this backend alone

        core = openvino.Core()
        core.set_property({"ENABLE_MMAP": False})  # a mapped file would stay in memory beside the compiled weights
        compiled = core.compile_model(core.read_model(self._file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        give_memory_back()
        rows = [np.array(compiled([photo[None]])[0]) for photo in photos]
        del compiled
        give_memory_back()
        return np.concatenate(rows)
