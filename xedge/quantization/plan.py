"""The result of quantization: which tensors and weights are integers, and with which parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from xedge.graph.ir import Conv, Graph
from xedge.graph.writing import expanded
from xedge.quantization.affine import Affine, GroupedKernel, QuantizedKernel
from xedge.types import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """What was done to the channels of a tensor: it now holds (reference - shift) / scale.

    Args:
        scale: The scale (channels,).
        shift: The shift (channels,).
    """

    scale: FloatArray
    shift: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The plan of an int8 version of a graph, or of one with small weights; the graph itself is not changed.

    Args:
        activations: The parameters of every tensor that exists as integers, by the name of the tensor.
        kernels: The integer kernel of every weighted node that computes in integers, by the name of the node.
        float_nodes: The names of the nodes with float inputs and a float result. If such a node nevertheless has an
            integer kernel, it quantizes its input dynamically, with the range of each photo.
        changes: What equalization did to the channels of tensors, by the name of the tensor.
        input_shift: The shift of the integer input, which holds photo + shift; the biases of the first kernels take it
            back.
        weights: The integer kernels that are unpacked to float, by the name of the node; its inputs and result are
            float. Only plans without integer kernels have them.
    """

    activations: Mapping[str, Affine]
    kernels: Mapping[str, QuantizedKernel]
    float_nodes: frozenset[str]
    changes: Mapping[str, Change] = field(default_factory=dict)
    input_shift: float = 0.0
    weights: Mapping[str, GroupedKernel] = field(default_factory=dict)

    def gives_float(self, graph: Graph, name: str) -> bool:
        """Return whether a convolution computes in integers but only float nodes read its result.

        The result of such a convolution need not be rounded.

        Args:
            graph: The graph of the plan.
            name: The name of the node.
        """
        node, readers = graph[name], graph.consumers(name)
        integer = isinstance(node, Conv) and self.is_integer(name) and name != graph.output
        return integer and bool(readers) and not any(self.is_integer(reader.name) for reader in readers)

    def is_integer(self, name: str) -> bool:
        """Return whether a node computes in integers."""
        return name not in self.float_nodes

    def is_dynamic(self, name: str) -> bool:
        """Return whether a node multiplies integers but quantizes its input dynamically, with each photo's range."""
        return name in self.float_nodes and name in self.kernels


def fitted(form: str, graph: Graph, plan: Plan | None) -> tuple[Graph, Plan | None]:
    """Replace the operations that a format lacks by others, which compute in float, and adapt the plan.

    Args:
        form: The name of the format.
        graph: The graph.
        plan: The plan of the graph; None in float.

    Returns:
        The graph and the plan after the replacement.
    """
    fitting = expanded(form, graph)
    if plan is None or fitting is graph:
        return fitting, plan
    new = {node.name for node in fitting if node.name not in graph or type(node) is not type(graph[node.name])}
    return fitting, replace(plan, float_nodes=plan.float_nodes | new)
