"""From what the user names to a model: a file, a folder, a built-in name, or nothing, which is the embedded default."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from xedge.bundle.reading import MANIFEST
from xedge.errors import InputError, UsageError, parameter
from xedge.models.compact import embedded
from xedge.sources import Source, source_kinds
from xedge.sources.keras import SOURCE as KERAS
from xedge.vocabulary import BUILT_IN, COMPACT


def find_source(model: str | None, weights: str | None = None) -> Source:
    """Return the model that a name or a path stands for.

    Args:
        model: A file, a folder or a built-in name; None is the compact Xception that comes with xedge.
        weights: For a built-in name, ``imagenet`` or a file.

    Raises:
        UsageError: The name is unknown, or weights are missing or do not belong.
        InputError: The file is missing or of a kind that is not read.
    """
    if model is None or model == COMPACT:
        _no_weights(weights, COMPACT)
        return Source(name=COMPACT, path=embedded.MODEL, kind=KERAS, scheme="tf", embedded=True)
    if model in BUILT_IN:
        if weights is None:
            raise UsageError(
                f"{model} has no weights of its own; give {parameter('weights')} imagenet, or a file of weights"
            )
        return Source(name=model, path=None, kind=KERAS, scheme=BUILT_IN[model], weights=weights)
    _no_weights(weights, model)
    path = Path(model)
    if not path.exists():
        raise _unknown(model)
    kinds = source_kinds()
    kind = next((kind for kind in kinds if kind.takes(path)), None)
    if kind is None:
        known = ", or ".join(one.words for one in kinds)
        what = "a folder, but not a SavedModel" if path.is_dir() else "not a model that xedge reads"
        if (path / MANIFEST).is_file():
            what = "a bundle, which no longer has the model that it was made of"
        raise InputError(f"{path}: is {what}; give {known}")
    return Source(name=path.stem if path.is_file() else path.name, path=path, kind=kind)


def _no_weights(weights: str | None, model: str) -> None:
    if weights is not None:
        raise UsageError(f"{parameter('weights')} goes with {', '.join(BUILT_IN)}; {model} has its own weights")


def _unknown(model: str) -> Exception:
    names = [COMPACT, *BUILT_IN]
    close = difflib.get_close_matches(model, names, 1)
    hint = f"did you mean {close[0]}?" if close else f"give a model file, or one of {', '.join(names)}"
    if os.sep in model or Path(model).suffix:
        return InputError(f"{model}: there is no such model file; {hint}")
    return UsageError(f"{model}: is neither a model file nor a built-in name; {hint}")
