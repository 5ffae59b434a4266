"""Load Keras models and read them: files of Keras 2 and 3, and built-in names."""

from __future__ import annotations

import logging
import os
import re
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xedge.errors import (
    InputError,
    UnsuitableModelError,
    UnsupportedError,
    XedgeError,
    host_needed,
    parameter,
)
from xedge.graph.fold import simplify
from xedge.graph.ir import Graph
from xedge.graph.spill import spilled
from xedge.memory import give_memory_back
from xedge.native_log import native_log
from xedge.plugins import registered
from xedge.sources import FloatModel, OutsideSetError, ReadModel, Source
from xedge.sources._tensorflow import TensorFlowModel
from xedge.sources.keras.reading import not_registered
from xedge.types import Shape

log = logging.getLogger(__name__)


def read(source: Source, scratch: Path, *, allow_code: bool) -> ReadModel:
    """Load a Keras model and read it into the reference graph; arguments and errors are those of ``Reader``."""
    with native_log():  # Keras imports TensorFlow for .h5 files, which greets at length
        model, notes = loaded(source, allow_code=allow_code)
        # They import keras, whose backend is chosen by now.
        from xedge.sources.keras.inference import at_size, own_size, takes_any_size  # noqa: PLC0415
        from xedge.sources.keras.layers import LayerBuilder, read_unfolded  # noqa: PLC0415
        from xedge.sources.keras.preprocessing import suggested_scheme, suggested_size  # noqa: PLC0415

        whole, reason, own = model, None, None
        if source.size is not None:
            model, reason = at_size(model, source.size), "as asked"
            own = own_size(whole) if own_size(whole) != source.size else None
        elif takes_any_size(model) and (suggested := suggested_size(model)) is not None:
            model, reason = at_size(model, suggested[0]), f"{suggested[1]}; the model takes any size"
        builder = LayerBuilder()
        try:
            unfolded = read_unfolded(model, builder)
        except UnsuitableModelError:
            raise
        except UnsupportedError as error:
            raise OutsideSetError(
                error.worded(parameter), suggested_scheme(whole, builder.nodes), tuple(notes)
            ) from error
        scheme = suggested_scheme(whole, unfolded.nodes)
        graph = spilled(simplify(unfolded), scratch / "kernels")
        original = _original(model, source, graph.input.shape, scratch, allow_code=allow_code)
    name = model.name
    del model, whole, unfolded, builder
    give_memory_back()
    return ReadModel(
        graph=graph,
        original=original,
        name=name,
        scheme=scheme,
        size_reason=reason,
        notes=tuple(notes),
        own_size=own,
    )


def _original(model: Any, source: Source, shape: Shape, scratch: Path, *, allow_code: bool) -> FloatModel:
    """Return the model as Keras computes it with the present backend or, if that lacks an operation, with TensorFlow's.

    OpenVINO's backend, for one, takes no steps backwards.
    """
    from xedge.sources.keras.original import Original  # noqa: PLC0415 - imports keras

    try:
        return Original(model, scratch)
    except Exception as error:  # whatever a backend raises
        if source.path is None:
            raise
        log.debug("%s: the backend cannot compute it (%s)", source, " ".join(str(error).split())[:300])
    sized = replace(source, size=(shape[0], shape[1]))
    return TensorFlowModel("xedge.sources.keras.library", sized, allow_code=allow_code)


def read_built_in(name: str, size: tuple[int, int] | None = None) -> Graph:
    """Return the reference graph of a built-in network with fresh weights.

    Args:
        name: The network's name.
        size: The height and width of photos; None takes the network's own.
    """
    use_light_backend()
    # They import keras, whose backend is chosen by now.
    from xedge.models.zoo import NETWORKS  # noqa: PLC0415
    from xedge.sources.keras.inference import at_size  # noqa: PLC0415
    from xedge.sources.keras.layers import read_keras  # noqa: PLC0415

    model = NETWORKS[name].build()
    return read_keras(model if size is None else at_size(model, size))


def use_light_backend() -> None:
    """Let Keras load files with OpenVINO, which imports in a fifth of TensorFlow's time, unless the user chose."""
    if find_spec("keras") is None:
        raise host_needed("keras")
    if find_spec("openvino") is not None:
        os.environ.setdefault("KERAS_BACKEND", "openvino")


def load_keras(source: Source, *, allow_code: bool = False) -> Any:
    """Return the Keras model of a source; arguments and errors are those of ``loaded``."""
    return loaded(source, allow_code=allow_code)[0]


def loaded(source: Source, *, allow_code: bool = False) -> tuple[Any, list[str]]:
    """Return the Keras model of a source, and what the user should know of how it was taken.

    Args:
        source: A file or a built-in name.
        allow_code: Let the file bring code of its own (Lambda layers).

    Raises:
        InputError: The file is damaged, is no model, or brings code that was not allowed.
        UnsupportedError: The model cannot be loaded here, though it may be with TensorFlow's backend.
    """
    use_light_backend()
    import keras  # noqa: PLC0415 - after the backend is chosen

    from xedge.sources.keras.keras2.file import keras_2_model  # noqa: PLC0415 - imports keras

    if source.path is None:
        from xedge.models import zoo  # noqa: PLC0415 - imports keras

        assert source.weights is not None
        return zoo.build(source.name, source.weights), []
    _check_container(source.path)
    registered("xedge.operations")  # other packages register their layers with Keras when they are imported
    try:
        taken = keras_2_model(source.path, allow_code=allow_code)
        if taken is not None:
            return taken
        return keras.models.load_model(source.path, compile=False, safe_mode=not allow_code), []
    except XedgeError as error:
        raise error.within(str(source.path)) from error
    except Exception as error:  # Keras raises nearly anything from a damaged or foreign file
        raise _explained(source.path, error) from error


def _check_container(path: Path) -> None:
    """Refuse what is no Keras file before Keras says so in many lines."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except PermissionError:
        raise InputError(f"{path}: no permission to read it") from None
    if path.suffix.lower() == ".keras":
        if not zipfile.is_zipfile(path) and start != b"\x89HDF\r\n\x1a\n":
            raise InputError(f"{path}: truncated or not a .keras archive; save or copy it again")
        if zipfile.is_zipfile(path):
            _check_members(path)
    elif start != b"\x89HDF\r\n\x1a\n":
        raise InputError(f"{path}: not an HDF5 file; save or copy it again")


def _check_members(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        missing = {"config.json", "model.weights.h5"} - set(archive.namelist())
    if missing:
        raise InputError(f"{path}: a zip, but no Keras model ({', '.join(sorted(missing))} missing)")


def _explained(path: Path, error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if "safe_mode" in text or "unsafe" in text.lower() or "Lambda" in text:
        return InputError(
            f"{path}: brings code of its own (a Lambda layer), which is not run; if you trust it, give "
            f"{parameter('allow_code')}"
        )
    if unknown := re.search(r"(?:Could not locate (?:class|function)|Unknown (?:layer|object):?) '?([\w.>]+)", text):
        return UnsupportedError(f"{path}: {not_registered(unknown.group(1))}")
    if "No model config found" in text:
        return InputError(
            f"{path}: holds weights without a model; give the whole model, or the weights with a built-in name"
        )
    if isinstance(error, OSError | KeyError | zipfile.BadZipFile) or "truncated" in text:
        return InputError(f"{path}: damaged ({text[:120]}); save or copy it again")
    return UnsupportedError(f"{path}: Keras does not load it ({text[:200]})")
