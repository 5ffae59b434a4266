"""Simplify a graph exactly after it was read: fold batch normalization, padding and ReLUs into neighbouring nodes."""

from __future__ import annotations

from dataclasses import fields, replace
from math import prod

import numpy as np

from xedge.graph.gates import recognize_gates
from xedge.graph.ir import (
    NO_PADDING,
    Activation,
    Add,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Elementwise,
    Graph,
    Mean,
    Node,
    Pad,
    Padding,
    Pool,
    Reshape,
    Scale,
    Softmax,
    Weighted,
    replace_graph,
)

# A last dense layer is large if it has so many weights, and this share of all weights. EfficientNet-Lite0's, with 1.28
# million or 28 %, takes up to 5 % of the time of int8 in float; in integers, a total variation of 1.89 becomes 1.90 %
# on TFLite, and 2.04 becomes 2.08 % on ONNX (benchmarks/large_head.py).
LARGE_HEAD, LARGE_SHARE = 100_000, 0.05


def simplify(graph: Graph) -> Graph:
    """Return an equivalent graph without ``Scale``, with padding and ReLUs fused where that is exact.

    A large last dense layer becomes a convolution. Nodes on which the output does not depend are left out first, so
    that they keep none of the others apart, and so are those that compute what another one has computed.
    """
    graph = merge_duplicates(prune(recognize_gates(graph)))
    graph = fold_scale_into_producer(move_scales_before_concatenations(graph))
    graph = fold_scale_into_consumer(graph)
    graph = replace_scales(graph)
    graph = fold_padding(graph)
    return convolve_large_head(fuse_activations(graph))


def merge_duplicates(graph: Graph) -> Graph:
    """Remove every node that computes the same as an earlier one, whose result is read instead.

    NASNet, for one, has a ReLU of its own for each convolution that reads a tensor.
    """
    removed: dict[str, str] = {}
    alike: dict[tuple[type[Node], tuple[str, ...]], list[Node]] = {}
    for node in graph:
        inputs = tuple(removed.get(name, name) for name in node.inputs)
        before = alike.setdefault((type(node), inputs), [])
        same = next((other for other in before if _computes_the_same(node, other)), None)
        if same is not None and node.name != graph.output:
            removed[node.name] = same.name
        else:
            before.append(node)
    return graph.rewritten({}, removed)


def _computes_the_same(node: Node, other: Node) -> bool:
    """Return whether two nodes of one class give equal results of equal inputs."""
    own = [field.name for field in fields(node) if field.name not in ("name", "inputs")]
    return all(np.array_equal(getattr(node, name), getattr(other, name)) for name in own)


def move_scales_before_concatenations(graph: Graph) -> Graph:
    """Move a ``Scale`` that alone reads a concatenation before it, if it can be folded into each of its inputs."""
    written: dict[str, list[Node]] = {}
    for node in graph:
        if not isinstance(node, Scale) or not isinstance(joined := graph[node.inputs[0]], Concat):
            continue
        shape, producers = graph.shape(joined.name), [graph[name] for name in joined.inputs]
        alone = [it for it in producers if graph.sole_consumer(it.name) is joined]
        foldable = [it for it in alone if isinstance(it, Weighted) and it.activation == "none"]
        along_channels = joined.axis % len(shape) == len(shape) - 1
        if graph.sole_consumer(joined.name) is not node or not along_channels or len(foldable) != len(producers):
            continue
        factor, offset = (np.broadcast_to(one, shape[-1:]) for one in (node.factor, node.offset))
        scales, begin = list[Node](), 0
        for producer in foldable:
            own = slice(begin, begin + producer.channels)
            name = f"{node.name}/{producer.name}"
            scales.append(Scale(name=name, inputs=(producer.name,), factor=factor[own], offset=offset[own]))
            begin = own.stop
        written[joined.name] = scales
        written[node.name] = [replace(joined, name=node.name, inputs=tuple(scale.name for scale in scales))]
    return replace_graph(graph, [new for node in graph for new in written.get(node.name, [node])])


