"""Build the models of Keras 2's files: what its configuration says, out of the layers of Keras 3.

Keras 3 cannot read all that Keras 2 wrote: operations of TensorFlow between layers, nested models, arguments that have
gone, and a hard sigmoid with another slope, which it reads without a word. Both kinds of files hold the configuration
as JSON; the weights are in the order or under the names of Keras 2 (``weights``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

from xedge.errors import UnsupportedError, XedgeError
from xedge.sources.keras.keras2.calls import Call, Made, calls_of, is_place
from xedge.sources.keras.keras2.functions import FUNCTIONS, getitem
from xedge.sources.keras.keras2.layers import clean, hard_sigmoid, layer_of, reason
from xedge.sources.keras.keras2.nodes import operation

MODELS = ("Functional", "Model", "Sequential")
FUNCTION_LAYERS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")


@dataclass(eq=False)
class Piece:
    """One layer of the configuration, and what was made of it.

    Args:
        kind: The name of its class in Keras 2; ``Functional`` also for a class of one's own that has its layers.
        name: Its name.
        layer: The layer of Keras 3; None before the first call, and for what has no weights.
        pieces: The layers of a nested model, in the order of the configuration.
        trainable: Whether Keras 2 counted its weights among those that are trained.
        takes: The names of the inputs of a nested model, in the order in which it takes them.
        stored_as: The class's name, after which archives name the weights.
    """

    kind: str
    name: str
    layer: Any = None
    pieces: list[Piece] = field(default_factory=list)
    trainable: bool = True
    takes: list[str] = field(default_factory=list)
    stored_as: str = ""

    def notes(self) -> list[str]:
        """Return what a user should know of how this model and those inside it were taken."""
        inside = [note for piece in self.pieces for note in piece.notes()]
        if self.kind not in MODELS or self.stored_as in MODELS:
            return inside
        own = f"{self.name} is of a class of its own ({self.stored_as}), whose code the file does not have"
        return [f"{own}; its layers are taken as they are listed", *inside]


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
    piece = _piece(config)
    return builder.model(config, piece, None), piece


class _Builder:
    def __init__(self, *, allow_code: bool) -> None:
        self._allow_code = allow_code

    def model(self, config: dict[str, Any], piece: Piece, given: Any) -> Any:
        """Build a model; ``given`` is the tensor that a nested one is called with, for one that tells no shape."""
        if piece.kind == "Sequential":
            return self._sequential(config["config"], piece, given)
        if piece.kind == "Functional" or "layers" in config["config"]:
            return self._functional(config["config"], piece)
        raise UnsupportedError(
            f"{piece.name}: is a subclassed model ({config['class_name']}), of which files of Keras 2 hold no layers; "
            "convert with xedge.convert in the program that defines it, or save it with Keras 3"
        )

    def _sequential(self, inner: Any, piece: Piece, given: Any) -> Any:
        listed = inner if isinstance(inner, list) else inner["layers"]  # a list in the first versions of Keras 2
        shape = next(_shapes(listed, inner), None)
        if shape is None and given is None:
            raise UnsupportedError(
                f"{piece.name}: the file does not tell the shape of its input; in the program that made it, call "
                "model.build((None, height, width, channels)) and save it again"
            )
        start = keras.Input(given.shape[1:], dtype=given.dtype) if shape is None else _input(listed[0], shape)
        x = start
        for one in listed:
            part = _piece(one)
            piece.pieces.append(part)
            if part.kind != "InputLayer":
                x = self._maker(one, part)(x)
        return keras.Model(start, x, name=clean(piece.name))

    def _functional(self, inner: dict[str, Any], piece: Piece) -> Any:
        made: Made = {}
        waiting: list[tuple[Piece, int, Callable[..., Any], Call]] = []
        calls = [(one, _piece(one), calls_of(one)) for one in inner["layers"]]
        read = {place for _, _, called in calls for call in called for place in call.places()}
        read.update((end[0], end[1]) for end in _ends(inner["output_layers"])[1])
        for one, part, called in calls:
            piece.pieces.append(part)
            if part.kind == "InputLayer":
                made[part.name, 0] = [_input(one, one["config"]["batch_input_shape"])]
                continue
            # A nested model with inputs of its own has a node before those of its calls.
            first = 1 if part.kind in MODELS and (part.name, 0) not in read else 0
            maker = self._maker(one, part)
            waiting += [(part, first + at, maker, call) for at, call in enumerate(called)]
        while waiting:
            ready = [one for one in waiting if all(place in made for place in one[3].places())]
            if not ready:
                lost = next(place for place in waiting[0][3].places() if place not in made)
                raise UnsupportedError(
                    f"{waiting[0][0].name}: reads {lost[0]}, which the file does not connect with it; Keras 2 mixes up "
                    "layers that several models share, so save the model with Keras 3"
                )
            for one in ready:
                part, index, maker, call = one
                made[part.name, index] = call.run(maker, made)
                waiting.remove(one)
        piece.takes, starts = _ends(inner["input_layers"])
        inputs, outputs = (
            [made[end[0], end[1]][end[2]] for end in ends] for ends in (starts, _ends(inner["output_layers"])[1])
        )
        return keras.Model(_bare(inputs), _bare(outputs), name=clean(piece.name))

    def _maker(self, one: dict[str, Any], part: Piece) -> Callable[..., Any]:
        """Return what calls the layer, nested model or function; it is made at the first call."""
        if part.kind in FUNCTION_LAYERS:
            return _named(_function(part, one["config"]), part.name)

        def call(given: Any = None, **named: Any) -> Any:
            if part.layer is None and part.kind in MODELS:
                part.layer = self.model(one, part, given)
            elif part.layer is None:
                part.layer = layer_of(one, part.kind, part.name, allow_code=self._allow_code)
            if part.kind in MODELS and isinstance(given, dict):
                given = _bare([given[key] for key in part.takes])
            try:
                return part.layer(**named) if given is None else part.layer(given, **named)
            except Exception as error:  # each layer refuses in its own way
                raise UnsupportedError(
                    f"{part.name}: Keras 3 cannot call this {part.kind} ({reason(error)})"
                ) from error

        activation = one["config"].get("activation") if isinstance(one["config"], dict) else None
        if activation == "hard_sigmoid":
            return _named(lambda *given, **named: hard_sigmoid(call(*given, **named)), part.name)
        return _named(call, part.name)


def _piece(one: dict[str, Any]) -> Piece:
    inner = one["config"]
    inside = inner if isinstance(inner, dict) else {}
    kind = one["class_name"].rpartition(">")[2]
    stored_as = kind
    if kind not in MODELS and {"layers", "input_layers", "output_layers"} <= set(inside):
        kind = "Functional"
    name = one.get("name") or inside.get("name") or one["class_name"]
    trainable = bool(inside.get("trainable", True))
    return Piece(kind=kind, name=str(name), trainable=trainable, stored_as=stored_as)


def _function(part: Piece, config: dict[str, Any]) -> Callable[..., Any]:
    """Return a function between layers; what it computes of numbers alone, such as of shapes, stays numbers."""
    if part.kind == "TensorFlowOpLayer":
        name, found = f"TensorFlow's {config['node_def']['op']}", operation(part.name, config)
    else:
        function = config.get("function", "__operators__.getitem")
        name, kind = f"tf.{function}", function.rpartition(".")[2]
        known = FUNCTIONS.get(kind if not function.startswith("image.") else function)
        if known is None and function != "__operators__.getitem":
            raise UnsupportedError(f"{part.name}: the function {name} of Keras 2 is not known here")
        found = known or getitem

    def call(*given: Any, **named: Any) -> Any:
        try:
            result = found(*given, **named)
        except XedgeError as error:
            raise error.within(part.name) from error
        except Exception as error:  # each operation refuses in its own way
            text = f"{part.name}: {name} cannot be computed as the file gives it ({reason(error)})"
            raise UnsupportedError(text) from error
        symbolic = any(isinstance(one, keras.KerasTensor) for one in keras.tree.flatten((given, named)))
        return result if symbolic else ops.convert_to_numpy(result)

    return call


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Let the operations that a function adds have the layer's name; those that Keras gives may be of other layers."""

    def call(*given: Any, **named: Any) -> Any:
        result = function(*given, **named)
        known = {id(one) for one in keras.tree.flatten((given, named))}
        found = {id(one): one for tensor in keras.tree.flatten(result) for one in _operations(tensor, known)}
        for at, one in enumerate(found.values()):
            one.name = clean(name) if at == 0 and len(found) == 1 else f"{clean(name)}_{type(one).__name__.lower()}{at}"
        return result

    return call


