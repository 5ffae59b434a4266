"""Ask TensorFlow about a model that the reference graph cannot hold, in a process of its own.

TensorFlow takes over a gigabyte of memory, and its Keras backend excludes others. The kind of model has a module that
is run in that process; it gives ``answer`` a function that loads the model, and both sides meet in files.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import numpy as np

from xedge.errors import (
    InputError,
    MissingRuntimeError,
    UnsuitableModelError,
    UnsupportedError,
    XedgeError,
    parameter,
)
from xedge.processes import python_module, reason, run_python
from xedge.sources import Source
from xedge.types import FloatArray

# How the process ends, besides 0: what failed is not xedge's own error, or is one of these.
FAILED, NO_TENSORFLOW = 3, 4
ERRORS: dict[int, type[XedgeError]] = {5: InputError, 6: UnsuitableModelError, 7: UnsupportedError}
# What stands beside an exported SavedModel: whether the model's own input takes integers.
INTEGERS = "takes_integers.json"


class Loaded(Protocol):
    """A model that TensorFlow has loaded."""

    @property
    def takes_integers(self) -> bool:
        """Whether the model's own input takes integers, which only pixels are."""

    def export(self, folder: Path) -> None:
        """Write the model's inference as a SavedModel with one input (N, H, W, C) and one output, both float32."""

    def freeze(self, folder: Path) -> None:
        """Write the operations of the model's inference for one photo, with its weights (``saved_model.freezing``)."""

    def output(self, photo: FloatArray) -> FloatArray:
        """Return the output (1, classes) of the model in inference for a preprocessed photo (1, H, W, C)."""


# A function that loads the model at a path. It is told the height and width of photos, or None for the model's own, and
# whether the model may bring code of its own.
Load = Callable[[Path, "tuple[int, int] | None", bool], Loaded]


class TensorFlowModel:
    """A model as TensorFlow computes it, each time in a process of its own.

    Args:
        module: The name of the module that is run there.
        source: The model's file or folder, and the size of photos that is asked for.
        allow_code: Whether the model may bring code of its own.
    """

    def __init__(self, module: str, source: Source, *, allow_code: bool) -> None:
        assert source.path is not None, "a built-in network is in the reference graph's set"
        self._module, self._path, self._size, self._allow_code = module, source.path, source.size, allow_code

    def export(self, folder: Path) -> bool:
        """Write the model's inference as a SavedModel; return whether its own input takes integers.

        Args:
            folder: The folder to make.

        Raises:
            XedgeError: TensorFlow does not take the model, or is not installed.
        """
        self._ask("export", folder)
        return bool(json.loads((folder / INTEGERS).read_text()))

    def freeze(self, folder: Path) -> None:
        """Write the operations of the model's inference; arguments and errors are those of ``export``."""
        self._ask("freeze", folder)

    def output(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return outputs (N, classes) for preprocessed photos (H, W, C); errors are those of ``export``."""
        with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
            given, got = Path(scratch) / "photos.npy", Path(scratch) / "outputs.npy"
            np.save(given, np.stack(list(photos)))
            self._ask("output", given, got)
            rows: FloatArray = np.load(got)
        return rows

    def _ask(self, *job: str | Path) -> None:
        size = "own" if self._size is None else f"{self._size[0]}x{self._size[1]}"
        done = run_python(
            python_module(self._module, str(self._path), size, *map(str, job)),
            KERAS_BACKEND="tensorflow",
            TF_CPP_MIN_LOG_LEVEL="3",
            XEDGE_ALLOW_CODE="1" if self._allow_code else "",
        )
        if done.returncode == 0:
            return
        words = reason(done)
        if done.returncode in ERRORS:
            raise ERRORS[done.returncode](words)
        if done.returncode == NO_TENSORFLOW:
            raise MissingRuntimeError(f"{self._path}: needs TensorFlow ({words}); pip install 'xedge[tensorflow]'")
        raise UnsupportedError(f"{self._path}: TensorFlow does not take it ({words[:300]})")


def answer(load: Load) -> int:
    """Do what this process was started for, and return its exit code; a reason is the last line of standard error.

    Args:
        load: A function that loads the model.
    """
    path, asked, job, *places = sys.argv[1:]
    height, _, width = asked.partition("x")
    size = (int(height), int(width)) if width else None
    code, words = FAILED, ""
    try:
        import tensorflow as tf  # noqa: F401, PLC0415 - this is the process for it
    except ImportError as error:
        sys.stderr.write(f"\n{error}\n")
        return NO_TENSORFLOW
    try:
        model = load(Path(path), size, bool(os.environ.get("XEDGE_ALLOW_CODE")))
        if job == "freeze":
            model.freeze(Path(places[0]))
        elif job == "export":
            model.export(Path(places[0]))
            (Path(places[0]) / INTEGERS).write_text(json.dumps(model.takes_integers))
        else:
            rows = [model.output(photo[None]) for photo in np.load(places[0])]
            np.save(places[1], np.concatenate(rows).astype(np.float32))
    except XedgeError as error:
        code = next((code for code, kind in ERRORS.items() if kind is type(error)), FAILED)
        words = error.worded(parameter)
    except Exception as error:  # whatever TensorFlow raises, the parent process tells the user in one line
        words = str(error) or type(error).__name__
    else:
        return 0
    sys.stderr.write(f"\n{' '.join(words.split())[:1000]}\n")
    return code
