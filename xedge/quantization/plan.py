"""What quantization decided: which tensors and weights are integers, with which parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from xedge.graph.ir import Conv, Graph
from xedge.graph.writing import expanded
from xedge.quantization.affine import Affine, QuantizedKernel
from xedge.types import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """What was done to the channels of a tensor: it holds (reference - shift) / scale, (channels,) each."""

    scale: FloatArray
    shift: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """An int8 version of a reference graph; the graph itself is not changed.

    Args:
        activations: tensor name to parameters, for every tensor that exists as integers.
        kernels: node name to integer kernel, for every weighted node that computes in integers.
        float_nodes: nodes with float inputs and a float result. One that has an integer kernel all the same quantizes
            its input with the range of each photo.
        changes: what equalization did to tensors, by name.
        input_shift: the integer input holds photo + shift, and the first kernels' biases take it back.
    """

    activations: Mapping[str, Affine]
    kernels: Mapping[str, QuantizedKernel]
    float_nodes: frozenset[str]
    changes: Mapping[str, Change] = field(default_factory=dict)
    input_shift: float = 0.0

    def gives_float(self, graph: Graph, name: str) -> bool:
        """Whether a convolution computes in integers but only float nodes read it, so that it need not be rounded."""
        node, readers = graph[name], graph.consumers(name)
        integer = isinstance(node, Conv) and self.is_integer(name) and name != graph.output
        return integer and bool(readers) and not any(self.is_integer(reader.name) for reader in readers)

    def is_integer(self, name: str) -> bool:
        """Whether a node computes in integers."""
        return name not in self.float_nodes

    def is_dynamic(self, name: str) -> bool:
        """Whether a node multiplies integers but quantizes its input with the range of each photo."""
        return name in self.float_nodes and name in self.kernels


def fitted(form: str, graph: Graph, plan: Plan | None) -> tuple[Graph, Plan | None]:
    """Return a graph and its plan with the operations that a format lacks made of others, which compute in float."""
    fitting = expanded(form, graph)
    if plan is None or fitting is graph:
        return fitting, plan
    new = {node.name for node in fitting if node.name not in graph or type(node) is not type(graph[node.name])}
    return fitting, replace(plan, float_nodes=plan.float_nodes | new)
