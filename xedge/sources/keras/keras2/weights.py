"""Load the weights of Keras 2's files into the layers that were built of its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from keras.ops import convert_to_numpy
from keras.src.utils.naming import to_snake_case

from xedge.errors import InputError
from xedge.sources.keras.keras2.building import MODELS, Piece
from xedge.types import Tensor

# Under other names in Keras 2.
OLD_NAMES = {"DepthwiseConv2D": {"kernel": "depthwise_kernel"}, "DepthwiseConv1D": {"kernel": "depthwise_kernel"}}
# TensorFlow 2.12 lists layers that have weights twice and counts both.
TWICE = "_layer_checkpoint_dependencies"


def load_hdf5(root: Any, model: Piece) -> None:
    """Load weights out of an HDF5 file, which has a group with lists of names for each layer of the outer model.

    Args:
        root: The open file's group of weights.
        model: The layers.

    Raises:
        InputError: The file's weights are not those of the layers.
    """
    pieces = {piece.name: piece for piece in model.pieces}
    without = {piece.name for piece in model.pieces if any(_variables(leaf) for leaf in _leaves(piece))}
    for name in _names(root, "layer_names"):
        group = root[name]
        listed = _names(group, "weight_names")
        if not listed:
            continue
        if name not in pieces:
            raise InputError(f"{name}: the file has weights of a layer that its configuration does not have")
        without.discard(name)
        values = [np.asarray(group[one]) for one in listed]
        leaves = list(_leaves(pieces[name]))
        _assign(name, _by_name(leaves, listed, values) or _by_order(leaves, values))
    if without:
        raise InputError(f"{min(without)}: the file has no weights of this layer")
    _finish(model)


def load_archive(root: Any, model: Piece) -> None:
    """Load weights out of the HDF5 file in a ``.keras`` archive, whose groups are named after classes.

    Args:
        root: The open file, or a group in it.
        model: The layers.

    Raises:
        InputError: The file's weights are not those of the layers.
    """
    _load_groups(root, model, [])
    _finish(model)


def _load_groups(root: Any, model: Piece, loaded: list[Piece]) -> None:
    listing = next((key for key in ("layers", TWICE) if key in root), None)
    children = root if listing is None else root[listing]
    counts: dict[str, int] = {}
    for piece in model.pieces:
        kind = to_snake_case(piece.stored_as)
        count = counts.get(kind, 0)
        group = children.get(f"{kind}_{count}" if count else kind)
        has_weights = any(_variables(leaf) for leaf in _leaves(piece))
        counts[kind] = count + (2 if listing == TWICE and has_weights else 1)
        if not has_weights:
            continue
        # What several models share stands where it was met first.
        if group is None or (piece.kind not in MODELS and not _holds_values(group)):
            _take_over(piece, loaded)
        elif piece.kind in MODELS:
            _load_groups(group, piece, loaded)
        else:
            _assign(piece.name, _of_group(group, piece.layer))
        loaded.append(piece)


def _holds_values(group: Any) -> bool:
    return bool(group.visititems(lambda _, one: True if hasattr(one, "shape") else None))


def _of_group(group: Any, layer: Any) -> list[tuple[Any, Tensor]] | None:
    """Return a layer's variables with the values that a group and those inside it have; None if they do not fit."""
    stored = group.get("vars", {})
    own = [*layer._trainable_variables, *layer._non_trainable_variables]
    if len(own) != len(stored):
        return None
    found = [(variable, np.asarray(stored[str(at)])) for at, variable in enumerate(own)]
    for key in group:
        inner = getattr(layer, key, None)
        if key != "vars" and hasattr(inner, "_trainable_variables"):
            inside = _of_group(group[key], inner)
            if inside is None:
                return None
            found += inside
    return found if len(found) == len(layer.weights) else None


def _take_over(piece: Piece, loaded: list[Piece]) -> None:
    """Give a layer the weights of the one before it that it shares them with: archives have these once.

    Raises:
        InputError: There is none, or there are several with other weights.
    """
    variables = [one for leaf in _leaves(piece) for one in _variables(leaf)]
    found: list[list[Any]] = []
    for other in loaded:
        if (other.kind, other.name) == (piece.kind, piece.name):
            theirs = [one for leaf in _leaves(other) for one in _variables(leaf)]
            if [tuple(one.shape) for one in theirs] == [tuple(one.shape) for one in variables]:
                found.append([convert_to_numpy(one) for one in theirs])
    if not found or any(not np.array_equal(*pair) for one in found[1:] for pair in zip(one, found[0], strict=True)):
        raise InputError(f"{piece.name}: the file has no weights of this layer")
    for variable, value in zip(variables, found[0], strict=True):
        variable.assign(value)


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
    return list(getattr(piece.layer, "weights", ()))


def _by_name(leaves: list[Piece], names: list[str], values: list[Tensor]) -> list[tuple[Any, Tensor]] | None:
    """Match by the names of layer and variable; None unless each is found and fits.

    Names are unique among those of one layer of the outer model, so inner layers of the same name are the same one.
    """
    stored: dict[str, Tensor] = {}
    for name, value in zip(names, values, strict=True):
        stored["/".join(name.rpartition(":")[0].split("/")[-2:])] = value
    if len(stored) != len(names):
        return None
    found, used = [], set()
    for piece in leaves:
        for variable in _variables(piece):
            old = OLD_NAMES.get(piece.kind, {}).get(variable.name, variable.name)
            # Layers in a layer have their own names: query/kernel in attention.
            outer = variable.path.split("/")[-2] if _is_composed(piece.layer) else piece.name.rpartition("/")[2]
            place = f"{outer}/{old}"
            match = stored.get(place)
            if match is None or tuple(match.shape) != tuple(variable.shape):
                return None
            used.add(place)
            found.append((variable, match))
    return found if len(used) == len(names) else None


def _is_composed(layer: Any) -> bool:
    return len(layer._flatten_layers()) > 1


def _by_order(leaves: list[Piece], values: list[Tensor]) -> list[tuple[Any, Tensor]] | None:
    """Match by order: what is trained in all layers stands before what is not; None unless all fit."""
    trained: list[Any] = []
    others: list[Any] = []
    for piece in leaves:
        for layer in piece.layer._flatten_layers() if _variables(piece) else ():
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
