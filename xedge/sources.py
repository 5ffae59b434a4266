"""From what the user names to a reference graph: a model file, a SavedModel folder, a built-in name, or nothing."""

from __future__ import annotations

import difflib
import hashlib
import os
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from xedge.errors import InputError, MissingRuntimeError, UnsupportedError, UsageError
from xedge.graph.ir import Graph, Weighted
from xedge.models.compact import embedded
from xedge.vocabulary import BUILT_IN, COMPACT

FILE_KINDS = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A model as the user named it.

    Args:
        name: for files and reports.
        path: its file or folder; None for a built-in name.
        scheme: the preprocessing it was trained with, if that is known.
        embedded: whether it is the embedded default.
        weights: for a built-in name, where its weights come from.
    """

    name: str
    path: Path | None
    scheme: str | None = None
    embedded: bool = False
    weights: str | None = None

    def __str__(self) -> str:
        return self.name if self.path is None or self.embedded else self.path.name


def find_source(model: str | None, weights: str | None = None) -> Source:
    """Return what a MODEL argument names.

    Raises:
        UsageError: an unknown name, or weights that are missing or do not belong.
        InputError: the file is missing or of a kind that is not read.
    """
    if model is None or model == COMPACT:
        _no_weights(weights, COMPACT)
        return Source(name=COMPACT, path=embedded.MODEL, scheme="tf", embedded=True)
    if model in BUILT_IN:
        if weights is None:
            raise UsageError(f"{model}: has no weights of its own; give --weights imagenet, or --weights FILE")
        return Source(name=model, path=None, scheme=BUILT_IN[model], weights=weights)
    _no_weights(weights, model)
    path = Path(model)
    if not path.exists():
        raise _unknown(model)
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise InputError(f"{path}: a folder without saved_model.pb; give a SavedModel folder, or a .keras or .h5 file")
    if path.is_file() and path.suffix.lower() not in FILE_KINDS:
        raise InputError(f"{path}: not a Keras model; give {', '.join(FILE_KINDS)} or a SavedModel folder")
    return Source(name=path.stem if path.is_file() else path.name, path=path)


def _no_weights(weights: str | None, model: str) -> None:
    if weights is not None:
        raise UsageError(f"--weights goes with {', '.join(BUILT_IN)}; {model} has its own weights")


def _unknown(model: str) -> Exception:
    names = [COMPACT, *BUILT_IN]
    close = difflib.get_close_matches(model, names, 1)
    hint = f"did you mean {close[0]}?" if close else f"give a model file, or one of {', '.join(names)}"
    if os.sep in model or Path(model).suffix:
        return InputError(f"{model}: no such model file; {hint}")
    return UsageError(f"{model}: neither a model file nor a built-in name; {hint}")


def use_light_backend() -> None:
    """Let Keras load files with OpenVINO, which imports in a fifth of TensorFlow's time, unless the user chose."""
    if find_spec("keras") is None:
        raise MissingRuntimeError("keras is not installed; the host side needs it: pip install 'xedge[host]'")
    if find_spec("openvino") is not None:
        os.environ.setdefault("KERAS_BACKEND", "openvino")


def load_keras(source: Source, *, allow_code: bool = False) -> Any:
    """Return the Keras model of a source.

    Args:
        source: a file or a built-in name; no SavedModel folder.
        allow_code: let the file bring code of its own (Lambda layers).

    Raises:
        InputError: the file is damaged, is no model, or brings code that was not allowed.
        UnsupportedError: the model cannot be loaded here, though TensorFlow's converter may take it.
    """
    use_light_backend()
    import keras  # noqa: PLC0415 - after the backend is chosen

    from xedge.models.legacy import KERAS_2_LAYERS  # noqa: PLC0415 - imports keras

    if source.path is None:
        from xedge.models import zoo  # noqa: PLC0415 - imports keras

        assert source.weights is not None
        return zoo.build(source.name, source.weights)
    if source.path.is_dir():
        raise UnsupportedError(f"{source.path}: a SavedModel holds no Keras layers; give the .keras or .h5 file")
    _check_container(source.path)
    try:
        return keras.models.load_model(
            source.path,
            custom_objects=KERAS_2_LAYERS if source.path.suffix.lower() != ".keras" else None,
            compile=False,
            safe_mode=not allow_code,
        )
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
            f"{path}: brings code of its own (a Lambda layer), which is not run; if you trust it give --allow-code"
        )
    if "No model config found" in text:
        return InputError(f"{path}: holds weights without a model; give the whole model, or --weights with its name")
    if isinstance(error, OSError | KeyError | zipfile.BadZipFile) or "truncated" in text:
        return InputError(f"{path}: damaged ({text[:120]}); save or copy it again")
    return UnsupportedError(f"{path}: Keras does not load it ({text[:200]})")


def weights_digest(graph: Graph) -> str:
    """Return a sha256 over the names, shapes and values of a graph's weights."""
    digest = hashlib.sha256()
    for node in graph:
        if isinstance(node, Weighted):
            digest.update(f"{node.name}{node.kernel.shape}".encode())
            digest.update(np.ascontiguousarray(node.kernel).tobytes())
            digest.update(np.ascontiguousarray(node.bias).tobytes())
    return digest.hexdigest()


def parameter_count(graph: Graph) -> int:
    """Return the number of weights and biases of the folded graph."""
    return sum(node.kernel.size + node.bias.size for node in graph if isinstance(node, Weighted))


def layer_kinds(model: Any) -> frozenset[str]:
    """Return the class names of a Keras model's layers, those of nested models included."""
    kinds: set[str] = set()
    for layer in model.layers:
        kinds.add(type(layer).__name__)
        if hasattr(layer, "layers"):
            kinds |= layer_kinds(layer)
    return frozenset(kinds)


def guess_scheme(source: Source, model_name: str, kinds: frozenset[str]) -> tuple[str, str]:
    """Return the preprocessing scheme to assume, and why, when the user did not say.

    Nothing in a model file says how its photos were scaled; a model that scales its own input takes raw pixels.
    """
    if source.scheme is not None:
        return source.scheme, "as it was trained"
    if kinds & {"Rescaling", "Normalization"}:
        return "raw", "the model scales its input itself"
    if model_name in BUILT_IN:
        return BUILT_IN[model_name], f"as Keras Applications' {model_name} was trained"
    return "tf", "assumed; give --preprocess if the model was trained otherwise"