def fold_scale_into_producer(graph: Graph) -> Graph:
    """Fold ``Scale`` nodes into the nodes before them.

    (W x + b) * f + o = (W f) x + (b f + o), if nothing else reads W x + b.
    """
    changed: dict[str, Node] = {}
    removed: dict[str, str] = {}
    for node in graph:
        if not isinstance(node, Scale):
            continue
        source = node.inputs[0]
        while source in removed:
            source = removed[source]
        producer = changed.get(source, graph[source])
        if not isinstance(producer, Weighted) or producer.activation != "none":
            continue
        if graph.sole_consumer(node.inputs[0]) is not node:
            continue
        factor = node.factor.astype(np.float64)
        changed[source] = replace(
            producer,
            kernel=(producer.kernel * factor).astype(np.float32),
            bias=(producer.bias * factor + node.offset).astype(np.float32),
        )
        removed[node.name] = node.inputs[0]
    return graph.rewritten(changed, removed)


def fold_scale_into_consumer(graph: Graph) -> Graph:
    """Fold ``Scale`` nodes into the nodes after them.

    W (x f + o) + b = (W f) x + (W o + b), if all readers are linear and their padding does not interact with the
    offset.
    """
    for node in graph:
        if not isinstance(node, Scale) or node.name == graph.output:
            continue
        folded = [_into_consumer(node, reader) for reader in graph.consumers(node.name)]
        changed = {reader.name: reader for reader in folded if reader is not None}
        if folded and len(changed) == len(folded):
            return fold_scale_into_consumer(graph.rewritten(changed, {node.name: node.inputs[0]}))
    return graph


def _into_consumer(scale: Scale, consumer: Node) -> Node | None:
    factor, offset = scale.factor.astype(np.float64), scale.offset.astype(np.float64)
    if isinstance(consumer, Dense) and len(factor) == len(consumer.kernel):
        kernel = consumer.kernel * factor[:, None]
        bias = consumer.bias + offset @ consumer.kernel
    elif isinstance(consumer, Conv) and consumer.groups == 1 and _offset_unseen(consumer.padding, offset):
        kernel = consumer.kernel * factor[:, None]
        bias = consumer.bias + np.einsum("hwio,i->o", consumer.kernel.astype(np.float64), offset)
    else:
        return None
    return replace(consumer, kernel=kernel.astype(np.float32), bias=bias.astype(np.float32))


def _offset_unseen(padding: Padding, offset: np.ndarray) -> bool:
    return padding == NO_PADDING or not offset.any()


def replace_scales(graph: Graph) -> Graph:
    """Turn the remaining ``Scale`` nodes into operations that every target has.

    Over (H, W, C) that is a 1x1 depthwise convolution; over a vector, a product and a sum.
    """
    nodes: list[Node] = []
    for node in graph:
        if not isinstance(node, Scale):
            nodes.append(node)
            continue
        shape = graph.shape(node.name)
        factor, offset = (np.broadcast_to(one, shape[-1:]).astype(np.float32) for one in (node.factor, node.offset))
        if len(shape) == 3:
            kernel = factor[None, None]
            nodes.append(Depthwise(name=node.name, inputs=node.inputs, kernel=kernel, bias=offset))
        else:
            product = node.name if not offset.any() else f"{node.name}/product"
            nodes.append(Elementwise(name=product, inputs=node.inputs, kind="multiply", constant=factor))
            if offset.any():
                nodes.append(Elementwise(name=node.name, inputs=(product,), kind="add", constant=offset))
    return replace_graph(graph, nodes)


def fold_padding(graph: Graph) -> Graph:
    """Fold a ``Pad`` node into its readers if all are convolutions, or maximum pools of values that are >= 0."""
    changed: dict[str, Node] = {}
    removed: dict[str, str] = {}
    for node in graph:
        if not isinstance(node, Pad) or node.name == graph.output:
            continue
        readers = [changed.get(reader.name, reader) for reader in graph.consumers(node.name)]
        never_negative = graph[node.inputs[0]].is_never_negative
        padded = [_padded(reader, node.padding, never_negative) for reader in readers]
        if readers and all(padded):
            changed.update({reader.name: reader for reader in padded if reader is not None})
            removed[node.name] = node.inputs[0]
    return graph.rewritten(changed, removed)


