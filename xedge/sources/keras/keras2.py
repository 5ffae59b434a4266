"""Build the models of Keras 2's files: what its configuration says, out of the layers of Keras 3.

Keras 3 cannot read all that Keras 2 wrote: operations of TensorFlow between layers, nested models, arguments that have
gone, and a hard sigmoid with another slope, which it reads without a word. Both kinds of files hold the configuration
as JSON; the weights are in the order or under the names of Keras 2 (``keras2_weights``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers, ops

from xedge.errors import InputError, UnsupportedError, parameter
from xedge.sources.keras.keras2_functions import FUNCTIONS, getitem
from xedge.sources.keras.reading import not_registered

MODELS = ("Functional", "Model", "Sequential")
# Layers of Keras 2 that compute nothing in inference, and that Keras 3 lacks or reads otherwise.
IN_TRAINING_ONLY = ("RandomHeight", "RandomWidth")
RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
}
CONSTANT = "_CONSTANT_VALUE"
# Says where values come from or how they are trained, which inference does not need.
FOR_TRAINING = ("_initializer", "_regularizer", "_constraint")
FOR_BUILDING = ("batch_input_shape", "build_input_shape", "input_shape", "ragged", "sparse", "dtype")


def _hard_sigmoid(x: Any) -> Any:
    """0.2 x + 0.5 between 0 and 1, as Keras 2 defined it; that of Keras 3 has another slope."""
    return ops.clip(ops.add(ops.multiply(x, 0.2), 0.5), 0.0, 1.0)


@dataclass(eq=False)
class Piece:
    """One layer of the configuration, and what was made of it.

    Args:
        kind: The name of its class in Keras 2.
        name: Its name.
        layer: The layer of Keras 3; None for a nested model, and for what has no weights.
        pieces: The layers of a nested model, in the order of the configuration.
        trainable: Whether Keras 2 counted its weights among those that are trained.
    """

    kind: str
    name: str
    layer: Any = None
    pieces: list[Piece] = field(default_factory=list)
    trainable: bool = True


def built(config: dict[str, Any], *, allow_code: bool) -> tuple[Any, Piece]:
    """Return the Keras 3 model of a configuration, with fresh weights, and its layers for loading the weights.

    Args:
        config: The configuration of a whole model: its class name and its ``config``.
        allow_code: Whether Lambda layers may be made.

    Raises:
        InputError: There is a Lambda layer, which was not allowed.
        UnsupportedError: A layer or function is not known.
    """
    builder = _Builder(allow_code=allow_code)
    piece = Piece(kind=config["class_name"], name=str(config["config"].get("name", "model")))
    return builder.model(config, piece, None), piece


class _Builder:
    def __init__(self, *, allow_code: bool) -> None:
        self._allow_code = allow_code

    def model(self, config: dict[str, Any], piece: Piece, given: Any) -> Any:
        """Build a model; ``given`` is the tensor that a nested one is called with, for one that tells no shape."""
        kind, inner = config["class_name"], config["config"]
        if kind not in MODELS:
            raise UnsupportedError(
                f"{piece.name}: is a subclassed {kind}, of which files of Keras 2 hold no layers; save it with Keras 3"
            )
        if kind == "Sequential":
            return self._sequential(inner, piece, given)
        return self._functional(inner, piece)

    def _sequential(self, inner: Any, piece: Piece, given: Any) -> Any:
        listed = inner if isinstance(inner, list) else inner["layers"]  # a list in the first versions of Keras 2
        shape = next(_shapes(listed, inner), None)
        if shape is None and given is None:
            raise UnsupportedError(f"{piece.name}: tells no shape of its input; save it after it was called once")
        start = keras.Input(given.shape[1:], dtype=given.dtype) if shape is None else _input(listed[0], shape)
        x = start
        for one in listed:
            part = self._piece(one)
            piece.pieces.append(part)
            if part.kind != "InputLayer":
                x = self._maker(one, part)(x)
        return keras.Model(start, x, name=_clean(piece.name))

    def _functional(self, inner: dict[str, Any], piece: Piece) -> Any:
        made: dict[tuple[str, int], list[Any]] = {}
        waiting = []
        for one in inner["layers"]:
            part = self._piece(one)
            piece.pieces.append(part)
            if part.kind == "InputLayer":
                made[part.name, 0] = [_input(one, one["config"]["batch_input_shape"])]
                continue
            # A nested model has a node of its own before those of its calls.
            first = 1 if part.kind in MODELS else 0
            maker = self._maker(one, part)
            waiting += [(part, first + at, maker, _flat(node)) for at, node in enumerate(one["inbound_nodes"])]
        while waiting:
            ready = [one for one in waiting if all(place in made for place in _places(one[3]))]
            if not ready:
                raise UnsupportedError(f"{waiting[0][0].name}: reads a tensor that nothing computes")
            for one in ready:
                part, index, maker, node = one
                made[part.name, index] = _as_list(_call(maker, node, made))
                waiting.remove(one)
        ends = [[_end(made, one) for one in _ends(inner[key])] for key in ("input_layers", "output_layers")]
        inputs, outputs = (end[0] if len(end) == 1 else end for end in ends)
        return keras.Model(inputs, outputs, name=_clean(piece.name))

    def _piece(self, one: dict[str, Any]) -> Piece:
        inner = one["config"]
        trainable = bool(inner.get("trainable", True)) if isinstance(inner, dict) else True
        name = one.get("name") or (inner.get("name") if isinstance(inner, dict) else None) or one["class_name"]
        return Piece(kind=one["class_name"].rpartition(">")[2], name=str(name), trainable=trainable)

    def _maker(self, one: dict[str, Any], part: Piece) -> Callable[..., Any]:
        """Return what calls the layer, nested model or function; it is made at the first call."""
        if part.kind in ("TFOpLambda", "SlicingOpLambda"):
            return _function(part.name, one["config"]["function"])

        def call(*given: Any, **named: Any) -> Any:
            if part.layer is None:
                part.layer = self.model(one, part, given[0]) if part.kind in MODELS else self._layer(one, part)
            return part.layer(*given, **named)

        activation = one["config"].get("activation") if isinstance(one["config"], dict) else None
        return call if activation != "hard_sigmoid" else lambda *given, **named: _hard_sigmoid(call(*given, **named))

    def _layer(self, one: dict[str, Any], part: Piece) -> Any:
        kind, config = RENAMED.get(part.kind, part.kind), dict(one["config"])
        if kind == "Lambda" and not self._allow_code:
            raise InputError(
                f"{part.name}: brings code of its own (a Lambda layer), which is not run; if you trust it, give "
                f"{parameter('allow_code')}"
            )
        if kind == "Lambda":
            return layers.Lambda.from_config(config, safe_mode=False)
        if kind in IN_TRAINING_ONLY or (kind.startswith("Random") and kind != "RandomCrop"):
            return layers.Identity(name=_clean(part.name))
        if kind == "RandomCrop":  # in inference Keras 2 fits photos to the size
            size = int(config["height"]), int(config["width"])
            return layers.Resizing(*size, crop_to_aspect_ratio=True, name=_clean(part.name))
        if kind == "ThresholdedReLU":
            theta = float(config["theta"])
            return lambda x: ops.threshold(x, theta, 0.0)
        made = _class_of(one, part.name, kind)
        try:
            return made.from_config(_known(made, kind, config, part.name))
        except UnsupportedError:
            raise
        except Exception as error:  # each layer refuses in its own way
            reason = " ".join(str(error).split())[:150]
            raise UnsupportedError(f"{part.name}: Keras 3 has no such {kind} ({reason})") from error


def _class_of(one: dict[str, Any], name: str, kind: str) -> Any:
    registered = keras.saving.get_registered_object(one.get("registered_name") or one["class_name"])
    found = registered or getattr(layers, kind, None)
    if found is None:
        raise UnsupportedError(f"{name}: {not_registered(one.get('registered_name') or one['class_name'])}")
    return found


def _known(made: Any, kind: str, config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the arguments of a layer that Keras 3 has too.

    Raises:
        UnsupportedError: There is one that matters and that Keras 3 does not have.
    """
    accepted = {key for one in made.__mro__ for key in inspect.signature(one.__init__).parameters}
    result: dict[str, Any] = {}
    for key, value in config.items():
        if key.endswith(FOR_TRAINING) or key in FOR_BUILDING or (key == "groups" and value == 1):
            continue
        if key == "activation":
            result[key] = _activation(value, name)
        elif key in accepted or key in ("name", "trainable"):
            result[key] = value
        elif kind == "LeakyReLU" and key == "alpha":
            result["negative_slope"] = value
        elif key not in ("renorm", "fused", "virtual_batch_size", "adjustment", "batch_size", "synchronized") and value:
            raise UnsupportedError(f"{name}: Keras 3 has no {kind} with {key}={value!r}")
    if kind == "BatchNormalization" and isinstance(result.get("axis"), list):
        (result["axis"],) = result["axis"]
    result["name"] = _clean(name)
    return result


