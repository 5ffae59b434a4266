"""Make a layer of Keras 3 of what Keras 2 wrote about it: arguments that have gone, other names, other meanings."""

from __future__ import annotations

import inspect
import re
from typing import Any

import keras
from keras import layers, ops

from xedge.errors import InputError, UnsupportedError, parameter
from xedge.sources.keras.reading import not_registered

# Layers of Keras 2 that compute nothing in inference; Keras 3 lacks some and reads others otherwise.
IN_TRAINING_ONLY = (
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "GaussianDropout"),
    *("GaussianNoise", "ActivityRegularization", "AddLoss", "AddMetric", "RandomHeight", "RandomWidth"),
)
RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "LayerNormalizationV1": "LayerNormalization",
}
REMOVED = ("LocallyConnected1D", "LocallyConnected2D", "CuDNNLSTM", "CuDNNGRU", "DenseFeatures")
# Says where values come from or how they are trained, which inference does not need.
FOR_TRAINING = ("_initializer", "_regularizer", "_constraint")
FOR_BUILDING = (
    *("batch_input_shape", "build_input_shape", "input_shape", "ragged", "sparse", "dtype"),
    *("query_shape", "key_shape", "value_shape"),
)
# Arguments that change nothing in inference, whatever they are.
FOR_SPEED = ("renorm", "fused", "virtual_batch_size", "adjustment", "batch_size", "synchronized", "implementation")


def clean(name: str) -> str:
    """Return a name without the slash, which Keras 3 does not allow."""
    return name.replace("/", "_")


def reason(error: Exception) -> str:
    """Return what Keras says of an error, in one short line and without the codes of terminals."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())[:150]


def hard_sigmoid(x: Any) -> Any:
    """Return 0.2 x + 0.5 between 0 and 1, as Keras 2 defined it; that of Keras 3 has another slope."""
    return ops.clip(ops.add(ops.multiply(x, 0.2), 0.5), 0.0, 1.0)


def layer_of(one: dict[str, Any], kind: str, name: str, *, allow_code: bool) -> Any:
    """Return the layer of Keras 3, or a function, that computes what a layer of Keras 2 computes in inference.

    Args:
        one: The layer's entry in the configuration.
        kind: The name of its class, without the package.
        name: Its name.
        allow_code: Whether Lambda layers may be made.

    Raises:
        InputError: It is a Lambda layer, which was not allowed.
        UnsupportedError: It is not known, or has an argument that Keras 3 does not have.
    """
    kind, config = RENAMED.get(kind, kind), dict(one["config"])
    if kind == "Lambda" and not allow_code:
        raise InputError(
            f"{name}: brings code of its own (a Lambda layer), which is not run; if you trust it, give "
            f"{parameter('allow_code')}"
        )
    if kind in IN_TRAINING_ONLY or (kind.startswith("Random") and kind != "RandomCrop" and hasattr(layers, kind)):
        return layers.Identity(name=clean(name))
    if kind == "RandomCrop":  # in inference Keras 2 fits photos to the size
        size = int(config["height"]), int(config["width"])
        return layers.Resizing(*size, crop_to_aspect_ratio=True, name=clean(name))
    if kind == "ThresholdedReLU":
        theta = float(config["theta"])
        return lambda x: ops.threshold(x, theta, 0.0)
    if kind in REMOVED:
        raise UnsupportedError(f"{name}: {kind} is not in Keras 3 any more; build the model without it")
    try:
        if kind == "Lambda":
            return layers.Lambda.from_config(config, safe_mode=False)
        made = _class_of(one, name, kind)
        if isinstance(config.get("layer"), dict):
            inner = config["layer"]
            inside = str(inner["config"].get("name", f"{name}_inside"))
            config["layer"] = layer_of(inner, inner["class_name"].rpartition(">")[2], inside, allow_code=allow_code)
        return made.from_config(_known(made, kind, config, name)) if "layer" not in config else _wrapped(made, config)
    except (UnsupportedError, InputError):
        raise
    except Exception as error:  # each layer refuses in its own way
        raise UnsupportedError(f"{name}: Keras 3 has no such {kind} ({reason(error)})") from error


def _wrapped(made: Any, config: dict[str, Any]) -> Any:
    kept = {key: value for key, value in config.items() if key in ("layer", "merge_mode")}
    return made(**kept, name=clean(str(config.get("name", "wrapper"))))


def _class_of(one: dict[str, Any], name: str, kind: str) -> Any:
    """Return the class of Keras 3, or the one that is registered for it.

    A class of somebody's own may be called as one of Keras: archives have no module for it, and other files a package
    in front of the name.
    """
    given = one.get("registered_name") or one["class_name"]
    registered = keras.saving.get_registered_object(given)
    own = ">" in given or ("module" in one and one["module"] is None and one.get("registered_name"))
    found = registered or (None if own else getattr(layers, kind, None))
    if found is None:
        raise UnsupportedError(f"{name}: {not_registered(given)}")
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
        elif key not in FOR_SPEED and value:
            raise UnsupportedError(f"{name}: Keras 3 has no {kind} with {key}={value!r}")
    if kind == "BatchNormalization" and isinstance(result.get("axis"), list):
        (result["axis"],) = result["axis"]
    result["name"] = clean(name)
    return result


def _activation(value: Any, name: str) -> Any:
    if value == "hard_sigmoid":  # computed behind the layer
        return "linear"
    given, own = value, None
    if isinstance(value, dict):
        kind = value.get("class_name")
        if kind in (None, "__lambda__"):
            raise UnsupportedError(f"{name}: its activation is a lambda; give a function with a name, and register it")
        if kind != "function":  # a layer
            made = _class_of(value, name, kind.rpartition(">")[2])
            return made.from_config(_known(made, kind, value["config"], f"{name}_{kind}"))
        given, own = value["config"], value.get("registered_name")
    if given == "<lambda>":
        raise UnsupportedError(f"{name}: its activation is a lambda; give a function with a name, and register it")
    own = own if own and ">" in own else given if given and ">" in given else None
    if own is None and (given is None or hasattr(keras.activations, given)):
        return given
    registered = keras.saving.get_registered_object(own or given)
    if registered is None:
        raise UnsupportedError(f"{name}: {not_registered(str(own or given))}")
    return registered