def _padded(reader: Node, padding: Padding, never_negative: bool) -> Node | None:
    if isinstance(reader, Conv | Depthwise) or (isinstance(reader, Pool) and reader.kind == "max" and never_negative):
        # If the reader has padding of its own, the two paddings are added, because both are zeros.
        (top, bottom), (left, right) = padding
        (own_top, own_bottom), (own_left, own_right) = reader.padding
        total = ((top + own_top, bottom + own_bottom), (left + own_left, right + own_right))
        # No format lets a pool have a window of padding alone.
        if isinstance(reader, Pool) and any(max(pads) >= size for pads, size in zip(total, reader.size, strict=True)):
            return None
        return replace(reader, padding=total)
    return None


def fuse_activations(graph: Graph) -> Graph:
    """Fuse a ReLU into the convolution, dense layer or sum whose result it alone reads; that node keeps its name."""
    changed: dict[str, Node] = {}
    removed: dict[str, str] = {}
    for node in graph:
        if not isinstance(node, Activation) or node.kind not in ("relu", "relu6"):
            continue
        producer = graph[node.inputs[0]]
        if isinstance(producer, Weighted | Add) and graph.sole_consumer(producer.name) is node:
            changed[producer.name] = replace(producer, activation=node.kind)
            removed[node.name] = producer.name
    return graph.rewritten(changed, removed)


def convolve_large_head(graph: Graph) -> Graph:
    """Write a last dense layer as a convolution of one pixel, if it is large and reads an average or another pixel.

    Both do the same in the same time, except in int8, which leaves a small dense layer behind the average in float and
    multiplies convolutions in integers: reading a thousand classes' weights in float takes longer than that is worth.
    """
    head = graph[graph.output]
    if is_last_softmax(graph, head):
        head = graph[head.inputs[0]]
    before = graph[head.inputs[0]] if head.inputs else head
    if not isinstance(head, Dense) or graph.sole_consumer(before.name) is not head:
        return graph
    averages = isinstance(before, Mean) and not before.keepdims
    flattens = isinstance(before, Reshape) and graph.shape(before.inputs[0]) == (1, 1, len(head.kernel))
    large = head.kernel.size >= max(LARGE_HEAD, LARGE_SHARE * _weights(graph))
    if not large or not (averages or flattens):
        return graph
    pixel = replace(before, keepdims=True) if isinstance(before, Mean) else graph[before.inputs[0]]
    products = Conv(
        name=f"{head.name}/products",
        inputs=(pixel.name,),
        kernel=head.kernel[None, None],
        bias=head.bias,
        activation=head.activation,
        strides=(1, 1),
        padding=NO_PADDING,
    )
    flat = Reshape(name=head.name, inputs=(products.name,), shape=(head.channels,))
    written = {before.name: [pixel] if isinstance(before, Mean) else [], head.name: [products, flat]}
    return replace_graph(graph, [new for node in graph for new in written.get(node.name, [node])])


def _weights(graph: Graph) -> int:
    return sum(node.kernel.size for node in graph if isinstance(node, Weighted))


def prune(graph: Graph) -> Graph:
    """Return the graph without the nodes on which the output does not depend."""
    needed = {graph.output, graph.input.name}
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return replace_graph(graph, [node for node in graph if node.name in needed])


def without_head(graph: Graph) -> Graph:
    """Return the graph that ends in the logits, without a softmax or the sigmoid of a single output.

    Reshapes after these are removed too. A graph that already ends in its logits is returned as it is.
    """
    names, node = set[str](), graph[graph.output]
    while isinstance(node, Reshape):
        names.add(node.name)
        node = graph[node.inputs[0]]
    if not isinstance(node, Softmax) and not is_single_sigmoid(graph, node):
        return graph
    names.add(node.name)
    return replace_graph(graph, [kept for kept in graph if kept.name not in names], node.inputs[0])


def is_last_softmax(graph: Graph, node: Node) -> bool:
    """Return whether a node is the softmax that gives the output; no quantization touches its result."""
    return isinstance(node, Softmax) and node.name == graph.output


def is_single_sigmoid(graph: Graph, node: Node) -> bool:
    """Return whether a node is the sigmoid of one value, which is the probability of the second of two classes."""
    return isinstance(node, Activation) and node.kind == "sigmoid" and prod(graph.shape(node.name)) == 1