def _activation(value: Any, name: str) -> Any:
    if value == "hard_sigmoid":  # computed behind the layer
        return "linear"
    if isinstance(value, dict) and value.get("class_name") != "function":  # a layer
        kind = value["class_name"]
        made = _class_of(value, name, kind)
        return made.from_config(_known(made, kind, value["config"], f"{name}_{kind}"))
    given = value["config"] if isinstance(value, dict) else value
    if given is None or hasattr(keras.activations, given):
        return given
    registered = keras.saving.get_registered_object(given)
    if registered is None:
        raise UnsupportedError(f"{name}: {not_registered(str(given))}")
    return registered


def _function(name: str, function: str) -> Callable[..., Any]:
    if function == "__operators__.getitem":
        return getitem
    found = FUNCTIONS.get(function.rpartition(".")[2] if not function.startswith("image.") else function)
    if found is None:
        raise UnsupportedError(f"{name}: the function tf.{function} of Keras 2 is not known here")
    return found


def _shapes(listed: list[dict[str, Any]], inner: Any) -> Iterator[list[int | None]]:
    """What tells the shape of a Sequential's input, with the batch."""
    first = listed[0]["config"] if listed else {}
    if isinstance(first, dict):
        if listed[0]["class_name"] in MODELS and "layers" in first:
            yield from _shapes(first["layers"], first)
        for key in ("batch_input_shape", "batch_shape"):
            if first.get(key):
                yield first[key]
    if isinstance(inner, dict) and inner.get("build_input_shape"):
        yield inner["build_input_shape"]


