"""How operations are written in a format: functions that are registered for a format and a class of nodes.

The formats are ``onnx`` (also what the reference graph runs as, and TensorRT's files), ``openvino`` and ``tflite``.
What a format's functions are called with, its writer says: ``OnnxWriter``, and the writers of the other targets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from xedge.errors import UnsupportedError
from xedge.graph.ir import Graph, Node, replace_graph
from xedge.plugins import registered

Written = TypeVar("Written", bound=Callable[..., Any])
_WRITERS: dict[str, dict[type[Node], Callable[..., Any]]] = {}


def writes(form: str, *kinds: type[Node]) -> Callable[[Written], Written]:
    """Register the decorated function as what writes nodes of these classes in a format."""

    def register(function: Written) -> Written:
        _WRITERS.setdefault(form, {}).update(dict.fromkeys(kinds, function))
        return function

    return register


def writer_of(form: str, node: Node) -> Callable[..., Any]:
    """Return the function that writes a node in a format; where several are registered, the nearest class decides.

    Raises:
        UnsupportedError: The format has no form for the operation.
    """
    found = _find(form, node)
    if found is None:
        raise UnsupportedError(f"{node.name}: {type(node).__name__} has no form in {form}")
    return found


def _find(form: str, node: Node) -> Callable[..., Any] | None:
    registered("xedge.operations")  # other packages' operations register their writers when they are imported
    known = _WRITERS.get(form, {})
    return next((known[kind] for kind in type(node).__mro__ if kind in known), None)


def expanded(form: str, graph: Graph) -> Graph:
    """Return an equal graph in which operations that a format lacks are made of others (``Node.parts``).

    The last of a node's parts has the node's name, so that its readers find it.
    """
    nodes: list[Node] = []
    for node in graph:
        parts = () if _find(form, node) else node.parts([graph.shape(name) for name in node.inputs])
        nodes += parts or (node,)
    return graph if len(nodes) == len(graph.nodes) else replace_graph(graph, nodes)
