"""Simulate quantization: run a graph in float, with chosen tensors and kernels rounded as a plan says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from xedge.graph.evaluate import Evaluator
from xedge.graph.ir import Activation, Graph, Node, Weighted
from xedge.graph.onnx import SharingWriter
from xedge.quantization.affine import SMALLEST_SCALE, STEPS
from xedge.quantization.plan import Plan, fitted


def rounded_tensors(graph: Graph, plan: Plan) -> tuple[str, ...]:
    """Return the names of the tensors that an artifact rounds.

    These are the results of integer nodes, and the float tensors that integer products read. Pools, pads and reshapes
    of integers do not round again.

    Args:
        graph: The graph of the plan.
        plan: The plan.
    """
    return tuple(
        node.name
        for node in graph
        if not _moves_integers(plan, node)
        and (
            plan.is_integer(node.name)
            or any(_rounds_what_it_reads(plan, reader) for reader in graph.consumers(node.name))
        )
    )


def _moves_integers(plan: Plan, node: Node) -> bool:
    return node.moves_values and plan.is_integer(node.inputs[0])


def _rounds_what_it_reads(plan: Plan, reader: Node) -> bool:
    """Return whether a node rounds a float tensor that it reads; a ReLU rounds only its result."""
    saturates = isinstance(reader, Activation) and reader.only_saturates
    return plan.is_dynamic(reader.name) or (plan.is_integer(reader.name) and not saturates)


def simulator(graph: Graph, plan: Plan, tensors: Collection[str], kernels: Collection[str]) -> Evaluator:
    """Return an evaluator of the graph with these tensors and kernels rounded.

    Args:
        graph: The graph of the plan.
        plan: The plan, which says how tensors and kernels are rounded.
        tensors: The names of the tensors to round, some of ``rounded_tensors``.
        kernels: The names of the nodes whose kernels are rounded; these compute in integers in the plan.
    """
    changed: dict[str, Node] = {}
    for name in kernels:
        node, kernel = graph[name], plan.kernels[name]
        assert isinstance(node, Weighted)
        values = kernel.values.reshape(node.kernel.shape) * kernel.scales
        bias = kernel.bias
        if plan.input_shift and node.inputs[0] == graph.input.name:
            # The bias in the plan takes back the shift of the integer input, which does not exist here.
            axes = tuple(range(values.ndim - 1))
            bias = bias + values.sum(axes) * np.float32(plan.input_shift)
        changed[name] = replace(node, kernel=values.astype(np.float32), bias=bias.astype(np.float32))
    graph, fitting = fitted("onnx", graph.rewritten(changed), plan)
    assert fitting is not None
    return Evaluator(graph, writer=_RoundingWriter(graph, fitting, frozenset(tensors)))


class _RoundingWriter(SharingWriter):
    """A writer that puts QuantizeLinear and DequantizeLinear between a rounded tensor and its readers."""

    def __init__(self, graph: Graph, plan: Plan, tensors: frozenset[str]) -> None:
        super().__init__(graph)
        self._plan, self._tensors = plan, tensors
        self._rounded: dict[tuple[str, bool], str] = {}
        self._reader: Node = graph.input

    def write(self, node: Node) -> None:
        self._reader = node
        super().write(node)

    def read(self, name: str) -> str:
        made_in_integers = self._plan.is_integer(name) and name != self.graph.input.name
        if name not in self._tensors or not (made_in_integers or _rounds_what_it_reads(self._plan, self._reader)):
            return name
        dynamic = self._plan.is_dynamic(self._reader.name) and not made_in_integers
        if (name, dynamic) not in self._rounded:
            self._rounded[name, dynamic] = self._round_dynamically(name) if dynamic else self._round(name)
        return self._rounded[name, dynamic]

    def _round_dynamically(self, name: str) -> str:
        """Round with the range of each pixel over its channels, extended to include zero, as XNNPACK does."""

        def emit(kind: str, part: str, *inputs: str, **attributes: Any) -> str:
            return self.emit(kind, list(inputs), f"{name}#dynamic_{part}", **attributes)

        def number(part: str, value: float) -> str:
            return self.constant(f"{name}#dynamic_{part}", np.float32(value).reshape(()))

        zero, smallest = number("zero", 0.0), number("smallest", SMALLEST_SCALE)
        low = emit("Min", "low", emit("ReduceMin", "least", name, axes=[1], keepdims=1), zero)
        high = emit("Max", "high", emit("ReduceMax", "most", name, axes=[1], keepdims=1), zero)
        width = emit("Div", "width", emit("Sub", "reach", high, low), number("steps", STEPS))
        scale = emit("Max", "scale", width, smallest)
        # The values are counted in whole steps from zero. The range is moved so that zero lies on a step.
        first = emit("Round", "first", emit("Div", "first_step", low, scale))
        last = emit("Add", "last", first, number("all_steps", STEPS))
        steps = emit("Round", "whole", emit("Div", "in_steps", name, scale))
        kept = emit("Min", "kept", emit("Max", "raised", steps, first), last)
        return emit("Mul", "real", kept, scale)

    def _round(self, name: str) -> str:
        affine = self._plan.activations[name]
        parameters = [
            self.constant(f"{name}#scale", np.float32(affine.scale).reshape(())),
            self.constant(f"{name}#zero_point", np.int8(affine.zero_point).reshape(())),
        ]
        shift = self._plan.input_shift if name == self.graph.input.name else 0.0
        source = self._moved(name, shift, f"{name}#shifted")
        integers = self.emit("QuantizeLinear", [source, *parameters], f"{name}#integers")
        real = self.emit("DequantizeLinear", [integers, *parameters], f"{name}#real")
        return self._moved(real, -shift, f"{name}#unshifted")

    def _moved(self, source: str, shift: float, output: str) -> str:
        if not shift:
            return source
        return self.emit("Add", [source, self.constant(f"{output}#by", np.float32(shift).reshape(()))], output)