def _input(one: dict[str, Any], shape: list[int | None]) -> Any:
    given = one["config"].get("dtype") if isinstance(one["config"], dict) else None
    dtype = given if isinstance(given, str) and "int" in given and one["class_name"] == "InputLayer" else "float32"
    name = _clean(str(one.get("name") or one["config"].get("name"))) if one["class_name"] == "InputLayer" else None
    return keras.Input(tuple(shape[1:]), dtype=dtype, name=name)


def _clean(name: str) -> str:
    """Return a name without the slash, which Keras 3 does not allow."""
    return name.replace("/", "_")


def _flat(node: Any) -> list[Any]:
    """Return what a layer is called with: a single argument stands bare for functions."""
    return [node] if node and isinstance(node[0], str) else list(node)


def _is_place(value: Any) -> bool:
    """Whether a value names a tensor: the layer, the number of the call, and that of the result."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and isinstance(value[0], str)
        and all(isinstance(one, int) and not isinstance(one, bool) for one in value[1:])
    )


def _places(node: list[Any]) -> Iterator[tuple[str, int]]:
    """Yield the tensors that a call reads."""
    for entry in node:
        if entry[0] != CONSTANT:
            yield entry[0], entry[1]
        if len(entry) > 3:
            yield from _named_places(entry[3])


def _named_places(value: Any) -> Iterator[tuple[str, int]]:
    if _is_place(value):
        yield value[0], value[1]
    elif isinstance(value, dict):
        for one in value.values():
            yield from _named_places(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _named_places(one)


def _call(maker: Callable[..., Any], node: list[Any], made: dict[tuple[str, int], list[Any]]) -> Any:
    given = [entry[2] if entry[0] == CONSTANT else made[entry[0], entry[1]][entry[2]] for entry in node]
    named = dict(node[0][3]) if len(node[0]) > 3 else {}
    named = {key: _value(value, made) for key, value in named.items() if key not in ("name", "mask")}
    return maker(given[0] if len(given) == 1 else given, **named)


def _value(value: Any, made: dict[tuple[str, int], list[Any]]) -> Any:
    if _is_place(value) and (value[0], value[1]) in made:
        return made[value[0], value[1]][value[2]]
    if isinstance(value, list):
        return [_value(one, made) for one in value]
    return value


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _ends(listed: Any) -> list[Any]:
    return [listed] if _is_place(listed) else list(listed.values() if isinstance(listed, dict) else listed)


def _end(made: dict[tuple[str, int], list[Any]], place: list[Any]) -> Any:
    return made[place[0], place[1]][place[2]]
