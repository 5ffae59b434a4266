"""Which layers make the noise of an int8 plan: the reference graph with one layer rounded, or with all but one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from xedge.graph.cost import multiply_accumulates
from xedge.graph.ir import Conv, Depthwise, Graph, Weighted
from xedge.metrics import centred_logits
from xedge.quantization.plan import Plan
from xedge.quantization.simulator import rounded_tensors, simulator
from xedge.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Nodes that go to float together.

    Args:
        name: of the convolution or dense layer.
        nodes: it, and a depthwise convolution that it alone reads.
        tensors: what is rounded on their account: their results, or what they read with the range of each photo.
        multiply_accumulates: for one photo.
    """

    name: str
    nodes: tuple[str, ...]
    tensors: tuple[str, ...]
    multiply_accumulates: int


def layers(graph: Graph, plan: Plan) -> tuple[Layer, ...]:
    """Return the layers that compute in integers, in order."""
    rounded = set(rounded_tensors(graph, plan))
    found, taken = [], set[str]()
    for node in graph:
        if not isinstance(node, Weighted) or node.name not in plan.kernels or node.name in taken:
            continue
        nodes = [node.name]
        behind = graph.sole_consumer(node.name)
        if isinstance(node, Depthwise) and isinstance(behind, Conv) and behind.name in plan.kernels:
            nodes.append(behind.name)
        taken.update(nodes)
        found.append(
            Layer(
                name=nodes[-1],
                nodes=tuple(nodes),
                tensors=_on_account_of(graph, plan, nodes, rounded),
                multiply_accumulates=sum(multiply_accumulates(graph, name) for name in nodes),
            )
        )
    return tuple(found)


def _on_account_of(graph: Graph, plan: Plan, nodes: list[str], rounded: set[str]) -> tuple[str, ...]:
    read = [graph[name].inputs[0] for name in nodes if plan.is_dynamic(name)]
    return tuple(name for name in (*read, *nodes) if name in rounded)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Power of the noise of the centred logits over that of the logits themselves.

    Args:
        layer: that is meant.
        alone: only this layer rounded.
        weights, activations: only its kernels, only its tensors.
        without: everything rounded but this layer.
    """

    layer: Layer
    alone: float
    weights: float
    activations: float
    without: float


class NoiseMeter:
    """Measures the noise that a plan's roundings make at the output.

    Args:
        graph: of the plan.
        plan: says how things are rounded.
        photos: (N, H, W, C) preprocessed.
        probabilities: whether the graph ends in them; else in logits.
    """

    def __init__(self, graph: Graph, plan: Plan, photos: FloatArray, *, probabilities: bool) -> None:
        self.graph, self.plan, self._photos = graph, plan, photos
        self._probabilities = probabilities
        self.tensors = rounded_tensors(graph, plan)
        self._exact = self._logits((), ())

    def _logits(self, tensors: Collection[str], kernels: Collection[str]) -> FloatArray:
        session = simulator(self.graph, self.plan, tensors, kernels)
        rows = np.concatenate([session.output(photo[None]) for photo in self._photos])
        logits: FloatArray = centred_logits(rows) if self._probabilities else rows - rows.mean(1, keepdims=True)
        return logits

    def noise(self, tensors: Collection[str], kernels: Collection[str]) -> float:
        """Return the noise with these tensors and kernels rounded."""
        difference = self._logits(tensors, kernels) - self._exact
        return float((difference**2).sum() / (self._exact**2).sum())

    def everything(self) -> float:
        """Return the noise with all rounded."""
        return self.noise(self.tensors, self.plan.kernels)

    def alone(self, layer: Layer) -> float:
        """Return the noise with one layer rounded."""
        return self.noise(layer.tensors, layer.nodes)

    def of(self, layer: Layer) -> Noise:
        """Return all that is told of a layer."""
        others = [name for name in self.tensors if name not in layer.tensors]
        kernels = [name for name in self.plan.kernels if name not in layer.nodes]
        return Noise(
            layer=layer,
            alone=self.alone(layer),
            weights=self.noise((), layer.nodes),
            activations=self.noise(layer.tensors, ()),
            without=self.noise(others, kernels),
        )


def worst_first(
    meter: NoiseMeter, candidates: Sequence[Layer], progress: Callable[[int], None] = lambda done: None
) -> list[Layer]:
    """Return layers by the noise that they make alone over their multiply-accumulates, the worst first."""
    rates = []
    for done, layer in enumerate(candidates, start=1):
        rates.append((meter.alone(layer) / layer.multiply_accumulates, layer))
        progress(done)
    return [layer for _, layer in sorted(rates, key=lambda pair: -pair[0])]
