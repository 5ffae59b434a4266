"""Register and find the functions that write a class of nodes in a format.

The formats are ``onnx``, ``openvino`` and ``tflite``. ONNX is also the format in which the reference graph is run, and
that of TensorRT's files. The writer of a format determines the arguments with which its functions are called:
``OnnxWriter``, and the writers of the other targets.
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
    """Register the decorated function, which writes nodes of these classes in a format.

    Args:
        form: The name of the format.
        kinds: The classes of nodes.
    """

    def register(function: Written) -> Written:
        _WRITERS.setdefault(form, {}).update(dict.fromkeys(kinds, function))
        return function

    return register


def writer_of(form: str, node: Node) -> Callable[..., Any]:
    """Return the function that writes a node in a format; if several fit, the most specific class decides.

    Args:
        form: The name of the format.
        node: The node.

    Raises:
        UnsupportedError: The format has no form for the operation.
    """
    found = _find(form, node)
    if found is None:
        raise UnsupportedError(f"{node.name}: {type(node).__name__} has no form in {form}")
    return found


def _find(form: str, node: Node) -> Callable[..., Any] | None:
    # Operations in other packages register their writers when they are imported.
    registered("xedge.operations")
    known = _WRITERS.get(form, {})
    return next((known[kind] for kind in type(node).__mro__ if kind in known), None)


def expanded(form: str, graph: Graph) -> Graph:
    """Return an equivalent graph in which operations that a format lacks are composed of others (``Node.parts``).

    The last part of a node has the name of the node, so that its readers find it.

    Args:
        form: The name of the format.
        graph: The graph.
    """
    nodes: list[Node] = []
    for node in graph:
        parts = () if _find(form, node) else node.parts([graph.shape(name) for name in node.inputs])
        nodes += parts or (node,)
    return graph if len(nodes) == len(graph.nodes) else replace_graph(graph, nodes)