def _operations(tensor: Any, known: set[int]) -> Iterator[Any]:
    """Yield the operations without a name of the user's that lead from known tensors to one."""
    if not isinstance(tensor, keras.KerasTensor) or id(tensor) in known:
        return
    known.add(id(tensor))
    made_by, index, _ = tensor._keras_history
    if not isinstance(made_by, keras.layers.Layer):
        for before in made_by._inbound_nodes[index].arguments.keras_tensors:
            yield from _operations(before, known)
        yield made_by


def _shapes(listed: list[dict[str, Any]], inner: Any) -> Iterator[list[int | None]]:
    """What tells the shape of a Sequential's input, with the batch."""
    first = listed[0]["config"] if listed else {}
    if isinstance(first, dict):
        if "layers" in first:
            yield from _shapes(first["layers"], first)
        for key in ("batch_input_shape", "batch_shape"):
            if first.get(key):
                yield first[key]
    if isinstance(inner, dict) and inner.get("build_input_shape"):
        yield inner["build_input_shape"]


def _input(one: dict[str, Any], shape: list[int | None]) -> Any:
    given = one["config"].get("dtype") if isinstance(one["config"], dict) else None
    dtype = given if isinstance(given, str) and "int" in given and one["class_name"] == "InputLayer" else "float32"
    name = clean(str(one.get("name") or one["config"].get("name"))) if one["class_name"] == "InputLayer" else None
    return keras.Input(tuple(shape[1:]), dtype=dtype, name=name)


def _ends(listed: Any) -> tuple[list[str], list[Any]]:
    """Return the names and places of a model's inputs or outputs; those of a dictionary in the order of its keys."""
    if is_place(listed):
        return [listed[0]], [listed]
    if isinstance(listed, dict):
        return sorted(listed), [listed[key] for key in sorted(listed)]
    return [one[0] for one in listed], list(listed)


def _bare(listed: list[Any]) -> Any:
    return listed[0] if len(listed) == 1 else listed
