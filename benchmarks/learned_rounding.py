"""Learn how to round kernels with gradients, to measure what that would gain over the recipe's adaptive rounding.

The rounded network learns from the answers of the float network, without labels (Hinton et al., "Distilling the
Knowledge in a Neural Network", 2015). Gradients pass through every rounding, of activations and of weights, as if it
were not there (Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
Computation", 2013). Learning begins at the integers of the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from xedge.graph.cost import multiply_accumulates
from xedge.graph.ir import (
    Activation,
    Add,
    Conv,
    Dense,
    Depthwise,
    Graph,
    Input,
    Mean,
    Node,
    Padding,
    Pool,
    Reshape,
    Weighted,
)
from xedge.quantization.affine import HIGHEST, LOWEST, WEIGHT_LIMIT
from xedge.quantization.plan import Plan
from xedge.quantization.simulator import rounded_tensors
from xedge.types import FloatArray

STEPS = 400
# The number of photos in a step, for networks with up to this many multiply-accumulates and for larger ones.
LARGE = 2e9
BATCH, BATCH_OF_LARGE = 8, 2
# Adam changes a weight by about this share of an integer in a step, and a bias by this much. Ten times as much makes a
# MobileNet worse, and a quarter changes nothing.
WEIGHT_RATE, BIAS_RATE = 2e-3, 3e-5
# A weight begins at most this far from the recipe's integer, on the side of its float value.
NEAREST = 0.45
# The loss is the divergence of the probabilities and this many times the noise of the logits over their energy.
LOGITS = 10.0
ACTIVATIONS = {"none": tf.identity, "relu": tf.nn.relu, "relu6": tf.nn.relu6}
# What a maximum pool is padded with.
LOWEST_FLOAT = -1e30


def learned(graph: Graph, plan: Plan, photos: Sequence[FloatArray]) -> Plan:
    """Return a plan whose kernels and biases were learned with gradients.

    Args:
        graph: The graph of the plan; its output is the logits. It consists of convolutions, dense layers, sums, ReLUs,
            maximum pools, reshapes and global averages.
        plan: The plan of the recipe, without ranges of each photo.
        photos: The calibration photos (H, W, C) float32. Each is also seen as in a mirror.
    """
    network = _Network(graph, plan)
    learn = _learning(network)
    order = np.random.default_rng(0)
    large = sum(multiply_accumulates(graph, node.name) for node in graph) > LARGE
    for number in range(STEPS):
        chosen = order.choice(len(photos), BATCH_OF_LARGE if large else BATCH, replace=False)
        batch = np.stack([photos[index] for index in chosen])
        if order.random() < 0.5:
            batch = batch[:, :, ::-1]
        learn(tf.constant(batch), tf.constant(0.5 * (1 + np.cos(np.pi * number / STEPS)), tf.float32))
    return network.learned_plan()


def _learning(network: _Network) -> Callable[[tf.Tensor, tf.Tensor], None]:
    """Return a function that takes one step of learning from a batch (N, H, W, C), with a share of the rates."""
    weights, biases = list(network.weights.values()), list(network.biases.values())
    optimizers = [
        (tf.keras.optimizers.Adam(WEIGHT_RATE), WEIGHT_RATE, weights),
        (tf.keras.optimizers.Adam(BIAS_RATE), BIAS_RATE, biases),
    ]
    for optimizer, _, variables in optimizers:
        optimizer.build(variables)

    @tf.function  # type: ignore[untyped-decorator]
    def learn(batch: tf.Tensor, share: tf.Tensor) -> None:
        wanted = network.logits(batch, rounded=False)
        with tf.GradientTape() as tape:
            loss = _loss(network.logits(batch, rounded=True), wanted)
        gradients = iter(tape.gradient(loss, weights + biases))
        for optimizer, rate, variables in optimizers:
            optimizer.learning_rate.assign(rate * share)
            optimizer.apply_gradients([(next(gradients), variable) for variable in variables])

    step: Callable[[tf.Tensor, tf.Tensor], None] = learn
    return step


def _loss(got: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Return the loss of logits (N, classes) beside those of the float network."""
    difference = tf.nn.log_softmax(wanted) - tf.nn.log_softmax(got)
    divergence = tf.reduce_mean(tf.reduce_sum(tf.nn.softmax(wanted) * difference, -1))
    noise, signal = (tf.reduce_sum(tf.math.reduce_variance(logits, -1)) for logits in (got - wanted, wanted))
    return divergence + LOGITS * noise / signal


