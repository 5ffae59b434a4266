"""Load the weights of Keras 2's files into the layers that were built of its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from keras.src.utils.naming import to_snake_case

from xedge.errors import InputError
from xedge.sources.keras.keras2 import MODELS, Piece
from xedge.types import Tensor

# Under other names in Keras 2.
OLD_NAMES = {"DepthwiseConv2D": {"kernel": "depthwise_kernel"}, "DepthwiseConv1D": {"kernel": "depthwise_kernel"}}


def load_hdf5(root: Any, model: Piece) -> None:
    """Load weights out of an HDF5 file, which has a group with lists of names for each layer of the outer model.

    Args:
        root: The open file's group of weights.
        model: The layers.

    Raises:
        InputError: The file's weights are not those of the layers.
    """
    pieces = {piece.name: piece for piece in model.pieces}
    for name in _names(root, "layer_names"):
        group = root[name]
        listed = _names(group, "weight_names")
        if not listed:
            continue
        if name not in pieces:
            raise InputError(f"{name}: the file has weights of a layer that its configuration does not have")
        values = [np.asarray(group[one]) for one in listed]
        leaves = list(_leaves(pieces[name]))
        _assign(name, _by_name(leaves, listed, values) or _by_order(leaves, values))
    _finish(model)


def load_archive(root: Any, model: Piece) -> None:
    """Load weights out of the HDF5 file in a ``.keras`` archive, whose groups are named after classes.

    Args:
        root: The open file, or a group in it.
        model: The layers.

    Raises:
        InputError: The file's weights are not those of the layers.
    """
    counts: dict[str, int] = {}
    children = next((root[key] for key in ("layers", "_layer_checkpoint_dependencies") if key in root), root)
    for piece in model.pieces:
        kind = to_snake_case(piece.kind)
        place = f"{kind}_{counts[kind]}" if kind in counts else kind
        counts[kind] = counts.get(kind, 0) + 1
        group = next((children[key] for key in (place, piece.name) if key in children), None)
        if piece.kind in MODELS:
            if group is not None:
                load_archive(group, piece)
            continue
        variables = _variables(piece)
        if not variables:
            continue
        if group is None or "vars" not in group:
            raise InputError(f"{piece.name}: the file has no weights of this layer")
        stored = group["vars"]
        values = [np.asarray(stored[str(at)]) for at in range(len(stored))]
        _assign(piece.name, list(zip(variables, values, strict=False)) if len(values) == len(variables) else None)
    _finish(model)


def _names(group: Any, attribute: str) -> list[str]:
    """Return a list of names, which HDF5 may have in several attributes."""
    if attribute in group.attrs:
        listed = list(group.attrs[attribute])
    else:
        listed, part = [], 0
        while f"{attribute}{part}" in group.attrs:
            listed += list(group.attrs[f"{attribute}{part}"])
            part += 1
    return [one.decode() if isinstance(one, bytes) else str(one) for one in listed]


def _leaves(piece: Piece) -> Iterator[Piece]:
    """Yield the layers inside a layer or nested model that are no models themselves."""
    if piece.kind not in MODELS:
        yield piece
        return
    for one in piece.pieces:
        yield from _leaves(one)


def _variables(piece: Piece) -> list[Any]:
    """A layer's variables as Keras 2 listed them: those that are trained, and then the others."""
    layer = piece.layer
    if layer is None or not hasattr(layer, "_trainable_variables"):
        return []
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def _by_name(leaves: list[Piece], names: list[str], values: list[Tensor]) -> list[tuple[Any, Tensor]] | None:
    """Match by the names of layer and variable; None unless each is found once and fits."""
    stored: dict[str, Tensor] = {}
    for name, value in zip(names, values, strict=True):
        stored["/".join(name.rpartition(":")[0].split("/")[-2:])] = value
    if len(stored) != len(names):
        return None
    found = []
    for piece in leaves:
        for variable in _variables(piece):
            old = OLD_NAMES.get(piece.kind, {}).get(variable.name, variable.name)
            match = stored.get(f"{piece.name.rpartition('/')[2]}/{old}")
            if match is None or tuple(match.shape) != tuple(variable.shape):
                return None
            found.append((variable, match))
    return found if len(found) == len(names) else None


def _by_order(leaves: list[Piece], values: list[Tensor]) -> list[tuple[Any, Tensor]] | None:
    """Match by order: what is trained in all layers stands before what is not; None unless all fit."""
    trained: list[Any] = []
    others: list[Any] = []
    for piece in leaves:
        layer = piece.layer
        if layer is None or not hasattr(layer, "_trainable_variables"):
            continue
        (trained if piece.trainable else others).extend(layer._trainable_variables)
        others.extend(layer._non_trainable_variables)
    variables = [*trained, *others]
    fits = len(variables) == len(values) and all(
        tuple(variable.shape) == tuple(value.shape) for variable, value in zip(variables, values, strict=True)
    )
    return list(zip(variables, values, strict=True)) if fits else None


def _assign(name: str, found: list[tuple[Any, Tensor]] | None) -> None:
    if found is None or any(tuple(variable.shape) != tuple(value.shape) for variable, value in found):
        raise InputError(f"{name}: the file's weights do not fit the layer")
    for variable, value in found:
        variable.assign(value)


def _finish(model: Piece) -> None:
    """Let layers take over what they compute of their weights."""
    for piece in _leaves(model):
        if hasattr(piece.layer, "finalize_state"):
            piece.layer.finalize_state()
