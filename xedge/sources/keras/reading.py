"""Which function reads which Keras layer; registering one imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xedge.plugins import registered

if TYPE_CHECKING:
    from xedge.sources.keras.layers import LayerBuilder

# A reader is called with the builder, the layer, the node's name and the names of the tensors that the layer reads. It
# adds nodes and returns the name of the result, or those of several results.
Reader = Callable[["LayerBuilder", Any, str, list[str]], "str | list[str]"]
_READERS: dict[tuple[str, str], Reader] = {}


def reads(*kinds: str, package: str = "keras") -> Callable[[Reader], Reader]:
    """Register the decorated function as what reads layers of these classes.

    Args:
        kinds: The names of the classes.
        package: The top-level package in which the classes are defined; a class of the same name elsewhere is another
            layer.
    """

    def register(reader: Reader) -> Reader:
        _READERS.update({(package, kind): reader for kind in kinds})
        return reader

    return register


def not_registered(name: str) -> str:
    """Return what to say of a class or function of somebody's own, which a file only names."""
    return (
        f"{name} is not known here; convert with xedge.convert in the program that defines it, after "
        "keras.saving.register_keras_serializable, or save the model without it"
    )


def reader_of(layer: Any) -> Reader | None:
    """Return the function that reads a layer, or None if there is none."""
    registered("xedge.operations")  # other packages' operations register their readers when they are imported
    kind = type(layer)
    return _READERS.get((kind.__module__.partition(".")[0], kind.__name__))