class _Network:
    """A graph that TensorFlow computes, with kernels that can be learned."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self._graph, self._plan = graph, plan
        self._rounded = frozenset(rounded_tensors(graph, plan))
        self.weights: dict[str, tf.Variable] = {}
        self.biases: dict[str, tf.Variable] = {}
        for name, kernel in plan.kernels.items():
            node = graph[name]
            assert isinstance(node, Weighted)
            integers = kernel.values.reshape(node.kernel.shape).astype(np.float32)
            begin = integers + np.clip(node.kernel / kernel.scales - integers, -NEAREST, NEAREST)
            self.weights[name] = tf.Variable(begin.astype(np.float32))
            self.biases[name] = tf.Variable(kernel.bias + self._shifted(node, integers * kernel.scales))

    def _shifted(self, node: Node, kernel: FloatArray) -> FloatArray:
        """Return what the bias takes back because the integer photo is shifted."""
        if node.inputs[0] != self._graph.input.name:
            return np.zeros(1, np.float32)
        return np.asarray(kernel.sum(tuple(range(kernel.ndim - 1))) * np.float32(self._plan.input_shift))

    def learned_plan(self) -> Plan:
        """Return the plan with what was learned."""
        kernels = {}
        for name, kernel in self._plan.kernels.items():
            integers = np.rint(np.clip(self.weights[name].numpy(), -WEIGHT_LIMIT, WEIGHT_LIMIT))
            bias = self.biases[name].numpy() - self._shifted(self._graph[name], integers * kernel.scales)
            values = integers.astype(np.int8).reshape(kernel.values.shape)
            kernels[name] = replace(kernel, values=values, bias=bias.astype(np.float32))
        return replace(self._plan, kernels=kernels)

    def logits(self, batch: tf.Tensor, *, rounded: bool) -> tf.Tensor:
        """Return the logits (N, classes) of photos (N, H, W, C), with or without rounding."""
        tensors: dict[str, tf.Tensor] = {}
        for node in self._graph:
            inputs = [tensors[name] for name in node.inputs]
            result = batch if isinstance(node, Input) else self._result(node, inputs, rounded=rounded)
            tensors[node.name] = self._round(node.name, result) if rounded and node.name in self._rounded else result
        return tensors[self._graph.output]

    def _round(self, name: str, tensor: tf.Tensor) -> tf.Tensor:
        affine = self._plan.activations[name]
        shift = self._plan.input_shift if name == self._graph.input.name else 0.0
        steps = tf.clip_by_value((tensor + shift) / affine.scale + affine.zero_point, LOWEST, HIGHEST)
        return (_whole(steps) - affine.zero_point) * affine.scale - shift

    def _result(self, node: Node, inputs: list[tf.Tensor], *, rounded: bool) -> tf.Tensor:
        if isinstance(node, Weighted):
            kernel, bias = node.kernel, node.bias
            if rounded and node.name in self.weights:
                bounded = tf.clip_by_value(self.weights[node.name], -WEIGHT_LIMIT, WEIGHT_LIMIT)
                kernel, bias = _whole(bounded) * self._plan.kernels[node.name].scales, self.biases[node.name]
            return ACTIVATIONS[node.activation](_products(node, inputs[0], kernel) + bias)
        if isinstance(node, Add):
            return ACTIVATIONS[node.activation](tf.add_n(inputs))
        if isinstance(node, Activation) and node.kind in ACTIVATIONS:
            return ACTIVATIONS[node.kind](inputs[0])
        if isinstance(node, Mean):
            return tf.reduce_mean(inputs[0], (1, 2), keepdims=node.keepdims)
        if isinstance(node, Reshape):
            return tf.reshape(inputs[0], (-1, *node.shape))
        if isinstance(node, Pool) and node.kind == "max":
            padded = tf.pad(inputs[0], _of_batch(node.padding), constant_values=LOWEST_FLOAT)
            return tf.nn.max_pool2d(padded, node.size, node.strides, "VALID")
        raise NotImplementedError(f"learned rounding has no gradient for {node.name}, a {type(node).__name__}")


def _products(node: Weighted, source: tf.Tensor, kernel: Any) -> tf.Tensor:
    if isinstance(node, Dense):
        return tf.matmul(source, kernel)
    assert isinstance(node, Conv | Depthwise)
    padded = tf.pad(source, _of_batch(node.padding))
    if isinstance(node, Conv):
        return tf.nn.conv2d(padded, kernel, node.strides, "VALID", dilations=node.dilation)
    channels = source.shape[-1]
    filters = tf.reshape(kernel, (*node.window, channels, node.channels // channels))
    return tf.nn.depthwise_conv2d(padded, filters, (1, *node.strides, 1), "VALID", dilations=node.dilation)


def _of_batch(padding: Padding) -> list[tuple[int, int]]:
    """Return the padding of a batch (N, H, W, C)."""
    return [(0, 0), *padding, (0, 0)]


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _whole(steps: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Return the nearest integers, with the gradient of the identity."""
    return tf.round(steps), lambda gradient: gradient
